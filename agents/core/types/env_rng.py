"""Random numbers for each environment; they do not depend on the process that draws them."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.core.math.schedules import stream_seed


class EnvRng:
    """Random numbers for the N environments `rows` of a run with `total` environments.

    An environment gets the same numbers in every group and rank. Each group holds a generator in
    the same state, draws numbers for all environments and keeps its own rows.
    """

    def __init__(self, seed: int, total: int, rows: slice | None = None):
        self.generator = torch.Generator().manual_seed(stream_seed(seed, "actions"))
        self.total = total
        self.rows = rows or slice(total)

    def uniform(self, count: int) -> Tensor:
        """Uniform numbers in [0, 1), float32 (N, count)."""
        return torch.rand(self.total, count, generator=self.generator)[self.rows]

    def normal(self, count: int) -> Tensor:
        """Normal numbers of mean 0 and deviation 1, float32 (N, count)."""
        return torch.randn(self.total, count, generator=self.generator)[self.rows]
