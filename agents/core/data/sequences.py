"""Sequences of consecutive steps from a replay, for recurrent and sequence models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agents.core.data.replay import Replay
from agents.core.system.device import to_device


@dataclass(frozen=True)
class ReplaySequences:
    """B sequences of T = burn-in + length steps, time first.

    A slot that holds the last observation of an episode has no action, so it is not a step. It
    stays in its sequence with a weight of 0.

    Attributes:
        obs_TB: observations (T + 1, B, ...); the last one follows the last step.
        action_TB: actions (T, B), or (T, B, K) if they are continuous.
        reward_TB: rewards, clipped as in the replay.
        terminated_TB: bool, the step terminated the return.
        is_first_TB: bool (T + 1, B), the observation is the first of its episode.
        weight_TB: 1 for a step to learn from; 0 in the burn-in and in slots without an action.
        slot_TB: slots of the steps in the replay.
    """

    obs_TB: Tensor
    action_TB: Tensor
    reward_TB: Tensor
    terminated_TB: Tensor
    is_first_TB: Tensor
    weight_TB: Tensor
    slot_TB: Tensor


class SequenceSampler:
    """Draws sequences from a replay; each possible start is equally likely.

    The burn-in is a prefix that only warms up a recurrent state (Kapturowski et al. 2019,
    https://openreview.net/forum?id=r1lyTjAqYX, section 3).

    Args:
        length_steps: steps of a sequence to learn from.
        burn_in_steps: steps of the burn-in before them.
    """

    def __init__(self, replay: Replay, length_steps: int, burn_in_steps: int = 0):
        total = length_steps + burn_in_steps
        if length_steps < 1 or burn_in_steps < 0 or total + replay.stack >= replay.length:
            raise ValueError(
                f"sequences of {burn_in_steps} + {length_steps} steps: must have at least one "
                f"step, and be shorter than the {replay.length} slots of an environment"
            )
        self.replay = replay
        self.burn_in_steps = burn_in_steps
        self.total_steps = total

    @property
    def ready(self) -> bool:
        """Whether every environment holds a whole sequence."""
        return bool((self._num_starts() > 0).all())

    def _first_starts(self) -> np.ndarray:
        """The first position of each environment with a complete stack of frames.

        The slot before it is in the replay too: it tells whether an episode begins.
        """
        replay = self.replay
        oldest_N = np.maximum(replay.written - replay.length, replay.drawable_from)
        return np.where(oldest_N > 0, oldest_N + max(replay.stack - 1, 1), 0)

    def _num_starts(self) -> np.ndarray:
        """Number of positions in each environment at which a sequence may start."""
        return np.maximum(self.replay.written - self.total_steps - self._first_starts(), 0)

    def sample(self, batch_size: int) -> ReplaySequences:
        """Draws B sequences with replacement; requires `ready`."""
        replay = self.replay
        starts_N = self._num_starts()
        uniform_B = torch.rand(batch_size, dtype=torch.float64, generator=replay.generator)
        chosen_B = (uniform_B.numpy() * starts_N.sum()).astype(np.int64)
        bounds_N = starts_N.cumsum()
        env_B = np.searchsorted(bounds_N, chosen_B, side="right")
        offset_B = chosen_B - (bounds_N - starts_N)[env_B]
        position_B = self._first_starts()[env_B] + offset_B
        position_TB = position_B + np.arange(self.total_steps + 1)[:, None]
        env_TB = np.broadcast_to(env_B, position_TB.shape)
        return self._gather(replay.slots(env_TB.ravel(), position_TB.ravel()), batch_size)

    def _gather(self, slot: Tensor, batch_size: int) -> ReplaySequences:
        """The sequences of flat slots (T + 1, B)."""
        replay = self.replay
        shape = (self.total_steps + 1, batch_size)
        fields = {name: each[slot].unflatten(0, shape) for name, each in replay.fields.items()}
        weight_TB = (~fields["final"][:-1]).float()
        weight_TB[: self.burn_in_steps] = 0.0
        return ReplaySequences(
            obs_TB=replay.observations(slot).unflatten(0, shape),
            action_TB=fields["action"][:-1],
            reward_TB=fields["reward"][:-1],
            terminated_TB=fields["terminated"][:-1],
            is_first_TB=self._is_first(slot, shape),
            weight_TB=weight_TB,
            slot_TB=slot.unflatten(0, shape)[:-1],
        )

    def _is_first(self, slot: Tensor, shape: tuple[int, int]) -> Tensor:
        """Whether an episode begins at these slots: the slot before is empty or ends an episode."""
        replay = self.replay
        one = torch.ones((), dtype=torch.int64, device=replay.device)
        before = replay.after(slot, -one)
        written = to_device(replay.written, replay.device)
        never = (slot % replay.length == 0) & (written[slot // replay.length] <= replay.length)
        return (replay.fields["final"][before] | never).unflatten(0, shape)
