"""Random numbers that belong to an environment's row, not to a process."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.core.math.schedules import stream_seed


class EnvRng:
    """Random numbers for the environments `rows` of a run with `total` of them.

    An environment gets the same numbers in every group and rank: each holds a generator in the
    same state, draws for all environments and keeps its own rows.
    """

    def __init__(self, seed: int, total: int, rows: slice | None = None):
        self.generator = torch.Generator().manual_seed(stream_seed(seed, "actions"))
        self.total = total
        self.rows = rows or slice(total)

    def uniform(self, count: int) -> Tensor:
        """In [0, 1), float32 (N, count)."""
        return torch.rand(self.total, count, generator=self.generator)[self.rows]

    def normal(self, count: int) -> Tensor:
        """Of mean 0 and deviation 1, float32 (N, count)."""
        return torch.randn(self.total, count, generator=self.generator)[self.rows]
