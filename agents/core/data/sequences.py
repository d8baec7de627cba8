"""Sequences of consecutive steps from a replay, for value agents with a core.

Kapturowski et al. 2019, Recurrent experience replay in distributed reinforcement learning,
https://openreview.net/forum?id=r1lyTjAqYX, section 3: the replay stores the memory with which the
policy acted, and a burn-in warms it up before the loss.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agents.core.data.replay import Replay
from agents.core.types.batches import SequenceBatch

MOST_SHARE = 0.9
"""η: a sequence's priority is η times its largest error, plus 1 - η times its mean error."""


class SequenceSampler:
    """Draws sequences from a replay whose layout has `sequence_steps` and `burn_in_steps`.

    A minibatch of B transitions has B / T sequences, T = `sequence_steps`. Sequences begin at
    every T / 2 steps of an environment, and may reach beyond an episode's end.
    """

    def __init__(self, replay: Replay):
        self.replay = replay
        layout = replay.layout
        self.steps = layout.sequence_steps
        self.burn_in = layout.burn_in_steps
        length = replay.look_ahead + 1
        self._offset_L = torch.arange(length, device=replay.device)
        self._learned_T = self._offset_L[self.burn_in : self.burn_in + self.steps]

    @property
    def ready(self) -> bool:
        """Whether every environment holds a whole sequence."""
        return self.replay.ready

    def draw(self, *shape: int) -> Tensor:
        """Draws the random numbers for `sample`; the last size is a number of transitions."""
        *rows, size = shape
        return self.replay.draw(*rows, size // self.steps)

    def sample(self, uniform_B: Tensor) -> SequenceBatch:
        """Draws a sequence for each random number, with replacement; requires `ready`."""
        return self.gather(self.replay.priorities.sample(uniform_B))

    def gather(self, slot_B: Tensor) -> SequenceBatch:
        """The sequences that begin at these slots."""
        replay = self.replay
        fields = replay.fields
        slot_BL = replay.after(slot_B.unsqueeze(1), self._offset_L)
        slot_BT = replay.after(slot_B.unsqueeze(1), self._learned_T)
        shape_BL = slot_BL.shape
        slot_M = slot_BL.flatten()
        reward_N, discount_N, steps_N = replay.outcome(slot_BT.flatten())
        weight_BT = (~fields["final"][slot_BT]).float()
        previous_MP = replay.previous(slot_M)
        return SequenceBatch(
            obs_BL=replay.observations(slot_M).unflatten(0, shape_BL),
            start_BL=fields["age"][slot_BL] == 0,
            memory_BS=replay.memory(slot_B),
            action_BT=fields["action"][slot_BT],
            reward_BT=reward_N.view_as(slot_BT),
            discount_BT=discount_N.view_as(slot_BT),
            next_time_BT=self._learned_T + steps_N.view_as(slot_BT),
            ended_BT=fields["ended"][slot_BT],
            weight_BT=weight_BT * replay.importance(slot_B).unsqueeze(1),
            slot_B=slot_B,
            burn_in=self.burn_in,
            previous_BLP=None if previous_MP is None else previous_MP.unflatten(0, shape_BL),
            legal_BLA=fields["legal"][slot_BL] if replay.spaces.masked else None,
        )

    def update_priorities(self, batch: SequenceBatch, priority_B: Tensor) -> None:
        """Sets the priority of each sequence from its steps' priorities (section 2.3)."""
        priority_BT = priority_B.view_as(batch.weight_BT) * (batch.weight_BT > 0)
        mixed_B = MOST_SHARE * priority_BT.amax(dim=1) + (1 - MOST_SHARE) * priority_BT.mean(dim=1)
        self.replay.set_priorities(batch.slot_B, mixed_B)
