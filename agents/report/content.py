"""Computes everything that the page shows, as JSON values; the page only draws them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from agents.report.grouping import Group, grouped, text
from agents.report.parsing import Series, printable
from agents.report.reading import RunRecord, step_of
from agents.report.statistics import (
    Curve,
    Estimate,
    aggregate,
    estimate_iqm,
    estimate_share,
    thinned,
)
from demos import provenance

POINTS = 240_000
"""Largest number of points of all curves in a page; a point is three numbers."""

LEAST_POINTS = 40
"""Smallest limit of points of one curve."""

MOST_POINTS = 1_000
"""Largest limit of points of one curve."""

AGGREGATE_POINTS = 100
"""Largest number of points of an aggregate."""

MOST_METRICS = 40
"""Largest number of metrics that the page offers."""

MOST_SETTINGS = 500
"""Largest number of shown settings of a run. An agent has fewer than 50, but a hostile config may
have a million."""

FIRST_METRICS = (
    *("eval/return_mean", "charts/episodic_return_20", "charts/episodic_return"),
    *("eval/human_normalized", "eval/of_demonstrator", "charts/SPS", "charts/episodic_length"),
)
"""Metrics that the page offers first, in this order; the others follow by name."""

Film = Path | bytes


@dataclass(frozen=True, eq=False)
class Content:
    """The data of a page, and its films in the order of their numbers, most interesting first."""

    data: dict[str, Any]
    films: list[Film]


def assemble(
    title: str,
    runs: Sequence[RunRecord],
    foreign: Sequence[Path],
    datasets: Sequence[tuple[dict[str, Any], list[bytes]]],
) -> Content:
    """Returns the content of a page.

    Args:
        title: title of the page.
        runs: the runs to show.
        foreign: folders without a run, which the page names.
        datasets: results of `demonstrations.described`.
    """
    groups = grouped(runs)
    films: list[Film] = [film for _, shown in datasets for film in shown]
    numbered = iter(range(len(films)))
    demos = [
        about | {"films": [film | {"film": next(numbered)} for film in about["films"]]}
        for about, _ in datasets
    ]
    videos = _numbered_videos(runs, films)
    metrics = metric_names(runs)
    data = {
        "title": printable(title),
        "made": provenance.now(),
        "runs": [_run(run, videos[number]) for number, run in enumerate(runs)],
        "groups": [vars(group) | {"runs": list(group.runs)} for group in groups],
        "variants": sorted({group.variant for group in groups}),
        "metrics": metrics,
        "curves": curves(runs, metrics),
        "aggregates": {metric: _aggregates(metric, runs, groups) for metric in metrics},
        "scores": _scores(runs, groups),
        "demos": demos,
        "foreign": [printable(path.name) for path in foreign],
    }
    return Content(data, films)


def _numbered_videos(runs: Sequence[RunRecord], films: list[Film]) -> list[list[int]]:
    """Appends the runs' videos to `films`; returns the numbers of each run's videos, oldest first.

    The newest videos of all runs get the lowest numbers.
    """
    numbers: list[list[int]] = [[] for _ in runs]
    for age in range(max((len(run.videos) for run in runs), default=0)):
        for of_run, run in zip(numbers, runs, strict=True):
            if age < len(run.videos):
                of_run.insert(0, len(films))
                films.append(run.videos[-1 - age])
    return numbers


def _run(run: RunRecord, videos: list[int]) -> dict[str, Any]:
    step, seconds = run.last
    speed = run.series.get("charts/SPS")
    memory = run.series.get("charts/memory_gb")
    score = run.score
    return {
        "name": run.name,
        "env": run.env_id,
        "algo": run.algo,
        "seed": run.seed,
        "state": run.state(),
        "problems": list(run.problems),
        "step": step,
        "seconds": seconds,
        "frameskip": run.frameskip,
        "speed": None if speed is None else short(np.median(speed.value)),
        "memory": None if memory is None else short(memory.value.max()),
        "score": score and vars(score),
        "choices": run.choices and vars(run.choices),
        "videos": [
            {"film": number, "name": printable(video.name), "score": _score(run, step_of(video))}
            for number, video in zip(videos, run.videos, strict=True)
        ],
        "config": {
            printable(name): text(value)
            for name, value in islice(run.config.items(), MOST_SETTINGS)
        },
    }


def _score(run: RunRecord, step: int | None) -> dict[str, Any] | None:
    """The score of the weights at a step, as JSON."""
    score = run.score_at(step)
    return score and vars(score)


def metric_names(runs: Sequence[RunRecord]) -> list[str]:
    """The metrics that the page offers: `FIRST_METRICS`, then the most frequent others by name."""
    counts = Counter(name for run in runs for name in run.series)
    first = [name for name in FIRST_METRICS if name in counts]
    others = sorted(counts.keys() - first, key=lambda name: (-counts[name], name))
    return first + sorted(others[: MOST_METRICS - len(first)])


def curves(runs: Sequence[RunRecord], metrics: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Lists [steps, seconds, values] by metric and run, thinned so that all fit into a page."""
    count = sum(name in run.series for run in runs for name in metrics)
    most = int(np.clip(POINTS // max(count, 1), LEAST_POINTS, MOST_POINTS))

    def points(series: Series) -> list[list[float]]:
        at = thinned(series.value, most)
        return [shorts(each[at]) for each in (series.step, series.seconds, series.value)]

    return {
        name: {str(i): points(run.series[name]) for i, run in enumerate(runs) if name in run.series}
        for name in metrics
    }


def _aggregates(
    metric: str, runs: Sequence[RunRecord], groups: Sequence[Group]
) -> dict[str, dict[str, Any]]:
    """The aggregated curves of each group in which a run has the metric."""
    found = {}
    for number, group in enumerate(groups):
        members = [runs[i].series[metric] for i in group.runs if metric in runs[i].series]
        if members:
            found[str(number)] = _aggregated(tuple(members))
    return found


# A served page is computed often, and most series stay the same.
@lru_cache(maxsize=4096)
def _aggregated(members: tuple[Series, ...]) -> dict[str, Any]:
    """The aggregate of several series, by steps and by seconds.

    It has as many points as the longest series, because more points would show no more.
    """
    points = int(np.clip(max(len(each) for each in members), 1, AGGREGATE_POINTS))
    # In a damaged file, the clock may run backwards; it then stands still here.
    clocks = [np.maximum.accumulate(each.seconds) for each in members]
    by_time = [(clock, each.value) for clock, each in zip(clocks, members, strict=True)]
    return {
        "steps": _curve(aggregate([[(each.step, each.value) for each in members]], points)),
        "seconds": _curve(aggregate([by_time], points)),
    }


def _curve(curve: Curve) -> dict[str, Any]:
    return {"x": shorts(curve.x), "n": curve.runs.tolist(), **_estimate(curve.estimate)}


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {name: shorts(np.atleast_1d(values)) for name, values in vars(estimate).items()}


def _scores(runs: Sequence[RunRecord], groups: Sequence[Group]) -> dict[str, Any]:
    """Human-normalized scores by group, and over all games of each variant."""
    by_game = []
    games = defaultdict(list)
    for number, group in enumerate(groups):
        scores = [runs[i].score for i in group.runs]
        human = np.array([s.human for s in scores if s is not None and s.human is not None])
        if len(human):
            games[group.variant].append(human)
            by_game.append({"group": number, "runs": shorts(human), **_one(estimate_iqm([human]))})
    everything = np.concatenate([np.concatenate(each) for each in games.values()] or [np.zeros(1)])
    taus = np.linspace(min(0.0, everything.min()), max(1.0, everything.max()), 101)
    return {
        "by_game": by_game,
        "taus": shorts(taus),
        "variants": [
            {
                "variant": variant,
                "games": len(strata),
                "runs": sum(len(each) for each in strata),
                **_one(estimate_iqm(strata)),
                "profile": _estimate(estimate_share(strata, taus)),
            }
            for variant, strata in sorted(games.items())
        ],
    }


def _one(estimate: Estimate) -> dict[str, float]:
    return {name: short(float(value)) for name, value in vars(estimate).items()}


def shorts(values: np.ndarray) -> list[float]:
    """The numbers as `short` rounds them."""
    return [short(value) for value in values.tolist()]


def short(value: float) -> float:
    """A number with five significant digits, enough to read; a whole number becomes an int."""
    rounded = float(f"{value:.5g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded
