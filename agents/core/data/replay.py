"""Replay memory: a ring of single frames for each environment; sampling gathers the stacks.

An episode of L steps takes L + 1 slots: one for each step, and one for its last observation.
A truncated episode bootstraps from that observation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.core.data.priorities import Priorities, drawing_weight, importance
from agents.core.data.settings import ReplayConfig
from agents.core.math import returns
from agents.core.math.schedules import stream_seed
from agents.core.nets.previous import NO_PREVIOUS, PreviousInputs
from agents.core.system.device import reserve, to_device
from agents.core.types.batches import Batch
from agents.core.types.spaces import Spaces
from agents.core.types.step import Obs, Step
from envs.errors import UserError


def require_memory(num_bytes: int, capacity: int, device: torch.device) -> None:
    """Raises a UserError with a size that fits if the replay does not fit into memory."""
    reserve(
        f"a replay of {capacity:,} transitions",
        num_bytes,
        device,
        lambda share: f"--buffer-size {int(share * capacity) // 1000 * 1000} would fit",
    )


@dataclass(frozen=True)
class Layout:
    """What a replay stores beside transitions, and how long a draw is.

    Attributes:
        previous: the encoding of the previous action and reward.
        memory_size: width S of the policy's memory, which is stored where a draw may begin.
        sequence_steps: steps of a draw to learn from.
        burn_in_steps: steps before them.
    """

    previous: PreviousInputs = NO_PREVIOUS
    memory_size: int = 0
    sequence_steps: int = 1
    burn_in_steps: int = 0

    @property
    def in_sequences(self) -> bool:
        """Whether a draw is a sequence, also if that has one step."""
        return self.sequence_steps > 1 or self.memory_size > 0

    @property
    def more_steps(self) -> int:
        """Steps of a draw beyond its first."""
        return self.burn_in_steps + self.sequence_steps - 1

    @property
    def stride(self) -> int:
        """A draw may begin at every multiple of this position, so that sequences half overlap."""
        return (self.sequence_steps + 1) // 2


class Replay:
    """The last `capacity` transitions of `num_envs` environments.

    Of an observation (stack, ...), only the newest frame is stored; with stack 1, all of it.
    Each environment has the same number of slots. A step takes one slot, and an episode takes one
    more. The discount, n_step, α (`priority_exponent`, Schaul et al. 2016,
    https://arxiv.org/abs/1511.05952) and the seed of the draws come from the config.
    """

    def __init__(
        self,
        config: ReplayConfig,
        spaces: Spaces,
        device: torch.device,
        layout: Layout | None = None,
    ):
        capacity = config.buffer_size
        num_envs = spaces.num_envs
        stack = spaces.stack
        obs_shape = spaces.obs_shape
        obs_dtype = spaces.obs_dtype
        self.config = config
        self.device = device
        self.num_envs = num_envs
        self.stack = stack
        self.spaces = spaces
        self.layout = layout or Layout()
        # A whole number of strides, so that a slot tells whether a draw may begin there.
        self.length = capacity // num_envs // self.layout.stride * self.layout.stride
        self.most_n_step = round(max(config.n_step.start, config.n_step.end))
        # A draw needs the slots from `look_back` before its first to `look_ahead` after it.
        self.look_back = max(stack - 1, int(self.layout.previous.enabled))
        self.look_ahead = self.layout.more_steps + self.most_n_step
        strides = 2 * self.layout.stride - 1
        needed = (self.look_ahead + strides + self.look_back + 2) * num_envs
        if capacity < needed:
            raise UserError(
                f"--buffer-size {capacity}: must be at least {needed} for {self._draw_in_words} "
                f"in {num_envs} environments"
            )
        self.clip_reward = config.clip_reward and spaces.atari
        self.generator = torch.Generator().manual_seed(stream_seed(config.seed, "replay"))
        self.obs_shape = tuple(obs_shape)
        self.obs_dtype = obs_dtype
        self.frame_numel = math.prod(obs_shape) // stack
        self.written = np.zeros(num_envs, np.int64)
        self.age = np.zeros(num_envs, np.int64)
        # Positions before these get no weight, because a frame that they need is lost.
        self.drawable_from = np.zeros(num_envs, np.int64)
        # Positions from which transitions count for `ready`: earlier ones may all be lost.
        self.ready_from = np.zeros(num_envs, np.int64)
        self._look_back = torch.arange(stack - 1, -1, -1, device=self.device)
        self._look_ahead = torch.arange(self.most_n_step, device=self.device)
        self._last = torch.tensor(self.most_n_step - 1, device=self.device)
        self._minus_one = torch.tensor(-1, device=self.device)
        self._allocate()

    @property
    def _draw_in_words(self) -> str:
        returns_in_words = f"{self.most_n_step}-step returns"
        steps = self.layout.more_steps + 1
        return returns_in_words if steps == 1 else f"{returns_in_words} of {steps} steps in a row"

    def _allocate(self) -> None:
        """Reserves the memory, or raises a UserError with a size that fits.

        The system gives a page of the frame store only when a frame is written to it.
        """
        size = self.length * self.num_envs
        device = self.device
        memory_size = self.layout.memory_size
        memories = size // self.layout.stride
        frame_bytes = self.frame_numel * self.obs_dtype.itemsize
        require_memory(size * (frame_bytes + 20) + memories * 4 * memory_size, size, device)
        # The last slot stays black: stacks use it for frames before the start of their episode.
        self.frames = torch.empty(size + 1, self.frame_numel, dtype=self.obs_dtype, device=device)
        self.frames[-1] = 0
        dtypes = {
            "reward": torch.float32,
            "terminated": torch.bool,
            "ended": torch.bool,
            "final": torch.bool,
            "age": torch.uint8,
        }
        self.fields = {
            name: torch.zeros(size, dtype=dtype, device=device) for name, dtype in dtypes.items()
        }
        self.fields["action"] = self._empty_actions(size).to(device)
        if memory_size:
            self.fields["memory"] = torch.zeros(memories, memory_size, device=device)
        if self.spaces.masked:
            legal = torch.zeros(size, self.spaces.num_actions, dtype=torch.bool, device=device)
            self.fields["legal"] = legal
        self.priorities = Priorities(size, device)
        self.max_priority = torch.ones((), device=device)

    def _empty_actions(self, size: int) -> Tensor:
        """Zeros in the stored form of actions: int64 (size,), or float32 (size, K) for a Box."""
        if self.spaces.continuous:
            return torch.zeros(size, self.spaces.action_parts)
        return torch.zeros(size, dtype=torch.int64)

    def _stored(self, action_N: np.ndarray) -> np.ndarray:
        """Converts the environments' actions to the stored form."""
        spaces = self.spaces
        return spaces.chosen(action_N) if spaces.continuous else spaces.combination(action_N)

    def __len__(self) -> int:
        """Number of slots in use, including transitions whose n-step window is incomplete."""
        return int(np.minimum(self.written, self.length).sum())

    @property
    def ready(self) -> bool:
        """Whether every environment holds a transition whose n-step window is complete."""
        reach = self.look_ahead + self.layout.stride
        return bool((self.written - self.ready_from).min() > reach)

    def add(self, step: Step) -> None:
        """Stores one step of some environments.

        A lost life ends the return as a termination does, but the episode goes on.
        """
        terminated_N = step.terminated_N
        truncated_N = step.truncated_N
        episode_end_N = terminated_N | truncated_N
        rows_N = np.arange(self.num_envs)[step.rows]
        terminal_N = terminated_N | (step.life_lost_N & self.config.life_loss_ends_return)
        self._write(
            rows_N,
            step.obs,
            action=self._stored(step.action_N),
            reward=np.sign(step.reward_N) if self.clip_reward else step.reward_N,
            terminated=terminal_N,
            ended=terminal_N | truncated_N,
            final=np.zeros(len(rows_N), bool),
            **self._more(step),
        )
        self.age[rows_N] += 1
        if episode_end_N.any():
            assert step.final_obs is not None, "an episode ended without final_obs"
            ended = np.flatnonzero(episode_end_N)
            envs = rows_N[ended]
            false = np.zeros(len(envs), bool)
            self._write(
                envs,
                step.final_obs[ended],
                action=self._empty_actions(len(envs)).numpy(),
                reward=np.zeros(len(envs), np.float32),
                terminated=false,
                ended=~false,
                final=~false,
                **self._more_of_final(step, ended),
            )
            self.age[envs] = 0

    def _more(self, step: Step) -> dict[str, np.ndarray | Tensor]:
        """The step's memory and legal actions, where they are stored."""
        more: dict[str, np.ndarray | Tensor] = {}
        if self.layout.memory_size:
            more["memory"] = step.extras["memory"]
        if self.spaces.masked:
            assert step.legal_NA is not None
            more["legal"] = step.legal_NA
        return more

    def _more_of_final(self, step: Step, ended: np.ndarray) -> dict[str, np.ndarray | Tensor]:
        """As `_more`, for the last observations, with the memory after the last step."""
        more: dict[str, np.ndarray | Tensor] = {}
        if self.layout.memory_size:
            more["memory"] = step.next_state["memory"][to_device(ended, self.device)]
        if self.spaces.masked:
            assert step.final_legal_NA is not None
            more["legal"] = step.final_legal_NA[ended]
        return more

    def end_episodes(self) -> None:
        """Ends all current episodes, although the results of their last steps are unknown.

        In each environment the last step is dropped. The step before it counts as truncated at the
        last step's observation.
        """
        begun = np.flatnonzero(self.written > 0)
        last = self.slots(begun, self.written[begun] - 1)
        self.fields["ended"][last] = True
        self.fields["final"][last] = True
        several = np.flatnonzero(self.written > 1)
        self.fields["ended"][self.slots(several, self.written[several] - 2)] = True
        self.age[:] = 0

    def _write(self, envs: np.ndarray, obs: Obs, **fields: np.ndarray | Tensor) -> None:
        written = self.written[envs]
        slot = self.slots(envs, written)
        frame = to_device(obs[:, -1] if self.stack > 1 else obs, self.device)
        self.frames[slot] = frame.reshape(len(envs), -1)
        # An age of 0 tells that the episode begins.
        fields["age"] = np.minimum(self.age[envs], max(self.stack - 1, 1)).astype(np.uint8)
        if "memory" in fields:
            self._write_memory(slot, written, torch.as_tensor(fields.pop("memory")))
        for name, value in fields.items():
            stored = self.fields[name]
            stored[slot] = to_device(value, self.device).to(stored.dtype)
        self.written[envs] = written + 1
        # A slot can be drawn once the slots after it that a draw needs are written. This ends when
        # a slot before it that a draw needs is about to be overwritten.
        ready = written - self.look_ahead
        stale = written + self.look_back - self.length
        ready_slot = self.slots(envs, ready)
        whole = (ready >= self.drawable_from[envs]) & (ready % self.layout.stride == 0)
        drawable = to_device(whole, self.device) & self._may_begin(ready_slot)
        weight = torch.where(drawable, self.max_priority, 0.0)
        self.priorities.set(
            torch.cat([self.slots(envs, stale), ready_slot]),
            torch.cat([torch.zeros_like(weight), weight]),
        )

    def _write_memory(self, slot: Tensor, written: np.ndarray, memory_NS: Tensor) -> None:
        """Stores memories at the slots where a draw may begin; the others need none."""
        begins = np.flatnonzero(written % self.layout.stride == 0)
        if len(begins):
            rows = to_device(begins, self.device)
            self.fields["memory"][slot[rows] // self.layout.stride] = memory_NS[rows]

    def memory(self, slot_B: Tensor) -> Tensor:
        """The policy's memories (B, S) before the steps at slots where a draw may begin."""
        if not self.layout.memory_size:
            return torch.empty(len(slot_B), 0, device=self.device)
        return self.fields["memory"][slot_B // self.layout.stride]

    def _may_begin(self, slot: Tensor) -> Tensor:
        """Whether draws may begin at slots: a draw of one step needs an action there."""
        last = self.fields["final"][slot]
        return ~last if self.layout.sequence_steps == 1 else torch.ones_like(last)

    def slots(self, envs: np.ndarray, position: np.ndarray) -> Tensor:
        """The slots of the frame `position` of each of these environments, modulo the ring."""
        return to_device(envs * self.length + position % self.length, self.device)

    def after(self, slot_B: Tensor, steps: Tensor) -> Tensor:
        """The slots that are `steps` later (or earlier, if negative) in the same ring."""
        start = slot_B - slot_B % self.length
        return start + (slot_B - start + steps) % self.length

    def observations(self, slot_B: Tensor) -> Tensor:
        """The observations at these slots. Frames before the episode's start are zero."""
        if self.stack == 1:
            return self.frames.index_select(0, slot_B).view(-1, *self.obs_shape)
        slot_BS = self.after(slot_B.unsqueeze(1), -self._look_back)
        inside_BS = self._look_back <= self.fields["age"][slot_B].unsqueeze(1)
        slot_BS = torch.where(inside_BS, slot_BS, len(self.frames) - 1)
        return self.frames.index_select(0, slot_BS.flatten()).view(-1, *self.obs_shape)

    def draw(self, *shape: int) -> Tensor:
        """Draws the random numbers for `sample`: float64 in [0, 1), on the device."""
        uniform = torch.rand(shape, dtype=torch.float64, generator=self.generator)
        return to_device(uniform, self.device)

    def set_n_step(self, n_step: int) -> None:
        """Sets how many rewards a return sums, up to the largest number in the config."""
        self._last.fill_(n_step - 1)

    def sample(self, uniform_B: Tensor) -> Batch:
        """Draws transitions with replacement; requires `ready`."""
        return self.gather(self.priorities.sample(uniform_B))

    def gather(self, slot_B: Tensor) -> Batch:
        """The transitions that start at these slots."""
        return Batch(
            obs=self.observations(slot_B),
            action_B=self.fields["action"][slot_B],
            weight_B=self.importance(slot_B),
            slot_B=slot_B,
            previous_BP=self.previous(slot_B),
            legal_BA=self.legal(slot_B),
            **self.consequence(slot_B, *self.outcome(slot_B)),
        )

    def one_step(self, batch: Batch) -> Batch:
        """The transitions of a minibatch over one step."""
        slot_B = batch.slot_B
        reward_B = self.fields["reward"][slot_B]
        discount_B = self.config.gamma * ~self.fields["terminated"][slot_B]
        one_B = torch.ones_like(slot_B)
        return replace(batch, **self.consequence(slot_B, reward_B, discount_B, one_B))

    def consequence(
        self, slot_B: Tensor, reward_B: Tensor, discount_B: Tensor, steps_B: Tensor
    ) -> dict[str, Any]:
        """The fields of a `Batch` that tell of the rewards and of the state s' after them."""
        next_slot_B = self.after(slot_B, steps_B)
        return {
            "reward_B": reward_B,
            "discount_B": discount_B,
            "next_obs": self.observations(next_slot_B),
            "next_previous_BP": self.previous(next_slot_B),
            "next_legal_BA": self.legal(next_slot_B),
        }

    def outcome(self, slot_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The n-step reward, the discount and the number of summed steps (`returns.n_step`)."""
        window_BT = self.after(slot_B.unsqueeze(1), self._look_ahead)
        return returns.n_step(
            self.fields["reward"][window_BT],
            self.fields["terminated"][window_BT],
            self.fields["ended"][window_BT] | (self._look_ahead >= self._last),
            self.config.gamma,
        )

    def importance(self, slot_B: Tensor) -> Tensor:
        """Importance weights of the draws of these slots (`priorities.importance`)."""
        return importance(self.priorities[slot_B])

    def previous(self, slot_B: Tensor) -> Tensor | None:
        """The encoded action and reward before slots (B, P); None if no network sees them."""
        encoding = self.layout.previous
        if not encoding.enabled:
            return None
        before_B = self.after(slot_B, self._minus_one)
        action_B = self.fields["action"][before_B]
        action_BK = action_B if self.spaces.continuous else action_B.unsqueeze(1)
        reward_B = self.fields["reward"][before_B]
        return encoding.encode(action_BK, reward_B, self.fields["age"][slot_B] == 0)

    def legal(self, slot_B: Tensor) -> Tensor | None:
        """The legal actions (B, A) at slots; None if all are legal."""
        return self.fields["legal"][slot_B] if self.spaces.masked else None

    def update_priorities(self, batch: Batch, priority_B: Tensor) -> None:
        """Sets the priorities of a minibatch's transitions for later draws."""
        self.set_priorities(batch.slot_B, priority_B)

    def set_priorities(self, slot_B: Tensor, priority_B: Tensor) -> None:
        """Makes later draws proportional to priority**α (`priorities.drawing_weight`)."""
        exponent = self.config.priority_exponent
        if exponent > 0:
            self.priorities.set(slot_B, drawing_weight(priority_B, exponent, self.max_priority))
