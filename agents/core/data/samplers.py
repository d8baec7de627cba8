"""Samplers: where minibatches of transitions come from."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from agents.core.types.batches import Batch, joined


class Sampler(Protocol):
    """A source of minibatches: a replay, or several in given shares."""

    @property
    def ready(self) -> bool:
        """Whether there is something to sample."""
        ...

    def draw(self, *shape: int) -> Tensor:
        """Random numbers in [0, 1) to sample with, float64, on the device."""
        ...

    def sample(self, uniform_B: Tensor) -> Batch:
        """A minibatch of B transitions for these numbers."""
        ...

    def update_priorities(self, batch: Batch, priority_B: Tensor) -> None:
        """Prefer each transition of a minibatch by its priority from now on."""
        ...


class Mixed:
    """Minibatches from two sources: the agent's own experience and demonstrations, for example.

    The importance weights of each source stay as that source has them.

    Args:
        first, second: the sources.
        share: the share of each minibatch that comes from the second, between 0 and 1. It is
            rounded to whole transitions, at least one from each.
    """

    def __init__(self, first: Sampler, second: Sampler, share: float):
        if not 0 < share < 1:
            raise ValueError(f"share {share}: must be between 0 and 1")
        self.first = first
        self.second = second
        self.share = share

    @property
    def ready(self) -> bool:
        return self.first.ready and self.second.ready

    def draw(self, *shape: int) -> Tensor:
        *rows, size = shape
        count = self._of_first(size)
        parts = [self.first.draw(*rows, count), self.second.draw(*rows, size - count)]
        return torch.cat(parts, dim=-1)

    def sample(self, uniform_B: Tensor) -> Batch:
        count = self._of_first(len(uniform_B))
        own = self.first.sample(uniform_B[:count])
        other = self.second.sample(uniform_B[count:])
        return joined([own, other])

    def update_priorities(self, batch: Batch, priority_B: Tensor) -> None:
        count = self._of_first(batch.size)
        own, other = batch.cut(count)
        self.first.update_priorities(own, priority_B[:count])
        self.second.update_priorities(other, priority_B[count:])

    def _of_first(self, size: int) -> int:
        if size < 2:
            raise ValueError(f"a minibatch of {size} cannot come from two sources")
        return min(max(size - round(self.share * size), 1), size - 1)
