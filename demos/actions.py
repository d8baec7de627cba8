"""Checks the actions that a policy returns against the environment's action space."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import Space, spaces

from envs import UserError
from envs.masks import are_legal
from envs.observations import Unfit, described
from envs.own_code import FAULTS
from envs.tapes import first_and_last
from envs.text import plain


def checked(
    policy: str, returned: Any, space: Space, games: int, legal: np.ndarray | None = None
) -> np.ndarray:
    """Converts a policy's actions for N games to an array (N, ...) in the space's own dtype.

    The policy may return a list instead of an array, and floats for whole numbers.

    Args:
        policy: name of the policy, for errors.
        legal: bool (N, A), the actions that the environment allows now; None if all are allowed.

    Raises:
        UserError: the policy returned anything else; the message names it and what is allowed.
    """
    try:
        actions = fitting(returned, space, games)
        require_legal(actions, space, legal)
        return actions
    except Unfit as unfit:
        due = f"return an action for each game, {in_words(space)}"
        raise UserError(
            f"the policy '{policy}' returned {described(returned)} for {games} games, {unfit};"
            f" {due}"
        ) from None


def fitting(returned: Any, space: Space, games: int) -> np.ndarray:
    """Converts as `checked`.

    Raises:
        Unfit: the actions do not fit; the message is the end of a sentence about them.
    """
    try:
        actions = np.asarray(returned)
    except FAULTS:
        # Lists of unequal lengths raise, and so may a faulty `__array__`.
        actions = np.array(None)
    fault = misfit(actions, space, games)
    if fault is None:
        assert space.shape is not None
        actions = actions.reshape(games, *space.shape)
        fault = outside(actions, space)
    if fault is not None:
        raise Unfit(fault)
    return actions.astype(space.dtype, copy=False)


def require_legal(actions: np.ndarray, space: Space, legal: np.ndarray | None) -> None:
    """Raises Unfit if the environment's mask forbids one of the actions (N,)."""
    legal_N = are_legal(space, actions, legal)
    if not legal_N.all():
        game = int(legal_N.argmin())
        raise Unfit(f"with {actions[game]} for game {game}, which the action mask forbids now")


def misfit(actions: np.ndarray, space: Space, games: int) -> str | None:
    """Describes a wrong kind or shape of actions; None if both are right.

    Axes of length 1 after the first are ignored.
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
    """The lengths of a shape's axes that are not 1."""
    return [length for length in shape if length != 1]


def outside(actions: np.ndarray, space: Space) -> str | None:
    """Describes the first of the actions (N, ...) that is not in the space; None if all are."""
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
    """The smallest and the largest action."""
    whole = first_and_last(space)
    if whole is not None:
        return whole
    assert isinstance(space, spaces.Box)
    return space.low, space.high


def in_words(space: Space) -> str:
    """The actions of a space in words: "a whole number from 0 to 1"."""
    assert space.shape is not None
    kind = "number" if first_and_last(space) is None else "whole number"
    what = f"{kind}s of shape {space.shape}" if space.shape else f"a {kind}"
    first, last = bounds(space)
    return f"{what} from {shown(first)} to {shown(last)}"


def shown(bound: np.ndarray) -> str:
    """A bound as text; as one number if all its parts are equal."""
    numbers = bound.reshape(-1)
    same = numbers.size and (numbers == numbers[0]).all()
    return f"{numbers[0]}" if same else plain(bound.tolist(), 60)
