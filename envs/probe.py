"""Tests whether an environment is reproducible: plays one short tape twice and compares."""

from __future__ import annotations

import copy
import time
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from gymnasium import Space

from envs import masks
from envs.backends import open_pool
from envs.pool import Pool
from envs.spec import EnvSpec
from envs.tapes import playable_actions

SEED = 7
"""Seed of the environment and of the random actions."""


class Moment(NamedTuple):
    """The outcome of one step of the tape, with a digest of the observation.

    Attributes:
        action_mask: the digest of the mask after the step; 0 without masks.
    """

    observation: int
    reward: float
    termination: bool
    truncation: bool
    action_mask: int


def difference(spec: EnvSpec, most_steps: int = 200, most_seconds: float = 1.0) -> str:
    """Plays a tape of random actions twice, each time in a newly built environment.

    An episode that ends within the tape is reset without a seed, as in training. Atari games always
    reproduce, so they are not played.

    Args:
        spec: the environment.
        most_steps: the longest tape, in steps.
        most_seconds: the first play stops after this time.

    Returns:
        The first difference and its step, as text; "" if there is none.

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
        # The first play is the first item of `zip`, so the second play stops with it.
        for step, pair in enumerate(zip(first, _play(pool, actions), strict=False)):
            for name, before, now in zip(Moment._fields, *pair, strict=True):
                if before != now:
                    return f"the {name} of step {step} differs when it is played again"
    finally:
        pool.close()
    return ""


def random_actions(space: Space, count: int) -> np.ndarray:
    """Random actions (count, ...) of a space; equal spaces give equal actions."""
    drawn = copy.deepcopy(space)
    drawn.seed(SEED)
    return playable_actions(space, np.stack([drawn.sample() for _ in range(count)]))


def digest(obs: np.ndarray, begun: int = 0) -> int:
    """The CRC-32 of an observation, continued from the digest `begun`."""
    return zlib.crc32(np.ascontiguousarray(obs).data, begun)


def _play(pool: Pool, actions: np.ndarray) -> Iterator[Moment]:
    """Yields a moment for the reset of the pool's only environment, and one for each action."""
    obs, _ = pool.reset(np.array([SEED]), np.array([True]))
    yield Moment(digest(obs[0]), 0.0, False, False, mask_digest(pool))
    for step in range(len(actions)):
        action = actions[step : step + 1]
        pool.send(masks.made_legal(pool.single_action_space, action, pool.legal))
        now = pool.recv()
        shown = digest(now.obs[0])
        if now.final_obs is not None:
            shown = digest(now.final_obs[0], shown)
        ends = bool(now.terminated[0]), bool(now.truncated[0])
        yield Moment(shown, float(now.reward[0]), *ends, mask_digest(pool))


def mask_digest(pool: Pool) -> int:
    """The digest of the masks of a pool's current observations; 0 without masks."""
    return 0 if pool.legal is None else digest(pool.legal)
