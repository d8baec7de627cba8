"""Demonstrations that grow: minibatches of all steps that an expert labeled so far."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.core.data.demonstrations import Demonstrations
from agents.core.math.schedules import stream_seed
from agents.core.nets.previous import NO_PREVIOUS, PreviousInputs
from agents.core.types.batches import DemoBatch, joined


class Aggregate:
    """The steps of several recordings, drawn uniformly with replacement.

    A minibatch depends only on the seed, the number of minibatches before it and the recordings.

    Args:
        previous: the encoding of the previous action and reward that the network sees.

    Attributes:
        drawn: minibatches drawn so far.
        size: number of steps, with a label or without.
    """

    def __init__(self, batch_size: int, seed: int, previous: PreviousInputs = NO_PREVIOUS):
        self.batch_size = batch_size
        self.seed = seed
        self.previous = previous
        self.parts: list[Demonstrations] = []
        self.size = 0
        self.taught = 0
        self.drawn = 0

    def add(self, recording: Demonstrations) -> None:
        """Adds the steps of a recording."""
        self.parts.append(recording)
        self.size += recording.size
        self.taught += len(recording.taught_M)

    @property
    def ready(self) -> bool:
        """Whether any step has a label."""
        return self.taught > 0

    def draw(self) -> DemoBatch:
        """Draws the next minibatch; its steps are in the order of the recordings."""
        generator = torch.Generator().manual_seed(stream_seed(self.seed, f"batch {self.drawn}"))
        self.drawn += 1
        number_B = torch.randint(self.taught, (self.batch_size,), generator=generator)
        ends = torch.tensor([len(part.taught_M) for part in self.parts]).cumsum(dim=0)
        part_B = torch.bucketize(number_B, ends, right=True)
        batches: list[DemoBatch] = []
        first = 0
        for place, part in enumerate(self.parts):
            chosen_M = number_B[part_B == place] - first
            if len(chosen_M):
                batches.append(self._taken(part, part.taught_M[chosen_M]))
            first = int(ends[place])
        return joined(batches)

    def _taken(self, part: Demonstrations, index_B: Tensor) -> DemoBatch:
        """The minibatch of steps of one recording."""
        ones_B = torch.ones(len(index_B), device=part.device)
        return DemoBatch(
            obs=part.observations(index_B),
            action_BK=part.labels(index_B),
            kept_BF=ones_B.unsqueeze(1),
            weight_B=ones_B,
            previous_BP=part.previous(index_B, self.previous),
            legal_BA=part.legal(index_B),
        )
