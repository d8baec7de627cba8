"""Whether an environment is reproducible: one short tape, played twice."""

from __future__ import annotations

import copy
import time
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from gymnasium import Space

from envs.backends import open_pool
from envs.pool import Pool
from envs.spec import EnvSpec
from envs.tapes import playable_actions

SEED = 7
"""Seeds the environment and the random actions."""


class Moment(NamedTuple):
    """What an environment shows at one step of the tape, observations as their digest."""

    observation: int
    reward: float
    termination: bool
    truncation: bool


def difference(spec: EnvSpec, most_steps: int = 200, most_seconds: float = 1.0) -> str:
    """Plays a tape of random actions twice, each time in an environment that is built anew.

    Episodes that end within the tape are reset without a seed, as in training. Atari games are
    not played: they reproduce everything.

    Args:
        spec: what is played.
        most_steps: steps of the tape at most.
        most_seconds: the first play ends after so long, at its next step.

    Returns:
        What differs first and where, for a person; "" where nothing does.

    Raises:
        UserError: the environment cannot be built here, or breaks Gymnasium's contract.
    """
    if spec.family == "atari":
        return ""
    pool = open_pool(spec, num_envs=1, num_threads=1)
    try:
        actions = random_actions(pool.single_action_space, most_steps)
        until = time.perf_counter() + most_seconds
        first: list[Moment] = []
        for moment in _play(pool, actions):
            first.append(moment)
            if time.perf_counter() > until:
                break
        # The first play leads in each pair: where it ends, no more step is taken.
        for step, pair in enumerate(zip(first, _play(pool, actions), strict=False)):
            for name, before, now in zip(Moment._fields, *pair, strict=True):
                if before != now:
                    return f"the {name} of step {step} differs when it is played again"
    finally:
        pool.close()
    return ""


def random_actions(space: Space, count: int) -> np.ndarray:
    """Actions (count, ...) of a space, always the same."""
    drawn = copy.deepcopy(space)
    drawn.seed(SEED)
    return playable_actions(space, np.stack([drawn.sample() for _ in range(count)]))


def digest(obs: np.ndarray, begun: int = 0) -> int:
    """The CRC-32 of an observation; `begun` is the digest of what comes before it."""
    return zlib.crc32(np.ascontiguousarray(obs).data, begun)


def _play(pool: Pool, actions: np.ndarray) -> Iterator[Moment]:
    """Yields the moments of the pool's one environment: of the reset, then of each action."""
    obs, _ = pool.reset(np.array([SEED]), np.array([True]))
    yield Moment(digest(obs[0]), 0.0, False, False)
    for step in range(len(actions)):
        pool.send(actions[step : step + 1])
        now = pool.recv()
        shown = digest(now.obs[0])
        if now.final_obs is not None:
            shown = digest(now.final_obs[0], shown)
        yield Moment(shown, float(now.reward[0]), bool(now.terminated[0]), bool(now.truncated[0]))
