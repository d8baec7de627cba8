"""`script:module:function`: a function of the user's own code is the policy."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from envs import UserError
from envs.errors import did_you_mean
from envs.observations import described
from envs.own_code import FAULTS, file_of, imported, raised, without_ending

FORM = "script:module:function"


class Script:
    """A policy that calls a user's function: observations (N, ...) to actions (N, ...).

    A function with a parameter `legal` also gets the allowed actions, bool (N, A), or None.
    """

    def __init__(self, name: str, function: Callable[..., Any]):
        self.name = name
        self.function = function
        self.source = file_of(function)
        self.knows_legal = takes_legal(function)

    def begin(self, games: int) -> None: ...

    def act(
        self,
        obs: np.ndarray,
        start: np.ndarray,
        reward: np.ndarray | None = None,
        legal: np.ndarray | None = None,
    ) -> Any:
        """Returns the function's result; raises a UserError if the function raises anything."""
        try:
            return self.function(obs, legal=legal) if self.knows_legal else self.function(obs)
        except FAULTS as error:
            raise UserError(f"the policy '{self.name}' {raised(error, self.source)}") from error


def script(name: str) -> Script:
    """Returns the policy `script:module:function`.

    The module may be in the working directory or in an installed package.

    Raises:
        UserError: there is no such function, or it does not take one argument.
    """
    parts = name.split(":")
    if len(parts) != 3:
        raise UserError(f"the policy '{name}' must have the form {FORM}")
    sys.path.insert(0, "")
    try:
        module = imported(parts[1], f"the policy '{name}'")
    finally:
        # The module may have changed the list.
        if "" in sys.path:
            sys.path.remove("")
    found = getattr(module, parts[2], None)
    if not callable(found):
        functions = [each for each in vars(module) if callable(vars(module)[each])]
        near = did_you_mean(parts[2], functions)
        if hasattr(module, parts[2]):
            near = f": it is {described(found)}{near}"
        raise UserError(
            f"module '{parts[1]}' has no function '{parts[2]}'{without_ending(parts[2])}{near}"
        )
    require_one_argument(name, found)
    return Script(name, found)


def takes_legal(function: Callable[..., Any]) -> bool:
    """Whether a function has a parameter `legal` after the first, which may be given by name."""
    try:
        _, *later = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return any(each.name == "legal" and each.kind in named for each in later)


def require_one_argument(name: str, function: Callable[..., Any]) -> None:
    """Checks that a function can be called with one argument; unknown signatures pass."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    legal = {"legal": None} if takes_legal(function) else {}
    try:
        signature.bind(np.zeros(1), **legal)
    except TypeError as error:
        shown = f"{name.rpartition(':')[2]}{signature}"
        raise UserError(
            f"the policy '{name}' is {shown}, but must take one argument, the observations"
            f" (N, ...): {error}"
        ) from None
