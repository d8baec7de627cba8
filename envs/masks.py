"""Action masks: the actions that an environment allows, as its info says.

An environment with masks puts `info["action_mask"]` into the info of each reset and step, as
Gymnasium's Taxi-v3 does: a 0 or a 1 for each action, and a 1 for an allowed action.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import Space, spaces

from envs.observations import Unfit, described

KEY = "action_mask"
"""The mask's name in an info."""


def mask_in(info: Any) -> Any:
    """The mask in an info; None if there is none."""
    return info.get(KEY) if isinstance(info, dict) else None


def legal_actions(mask: Any, space: Space) -> np.ndarray:
    """Converts a mask to bool (A,): true for an allowed action.

    Raises:
        Unfit: the space has no masks here, or the mask does not fit it; the message says why.
    """
    if not isinstance(space, spaces.Discrete):
        raise Unfit(f"an {KEY} for {space}, but only Discrete actions can have one")
    return as_mask(mask, int(space.n))


def as_mask(mask: Any, num_actions: int) -> np.ndarray:
    """Converts a mask to bool (A,); raises Unfit if it is no mask of so many actions."""
    try:
        array = np.asarray(mask)
    except Exception:
        raise Unfit(f"{described(mask)} as {KEY}, which is not an array") from None
    if array.shape != (num_actions,):
        raise Unfit(f"an {KEY} of shape {array.shape}, but there are {num_actions} actions")
    if array.dtype.kind not in "biu" or not ((array == 0) | (array == 1)).all():
        raise Unfit(f"{described(mask)} as {KEY}, which must hold integers 0 and 1")
    if not array.any():
        raise Unfit(f"an {KEY} that allows no action")
    return array.astype(bool)


def info_of(legal_NA: np.ndarray | None) -> dict[str, Any]:
    """The entries of a vector environment's info for masks bool (N, A); {} without masks.

    Masks are int8, because Gymnasium's `Space.sample(mask=)` takes int8.
    """
    if legal_NA is None:
        return {}
    return {KEY: legal_NA.view(np.int8), f"_{KEY}": np.ones(len(legal_NA), bool)}


def legal_in(info: dict[str, Any]) -> np.ndarray | None:
    """The masks bool (N, A) in a vector environment's info; inverts `info_of`."""
    mask_NA = info.get(KEY)
    return None if mask_NA is None else mask_NA.view(bool)


def made_legal(
    space: Space, actions: np.ndarray, legal_NA: np.ndarray | None, among_N: Any = True
) -> np.ndarray:
    """Replaces each illegal action (N, ...) by the next legal one, counted cyclically.

    An environment may refuse illegal actions, also where nobody reads the outcome.

    Args:
        among_N: bool (N,), the rows in which actions may be replaced.
    """
    if legal_NA is None:
        return actions
    assert isinstance(space, spaces.Discrete)
    index_N = actions.astype(np.int64) - space.start
    later_NA = (index_N[:, None] + np.arange(legal_NA.shape[1])) % legal_NA.shape[1]
    steps_N = np.take_along_axis(legal_NA, later_NA, axis=1).argmax(axis=1)
    legal_N = (index_N + steps_N) % legal_NA.shape[1] + space.start
    return np.where(among_N, legal_N, actions).astype(actions.dtype)


def are_legal(space: Space, actions: np.ndarray, legal_NA: np.ndarray | None) -> np.ndarray:
    """Which of the actions (N, ...) are allowed, bool (N,); all are without masks."""
    if legal_NA is None:
        return np.ones(len(actions), bool)
    assert isinstance(space, spaces.Discrete)
    return legal_NA[np.arange(len(actions)), actions.astype(np.int64) - space.start]


def stacked(legal: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """The masks of N environments as bool (N, A); None if they have none."""
    found = [each for each in legal if each is not None]
    return np.stack(found) if found else None
