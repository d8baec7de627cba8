"""Games of an expert to learn from."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

import envs
from demos import Metadata, record
from demos.editing import save
from demos.scripts import Script

IN_TURN = 5
"""Environments that play at the same time."""


@cache
def expert_games() -> Path:
    """Ten games of `toy/Identity-v0` by an expert, each with the return 10."""
    # The environment shows a symbol, and the expert names it.
    return games_of("toy/Identity-v0", lambda obs: obs.argmax(axis=1), 10)


@cache
def recall_games() -> Path:
    """Games of `toy/Recall-v0` by an expert that remembers, each with the return 1.

    The expert names the symbol at every step, so that only the first one needs no memory.
    """
    remembered = np.zeros(IN_TURN, np.int64)

    def choose(obs: np.ndarray) -> np.ndarray:
        shown = obs[:, :-1]
        begins = shown.any(axis=1)
        remembered[begins] = shown[begins].argmax(axis=1)
        return remembered.copy()

    return games_of("toy/Recall-v0", choose, 200)


def games_of(env_id: str, choose: Callable[[np.ndarray], np.ndarray], count: int) -> Path:
    """A dataset of games in which a function chooses the actions."""
    spec = envs.spec(env_id)
    about = Metadata(spec=spec, policy="expert", created="today", command="tests")
    path = Path(tempfile.mkdtemp(prefix="joystick-expert-")) / "games"
    expert = Script("expert", choose)
    return save(path, about, record(spec, expert, count, seed=0, num_envs=IN_TURN)).path
