"""Losses as papers print them, one number at a time: what the vectorized losses must equal."""

from __future__ import annotations

import torch


def slow_quantile_huber(
    quantiles: torch.Tensor, targets: torch.Tensor, threshold: float, fractions: list[list[float]]
) -> torch.Tensor:
    """Eq. 2 and 3 of IQN as they are printed, one pair of quantile and target at a time."""
    total = torch.zeros((), dtype=torch.float64)
    for row, target_row, fraction_row in zip(quantiles, targets, fractions, strict=True):
        for theta, fraction in zip(row, fraction_row, strict=True):
            for target in target_row:
                error = target - theta
                if error.abs() <= threshold:
                    penalty = error**2 / 2
                else:
                    penalty = threshold * (error.abs() - threshold / 2)
                weight = 1 - fraction if error < 0 else fraction
                total = total + weight * penalty / threshold / len(target_row)
    return total
