"""Samplers: sources of minibatches of transitions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from agents.core.types.batches import Batch, joined


class Sampler(Protocol):
    """A source of minibatches, such as a replay, demonstrations or a mixture of both."""

    @property
    def ready(self) -> bool:
        """Whether the source can give a minibatch."""
        ...

    def draw(self, *shape: int) -> Tensor:
        """Draws the random numbers for `sample`: float64 in [0, 1), on the device."""
        ...

    def sample(self, uniform_B: Tensor) -> Any:
        """Samples a minibatch: a `Batch`, or a `SequenceBatch` of sequences."""
        ...

    def update_priorities(self, batch: Any, priority_B: Tensor) -> None:
        """Sets the priorities of a minibatch's transitions for later draws."""
        ...


class Mixed:
    """Minibatches of the agent's own experience and of demonstrations.

    The importance weights of each source are unchanged.

    Args:
        first: the source of the agent's own transitions.
        second: the source of demonstrated ones, which `Batch.is_demo` marks.
        share: the share of each minibatch that comes from the second source, between 0 and 1. It is
            rounded to whole transitions, at least one from each source.
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
        batch = joined([own, other])
        return replace(batch, is_demo=torch.arange(batch.size, device=own.slot_B.device) >= count)

    def one_step(self, batch: Batch) -> Batch:
        """The transitions of a minibatch over one step; both sources have `one_step` too."""
        first: Any = self.first
        second: Any = self.second
        own, other = batch.cut(self._of_first(batch.size))
        return joined([first.one_step(own), second.one_step(other)])

    def update_priorities(self, batch: Batch, priority_B: Tensor) -> None:
        count = self._of_first(batch.size)
        own, other = batch.cut(count)
        self.first.update_priorities(own, priority_B[:count])
        self.second.update_priorities(other, priority_B[count:])

    def _of_first(self, size: int) -> int:
        if size < 2:
            raise ValueError(f"a minibatch of {size} cannot come from two sources")
        return min(max(size - round(self.share * size), 1), size - 1)
