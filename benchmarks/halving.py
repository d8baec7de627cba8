"""Successive halving with paired differences: which candidates of a search go on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.stats

CONFIDENCE = 0.95

RULE = (
    "After each rung, a candidate is dropped if the upper end of the 95% interval of its paired"
    " difference to the best candidate is below 0. The best half, rounded up, always goes on. At"
    " most `most` candidates go on. The baseline always goes on, and counts for neither number."
    " The best candidate has the highest mean score over the rung's seeds. A pair is the scores of"
    " two candidates with the same seed; the interval is Student's t over the pairs."
)

Scores = dict[int, float]
"""The score of a candidate by seed."""


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences, and its 95% interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Verdict:
    """A candidate's figures after a rung, and whether it goes on.

    Attributes:
        worst: the lowest score of a seed.
        to_best: the paired difference to the best candidate; None for the best one.
        to_baseline: the paired difference to the baseline; None for the baseline.
        decision: "best", "goes on", or why the candidate is dropped.
    """

    mean: float
    worst: float
    seeds: int
    to_best: Difference | None
    to_baseline: Difference | None
    decision: str
    goes_on: bool


def paired(scores: Scores, others: Scores) -> Difference:
    """The difference of two candidates' scores over the seeds that both have.

    A single pair has an infinite interval.
    """
    both = sorted(scores.keys() & others.keys())
    differences = np.array([scores[seed] - others[seed] for seed in both])
    mean = float(differences.mean())
    if len(both) < 2:
        return Difference(mean, -math.inf, math.inf)
    half = scipy.stats.t.ppf((1 + CONFIDENCE) / 2, len(both) - 1) * scipy.stats.sem(differences)
    return Difference(mean, mean - float(half), mean + float(half))


def verdicts(scores: dict[str, Scores], baseline: str, most: int) -> dict[str, Verdict]:
    """What becomes of each candidate, from the highest mean to the lowest.

    Args:
        scores: the scores of all candidates over the same seeds.
        baseline: the candidate that always goes on.
        most: how many others may go on; 0 sets no limit.
    """
    means = {name: float(np.mean(list(each.values()))) for name, each in scores.items()}
    ranked = sorted(scores, key=lambda name: -means[name])
    best = ranked[0]
    rivals = [name for name in ranked if name != baseline]
    half = math.ceil(len(rivals) / 2)
    found: dict[str, Verdict] = {}
    for name in ranked:
        to_best = None if name == best else paired(scores[name], scores[best])
        place = rivals.index(name) if name in rivals else -1
        decision = "best" if name == best else decided(place, half, most, to_best)
        found[name] = Verdict(
            mean=means[name],
            worst=min(scores[name].values()),
            seeds=len(scores[name]),
            to_best=to_best,
            to_baseline=None if name == baseline else paired(scores[name], scores[baseline]),
            decision=decision,
            goes_on=decision in ("best", "baseline", "goes on"),
        )
    return found


def decided(place: int, half: int, most: int, to_best: Difference | None) -> str:
    """The decision on a candidate that is not the best.

    Args:
        place: its place among the candidates beside the baseline, from 0; -1 is the baseline.
        half: how many of them always go on.
        most: how many of them may go on; 0 sets no limit.
    """
    if place < 0:
        return "baseline"
    if most and place >= most:
        return f"dropped: not among the best {most}"
    if to_best is not None and to_best.high < 0 and place >= half:
        return "dropped: worse than the best"
    return "goes on"
