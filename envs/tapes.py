"""`Tape`: one environment's course as a seed and actions, which `replay` and `render` repeat."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np
from gymnasium import Space, spaces

from envs.backends import open_pool
from envs.errors import UserError
from envs.spec import EnvSpec


@dataclass(frozen=True, eq=False)
class Tape:
    """One environment's course since its last seeded reset, including automatic resets."""

    spec: EnvSpec
    seed: int
    """Seed of the reset that begins the tape, 0 <= seed < `seeds_end(spec)`."""
    actions: np.ndarray
    """(L, ...), one action per step; its dtype is `action_dtype` of the space."""


def tape_seed(run_seed: int, env_index: int, tape_index: int) -> int:
    """Returns the seed, a 31-bit number, of an environment's tape within a run."""
    sequence = np.random.SeedSequence(run_seed, spawn_key=(env_index, tape_index))
    return int(sequence.generate_state(1)[0]) >> 1


def seeds_end(spec: EnvSpec) -> int:
    """Returns the smallest number that is too large for a seed of the environment."""
    return {"atari": 2**31, "gymnasium": 2**64}[spec.family]


def action_dtype(space: Space) -> np.dtype:
    """Returns the dtype of the space's actions on a tape: uint8 if it fits, or the space's own."""
    if isinstance(space, spaces.Discrete) and space.start >= 0 and space.start + space.n <= 256:
        return np.dtype(np.uint8)
    assert space.dtype is not None
    return space.dtype


def first_and_last(space: Space) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the smallest and the largest action of a space of whole numbers; None for others.

    The spaces of whole numbers are Discrete, MultiDiscrete, MultiBinary and Box of integers.
    """
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        count = space.n if isinstance(space, spaces.Discrete) else space.nvec
        return np.asarray(space.start), np.asarray(space.start + count - 1)
    if isinstance(space, spaces.MultiBinary):
        return np.zeros(space.shape, space.dtype), np.ones(space.shape, space.dtype)
    if isinstance(space, spaces.Box) and space.dtype.kind in "biu":
        return space.low, space.high
    return None


def playable_actions(space: Space, actions: np.ndarray) -> np.ndarray:
    """Returns a batch of actions (B, ...) in the space's own dtype.

    Raises:
        UserError: the shape is wrong, or a discrete space does not have an action.
    """
    actions = np.asarray(actions)
    assert space.shape is not None
    if actions.shape[1:] != space.shape:
        raise UserError(f"each action has shape {actions.shape[1:]}, but must have {space.shape}")
    bounds = first_and_last(space)
    if bounds is not None:
        if actions.dtype.kind not in "biu":
            raise UserError(f"actions are {actions.dtype}, but must be integers")
        first, last = bounds
        outside = ((actions < first) | (actions > last)).any(tuple(range(1, actions.ndim)))
        if outside.any():
            worst = actions[outside][0]
            raise UserError(f"there is no action {worst}, allowed are {first} to {last}")
    return actions.astype(space.dtype, copy=False)


def replay(tape: Tape) -> Iterator[tuple[np.ndarray, float, bool, bool]]:
    """Replays a tape, bit for bit, in a new environment.

    Yields (observation, reward, terminated, truncated). The first item is the reset: its
    observation, 0.0, False, False. Then each action yields one item. At an episode's end, the item
    has the final observation. If the tape continues, the automatic reset follows as a separate
    item. A tape with L actions and E ends before its last action yields 1 + L + E items.

    Raises:
        UserError: this machine cannot match the tape's spec (the message names the field), or the
            environment does not have one of the actions.
    """
    return _replayed(tape, rgb=False)


def render(tape: Tape) -> Generator[np.ndarray, None, None]:
    """Replays a tape as pictures, uint8 (H, W, 3), in the environment's own resolution.

    Yields L + 1 pictures for L actions: one after the reset and one after each action. At an
    episode's end, the picture is the last one of that episode.

    Raises:
        UserError: as `replay`, or a package that rendering needs is missing.
    """
    automatic_reset = False
    for picture, _, terminated, truncated in _replayed(tape, rgb=True):
        if not automatic_reset:
            # An Atari picture is a stack of one.
            yield picture.reshape(picture.shape[-3:])
        automatic_reset = terminated or truncated


def _replayed(tape: Tape, *, rgb: bool) -> Iterator[tuple[np.ndarray, float, bool, bool]]:
    """Yields as `replay`; with `rgb`, pictures in place of observations."""
    tape.spec.check_reproducible()
    pool = open_pool(tape.spec, num_envs=1, num_threads=1, rgb=rgb)
    try:
        actions = playable_actions(pool.single_action_space, tape.actions)
        obs, _ = pool.reset(np.array([tape.seed]), np.array([True]))
        yield obs[0], 0.0, False, False
        for step in range(len(actions)):
            pool.send(actions[step : step + 1])
            now = pool.recv()
            terminated = bool(now.terminated[0])
            truncated = bool(now.truncated[0])
            reached = now.obs if now.final_obs is None else now.final_obs
            yield reached[0], float(now.reward[0]), terminated, truncated
            if (terminated or truncated) and step + 1 < len(actions):
                yield now.obs[0], 0.0, False, False
    finally:
        pool.close()
