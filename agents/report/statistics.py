"""Statistics of runs: pure functions of arrays.

Interquartile means and stratified bootstrap intervals follow Agarwal et al. 2021
(https://arxiv.org/abs/2108.13264), computed with SciPy. A stratum is a game; its runs are the
seeds, which are drawn with replacement within it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats

CONFIDENCE = 0.95

RESAMPLES = 2_000
"""Number of bootstrap resamples for a single number."""

RESAMPLES_OF_CURVE = 400
"""Number of bootstrap resamples for each point of a curve, fewer because a curve has many."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """A statistic and its interval, three arrays (...,).

    The interval has no width if no stratum has two runs.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def iqm(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """The mean without the lowest and the highest quarter; each quarter is rounded down."""
    return scipy.stats.trim_mean(values, 0.25, axis=axis)


def estimate_iqm(strata: Sequence[np.ndarray], resamples: int = RESAMPLES) -> Estimate:
    """The interquartile mean over all runs of all strata, each (runs, ...), and its interval."""
    return _estimate(strata, iqm, resamples)


def estimate_share(strata: Sequence[np.ndarray], taus: np.ndarray) -> Estimate:
    """A performance profile: the share of all runs that scored more than each τ.

    Args:
        strata: arrays (runs,) of scores.
        taus: the thresholds τ, (K,).
    """
    above = [(scores[:, None] > taus).astype(float) for scores in strata]
    return _estimate(above, lambda values, axis: np.mean(values, axis=axis), RESAMPLES_OF_CURVE)


def _estimate(
    strata: Sequence[np.ndarray], statistic: Callable[..., np.ndarray], resamples: int
) -> Estimate:
    value = np.asarray(statistic(np.concatenate(strata), axis=0))
    varied = [each for each in strata if len(each) > 1]
    if not varied:
        return Estimate(value, value, value)
    # SciPy does not resample a single run, which would always give the same run.
    single = [np.moveaxis(each, 0, -1) for each in strata if len(each) == 1]

    def of_all(*drawn: np.ndarray, axis: int) -> np.ndarray:
        shape = drawn[0].shape[:-1]
        gap = len(shape) - value.ndim
        fixed = [
            np.broadcast_to(each.reshape(*value.shape, *(1,) * gap, 1), (*shape, 1))
            for each in single
        ]
        return statistic(np.concatenate([*drawn, *fixed], axis=-1), axis=axis)

    interval = scipy.stats.bootstrap(
        varied,
        of_all,
        n_resamples=resamples,
        axis=0,
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    low, high = (np.reshape(end, value.shape) for end in interval)
    return Estimate(value, low, high)


@dataclass(frozen=True, eq=False)
class Curve:
    """An aggregated curve of N points."""

    x: np.ndarray
    """(N,), ascending."""
    estimate: Estimate
    """Arrays (N,)."""
    runs: np.ndarray
    """int (N,), the number of runs that reach each point."""


def aggregate(strata: Sequence[Sequence[tuple[np.ndarray, np.ndarray]]], points: int) -> Curve:
    """The interquartile mean of curves (x, y) and its interval, at `points` evenly spaced x.

    A point aggregates only the runs that reach it. So a run in progress does not shorten the curve.
    """
    curves = [curve for stratum in strata for curve in stratum]
    first = min(x[0] for x, _ in curves)
    last = max(x[-1] for x, _ in curves)
    grid = np.linspace(first, last, points) if last > first else np.array([first])
    rows = [np.array([resampled(x, y, grid) for x, y in stratum]) for stratum in strata]
    alive = np.isfinite(np.concatenate(rows))
    value, low, high = (np.full(len(grid), np.nan) for _ in range(3))
    for members in np.unique(alive.T, axis=0):
        if not members.any():
            continue
        at = (members == alive.T).all(axis=1)
        there = [np.isfinite(stratum[:, at]).all(axis=1) for stratum in rows]
        present = [
            stratum[here][:, at] for stratum, here in zip(rows, there, strict=True) if here.any()
        ]
        found = estimate_iqm(present, RESAMPLES_OF_CURVE)
        value[at] = found.value
        low[at] = found.low
        high[at] = found.high
    kept = np.isfinite(value)
    estimate = Estimate(value[kept], low[kept], high[kept])
    return Curve(grid[kept], estimate, alive.sum(axis=0)[kept])


def resampled(x: np.ndarray, y: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Resamples a curve at evenly spaced x: takes the mean of the nearest points, or interpolates.

    Args:
        x: ascending, (N,), as `y`.
        grid: the new x, (K,). The result is NaN at grid points further than half a space outside
            the curve.
    """
    space = grid[1] - grid[0] if len(grid) > 1 else 1.0
    nearest = np.clip(np.rint((x - grid[0]) / space).astype(int), 0, len(grid) - 1)
    count = np.bincount(nearest, minlength=len(grid))
    total = np.bincount(nearest, weights=y, minlength=len(grid))
    has = np.flatnonzero(count)
    values = np.interp(grid, grid[has], total[has] / count[has])
    values[(grid < grid[has[0]]) | (grid > grid[has[-1]])] = np.nan
    return values


def thinned(y: np.ndarray, most: int) -> np.ndarray:
    """Indices of at most `most` points that look like the whole curve.

    The indices are both ends, and the lowest and the highest point of each bucket.

    Args:
        most: at least 4.
    """
    count = len(y)
    if count <= most:
        return np.arange(count)
    edges = np.linspace(1, count - 1, (most - 2) // 2 + 1).astype(int)
    chosen = [0, count - 1]
    for start, stop in itertools.pairwise(edges):
        chosen += [start + int(y[start:stop].argmin()), start + int(y[start:stop].argmax())]
    return np.unique(chosen)
