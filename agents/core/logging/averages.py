"""Averages of metrics between two reports."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from torch import Tensor

from envs.errors import Failure


class Diverged(Failure):
    """A loss or gradient is not finite, so training after the last checkpoint is worthless."""


class Averages:
    """Means of tensors over an interval, summed on their device and fetched once."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: Counter[str] = Counter()

    def add(self, metrics: dict[str, Tensor]) -> None:
        """Adds the metrics of an update, which may lack some of the names."""
        # A new tensor holds each sum, because the next update may overwrite the metrics.
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0) + value
        self._counts.update(metrics.keys())

    def flush(self) -> dict[str, float]:
        """The means since the last flush; raises Diverged if a mean is not finite."""
        if not self._sums:
            return {}
        values = torch.stack(list(self._sums.values())).tolist()
        means = {name: v / self._counts[name] for name, v in zip(self._sums, values, strict=True)}
        self._sums = {}
        self._counts.clear()
        for name, mean in means.items():
            if not np.isfinite(mean):
                raise Diverged(f"{name} is {mean}")
        return means
