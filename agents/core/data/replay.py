"""Replay memory: a ring of single frames for each environment; sampling gathers the stacks.

An episode of L steps takes L + 1 slots: one for each step, and one for its last observation.
A truncated episode bootstraps from that observation.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from agents.core.data.priorities import Priorities
from agents.core.data.settings import ReplayConfig
from agents.core.math import returns
from agents.core.math.schedules import stream_seed
from agents.core.system.device import reserve, to_device
from agents.core.types.batches import Batch
from agents.core.types.spaces import Spaces
from agents.core.types.step import Obs, Step
from envs.errors import UserError

IMPORTANCE_EXPONENT = 0.5
"""β of prioritized replay, constant as in Dopamine's Rainbow (https://arxiv.org/abs/1812.06110)."""


def require_memory(num_bytes: int, capacity: int, device: torch.device) -> None:
    """Raises a UserError with a size that fits if the replay does not fit into memory."""
    reserve(
        f"a replay of {capacity:,} transitions",
        num_bytes,
        device,
        lambda share: f"--buffer-size {int(share * capacity) // 1000 * 1000} would fit",
    )


class Replay:
    """The last `capacity` transitions of `num_envs` environments.

    Of an observation (stack, ...), only the newest frame is stored; with stack 1, all of it.
    Each environment has the same number of slots. A step takes one slot, and an episode takes one
    more. The discount, n_step, α (`priority_exponent`, Schaul et al. 2016,
    https://arxiv.org/abs/1511.05952) and the seed of the draws come from the config.
    """

    def __init__(self, config: ReplayConfig, spaces: Spaces, device: torch.device):
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
        self.length = capacity // num_envs
        self.most_n_step = round(max(config.n_step.start, config.n_step.end))
        needed = (self.most_n_step + stack + 2) * num_envs
        if capacity < needed:
            raise UserError(
                f"--buffer-size {capacity}: must be at least {needed} for {self.most_n_step}-step "
                f"returns in {num_envs} environments"
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
        self._allocate()

    def _allocate(self) -> None:
        """Reserves the memory, or raises a UserError with a size that fits.

        The system gives a page of the frame store only when a frame is written to it.
        """
        size = self.length * self.num_envs
        device = self.device
        require_memory(size * (self.frame_numel * self.obs_dtype.itemsize + 20), size, device)
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
        return bool((self.written - self.ready_from).min() > self.most_n_step + 1)

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
            )
            self.age[envs] = 0

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

    def _write(self, envs: np.ndarray, obs: Obs, **fields: np.ndarray) -> None:
        written = self.written[envs]
        slot = self.slots(envs, written)
        frame = to_device(obs[:, -1] if self.stack > 1 else obs, self.device)
        self.frames[slot] = frame.reshape(len(envs), -1)
        fields["age"] = np.minimum(self.age[envs], self.stack - 1).astype(np.uint8)
        for name, value in fields.items():
            stored = self.fields[name]
            stored[slot] = to_device(value, self.device).to(stored.dtype)
        self.written[envs] = written + 1
        # A slot can be drawn once the n slots after it are written. This ends when a frame of
        # its stack is about to be overwritten.
        ready = written - self.most_n_step
        stale = written + self.stack - 1 - self.length
        ready_slot = self.slots(envs, ready)
        whole = ready >= self.drawable_from[envs]
        drawable = to_device(whole, self.device) & ~self.fields["final"][ready_slot]
        weight = torch.where(drawable, self.max_priority, 0.0)
        self.priorities.set(
            torch.cat([self.slots(envs, stale), ready_slot]),
            torch.cat([torch.zeros_like(weight), weight]),
        )

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
        window_BT = self.after(slot_B.unsqueeze(1), self._look_ahead)
        reward_B, discount_B, steps_B = returns.n_step(
            self.fields["reward"][window_BT],
            self.fields["terminated"][window_BT],
            self.fields["ended"][window_BT] | (self._look_ahead >= self._last),
            self.config.gamma,
        )
        # Importance weights of Schaul et al. 2016, eq. 3.4, scaled by the batch's largest.
        weight_B = self.priorities[slot_B].clamp_min(1e-12) ** -IMPORTANCE_EXPONENT
        return Batch(
            obs=self.observations(slot_B),
            action_B=self.fields["action"][slot_B],
            reward_B=reward_B,
            discount_B=discount_B,
            next_obs=self.observations(self.after(slot_B, steps_B)),
            weight_B=weight_B / weight_B.max(),
            slot_B=slot_B,
        )

    def update_priorities(self, batch: Batch, priority_B: Tensor) -> None:
        """Makes later draws proportional to priority**α (Schaul et al. 2016, eq. 1).

        A priority that is not finite becomes the largest so far; the training loop reports the
        divergence.
        """
        if self.config.priority_exponent == 0.0:
            return
        weight_B = (priority_B + 1e-3) ** self.config.priority_exponent
        weight_B = torch.where(weight_B.isfinite(), weight_B, self.max_priority)
        self.max_priority.copy_(torch.maximum(self.max_priority, weight_B.max()))
        self.priorities.set(batch.slot_B, weight_B)
