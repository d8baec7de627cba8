"""Transitions over n steps of demonstrations, drawn as from a replay that nothing overwrites."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from agents.core.data.demonstrations import Demonstrations
from agents.core.data.priorities import Priorities, drawing_weight, importance
from agents.core.data.settings import ReplayConfig
from agents.core.math import returns
from agents.core.math.schedules import stream_seed
from agents.core.nets.previous import NO_PREVIOUS, PreviousInputs
from agents.core.system.codec import like
from agents.core.system.device import to_device
from agents.core.types.batches import Batch
from agents.core.types.spaces import Spaces
from envs import UserError


class DemoReplay:
    """A sampler (`agents.core.data.samplers.Sampler`) of the steps of demonstrations.

    A lost life does not end a return here, because recordings do not tell of it.

    Args:
        config: the discount, α (`priority_exponent`), the largest n, and the seed of the draws.
        previous: the encoding of the previous action and reward.
        reward: the reward of each step; None takes the recorded rewards, clipped as in a replay.

    Raises:
        UserError: the frames do not fit into the memory of a GPU.
    """

    ready = True

    def __init__(
        self,
        demos: Demonstrations,
        config: ReplayConfig,
        spaces: Spaces,
        previous: PreviousInputs = NO_PREVIOUS,
        reward: float | None = None,
    ):
        device = demos.device
        if demos.frames.device.type != device.type:
            raise UserError(
                f"the frames of {demos.size:,} demonstrated steps do not fit into the memory of"
                " the GPU; --num-demos takes fewer demonstrations"
            )
        self.demos = demos
        self.config = config
        self.encoding = previous
        self.device = device
        self.generator = torch.Generator().manual_seed(stream_seed(config.seed, "demonstrations"))
        reward_N = demos.reward_N.sign() if config.clip_reward and spaces.atari else demos.reward_N
        if reward is not None:
            reward_N = torch.full_like(reward_N, reward)
        self.reward_N = reward_N.to(device)
        self.action_N = stored_actions(demos.action_NK, spaces).to(device)
        self.slot_N = demos.slot_N.to(device)
        self.legal_NA = None if demos.legal_NA is None else demos.legal_NA.to(device)
        self.first_N = demos.first_N.to(device)
        self.ended_N = demos.ended_N.to(device)
        self.terminated_N = demos.terminated_N.to(device)
        most_n_step = round(max(config.n_step.start, config.n_step.end))
        self._look_ahead = torch.arange(most_n_step, device=device)
        self._last = torch.tensor(most_n_step - 1, device=device)
        self.priorities = Priorities(demos.size, device)
        every = torch.arange(demos.size, device=device)
        self.priorities.set(every, torch.ones(demos.size, device=device))
        self.max_priority = torch.ones((), device=device)

    def set_n_step(self, n_step: int) -> None:
        """Sets how many rewards a return sums, up to the largest number in the config."""
        self._last.fill_(n_step - 1)

    def draw(self, *shape: int) -> Tensor:
        """Draws the random numbers for `sample`: float64 in [0, 1), on the device."""
        uniform = torch.rand(shape, dtype=torch.float64, generator=self.generator)
        return to_device(uniform, self.device)

    def sample(self, uniform_B: Tensor) -> Batch:
        """Draws transitions with replacement."""
        return self.gather(self.priorities.sample(uniform_B))

    def gather(self, index_B: Tensor) -> Batch:
        """The transitions that start at these steps."""
        return Batch(
            obs=self.demos.observations_at(self.slot_N[index_B]),
            action_B=self.action_N[index_B],
            weight_B=importance(self.priorities[index_B]),
            slot_B=index_B,
            previous_BP=self._after(index_B - 1, self.first_N[index_B]),
            legal_BA=None if self.legal_NA is None else self.legal_NA[index_B],
            is_demo=torch.ones_like(index_B, dtype=torch.bool),
            **self.consequence(index_B, *self.outcome(index_B)),
        )

    def one_step(self, batch: Batch) -> Batch:
        """The transitions of a minibatch over one step."""
        index_B = batch.slot_B
        discount_B = self.config.gamma * ~self.terminated_N[index_B]
        one_B = torch.ones_like(index_B)
        after = self.consequence(index_B, self.reward_N[index_B], discount_B, one_B)
        return replace(batch, **after)

    def consequence(
        self, index_B: Tensor, reward_B: Tensor, discount_B: Tensor, steps_B: Tensor
    ) -> dict[str, Any]:
        """The fields of a `Batch` that tell of the rewards and of the state s' after them."""
        last_B = index_B + steps_B - 1
        return {
            "reward_B": reward_B,
            "discount_B": discount_B,
            "next_obs": self.demos.observations_at(self.slot_N[index_B] + steps_B),
            "next_previous_BP": self._after(last_B, torch.zeros_like(last_B).bool()),
            "next_legal_BA": self._legal_after(last_B),
        }

    def outcome(self, index_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The n-step reward, the discount and the number of summed steps (`returns.n_step`)."""
        window_BT = index_B.unsqueeze(1) + self._look_ahead
        # What follows the last step of all is never summed, because that step ends an episode.
        window_BT = window_BT.clamp_max(self.demos.size - 1)
        return returns.n_step(
            self.reward_N[window_BT],
            self.terminated_N[window_BT],
            self.ended_N[window_BT] | (self._look_ahead >= self._last),
            self.config.gamma,
        )

    def _after(self, index_B: Tensor, is_first_B: Tensor) -> Tensor | None:
        """The encoded actions and rewards (B, P) of these steps; None if no network sees them.

        Args:
            is_first_B: bool, the encoding is for the start of an episode, where it is zero.
        """
        encoding = self.encoding
        if not encoding.enabled:
            return None
        index_B = index_B.clamp_min(0)
        action_B = self.action_N[index_B]
        action_BK = action_B if action_B.ndim == 2 else action_B.unsqueeze(1)
        return encoding.encode(action_BK, self.reward_N[index_B], is_first_B)

    def _legal_after(self, index_B: Tensor) -> Tensor | None:
        """The legal actions (B, A) after these steps; all of them after an episode's last step."""
        if self.legal_NA is None:
            return None
        following_B = (index_B + 1).clamp_max(self.demos.size - 1)
        return self.legal_NA[following_B] | self.ended_N[index_B].unsqueeze(1)

    def update_priorities(self, batch: Batch, priority_B: Tensor) -> None:
        """Sets the priorities of a minibatch's transitions for later draws."""
        exponent = self.config.priority_exponent
        if exponent > 0:
            weight_B = drawing_weight(priority_B, exponent, self.max_priority)
            self.priorities.set(batch.slot_B, weight_B)

    def state_dict(self) -> dict[str, Any]:
        return {
            "priorities": self.priorities.state_dict(),
            "max_priority": self.max_priority.clone(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        greatest = state["max_priority"].to(self.device)
        self.priorities.load_state_dict(state["priorities"])
        self.max_priority.copy_(like(greatest, self.max_priority, "max_priority"))
        self.generator.set_state(state["generator"])


def stored_actions(action_NK: Tensor, spaces: Spaces) -> Tensor:
    """Actions in the form of a replay: int64 numbers of combinations (N,), or float32 (N, K)."""
    if spaces.continuous:
        return action_NK
    return torch.from_numpy(spaces.combination_of(action_NK.numpy()))
