"""Demonstrations that grow: minibatches of all steps that an expert labeled so far."""

from __future__ import annotations

import torch

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
    """

    def __init__(self, batch_size: int, seed: int, previous: PreviousInputs = NO_PREVIOUS):
        self.batch_size = batch_size
        self.seed = seed
        self.previous = previous
        self.parts: list[Demonstrations] = []
        self.drawn = 0

    def add(self, recording: Demonstrations) -> None:
        """Adds the steps of a recording."""
        self.parts.append(recording)

    @property
    def size(self) -> int:
        """Number of steps, with a label or without."""
        return sum(part.size for part in self.parts)

    @property
    def taught(self) -> int:
        """Number of steps with a label."""
        return sum(len(part.taught_M) for part in self.parts)

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
                batches.append(part.minibatch(part.taught_M[chosen_M], self.previous))
            first = int(ends[place])
        return joined(batches)
