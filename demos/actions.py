"""What a policy returns, held against the environment's actions."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import Space, spaces

from envs import UserError
from envs.observations import Unfit, described
from envs.own_code import FAULTS
from envs.tapes import first_and_last
from envs.text import plain


def checked(policy: str, returned: Any, space: Space, games: int) -> np.ndarray:
    """Actions (N, ...) in the space's own dtype, of what a policy returned for N games.

    A list is as good as an array, and whole numbers may be floats.

    Args:
        policy: its name, for errors.

    Raises:
        UserError: it returned anything else; the line names it and what is allowed.
    """
    try:
        return fitting(returned, space, games)
    except Unfit as unfit:
        due = f"return an action for each game, {in_words(space)}"
        raise UserError(
            f"the policy '{policy}' returned {described(returned)} for {games} games, {unfit};"
            f" {due}"
        ) from None


def fitting(returned: Any, space: Space, games: int) -> np.ndarray:
    """As `checked`.

    Raises:
        Unfit: says what is wrong with it, as the end of a sentence that names it.
    """
    try:
        actions = np.asarray(returned)
    except FAULTS:
        # Lists of unequal lengths, and arrays that say themselves what they are.
        actions = np.array(None)
    fault = misfit(actions, space, games)
    if fault is None:
        assert space.shape is not None
        actions = actions.reshape(games, *space.shape)
        fault = outside(actions, space)
    if fault is not None:
        raise Unfit(fault)
    return actions.astype(space.dtype, copy=False)


def misfit(actions: np.ndarray, space: Space, games: int) -> str | None:
    """What is wrong with the kind or the shape of actions; None for nothing.

    Axes of length 1 behind the first do not matter.
    """
    assert space.shape is not None
    if actions.dtype.kind not in "biuf":
        return "which is not an array of numbers"
    if actions.ndim == 0:
        return "which is a single number"
    if len(actions) != games:
        return f"which has the length {len(actions)}"
    if longer_than_one(actions.shape[1:]) != longer_than_one(space.shape):
        return f"whose actions have the shape {actions.shape[1:]}"
    return None


def longer_than_one(shape: tuple[int, ...]) -> list[int]:
    """The axes of a shape that hold more or less than one number."""
    return [length for length in shape if length != 1]


def outside(actions: np.ndarray, space: Space) -> str | None:
    """Which of the actions (N, ...) the space does not have, and where; None for none."""
    first, last = bounds(space)
    if space.dtype is not None and space.dtype.kind == "f":
        with np.errstate(over="ignore"):
            rounded = actions.astype(space.dtype)
        strange = ~np.isfinite(rounded)
    else:
        rounded = actions
        strange = actions != np.floor(actions) if actions.dtype.kind == "f" else False
    wrong = (rounded < first) | (rounded > last) | strange
    if not wrong.any():
        return None
    game, *place = np.argwhere(wrong)[0].tolist()
    where = f"game {game} at {place}" if place else f"game {game}"
    return f"with {actions[wrong][0]} for {where}"


def bounds(space: Space) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest action."""
    if (whole := first_and_last(space)) is not None:
        return whole
    assert isinstance(space, spaces.Box)
    return space.low, space.high


def in_words(space: Space) -> str:
    """The actions of a space: "a whole number from 0 to 1"."""
    assert space.shape is not None
    kind = "number" if first_and_last(space) is None else "whole number"
    what = f"{kind}s of shape {space.shape}" if space.shape else f"a {kind}"
    return f"{what} from {shown(bounds(space)[0])} to {shown(bounds(space)[1])}"


def shown(bound: np.ndarray) -> str:
    """A bound as one number where all parts have the same."""
    numbers = bound.reshape(-1)
    same = numbers.size and (numbers == numbers[0]).all()
    return f"{numbers[0]}" if same else plain(bound.tolist(), 60)
