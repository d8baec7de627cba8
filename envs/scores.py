"""Scores of random play and of people in Atari games."""

from __future__ import annotations

import csv
import functools
from pathlib import Path


@functools.lru_cache
def _table() -> dict[str, dict[str, float]]:
    with open(
        Path(__file__).with_name("atari_human_random.csv"), newline="", encoding="utf-8"
    ) as file:
        rows = csv.DictReader(file)
        return {r["game"]: {"random": float(r["random"]), "human": float(r["human"])} for r in rows}


def reference_scores(game: str | None) -> dict[str, float]:
    """DQN Zoo's mean returns of "random" and "human" in a game; {} outside its 57 games.

    Args:
        game: as `EnvSpec.game`.
    """
    return dict(_table().get(game or "", {}))


def human_normalized(game: str | None, score: float) -> float | None:
    """(score - random) / (human - random) (Mnih et al. 2015); None outside the 57 games."""
    known = reference_scores(game)
    if not known:
        return None
    return (score - known["random"]) / (known["human"] - known["random"])
