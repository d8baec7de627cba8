"""Policies by the name a person gives: `random`, `script:module:function`, `sb3:FILE.zip`, a run.

Who is not of this package is found by the name of an entry point of the group `joystick.policies`,
so that nothing here imports an agent.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
from gymnasium import Space

from demos.recording import Policy
from envs import EnvSpec, UserError, spaces_of
from envs.errors import did_you_mean

SOURCES = ("random", "human", "script:module:function", "sb3:FILE.zip", "runs/<run>")


class RandomPolicy:
    """Draws from the action space, evenly."""

    name = "random"

    def __init__(self, action_space: Space, seed: int):
        self.space = action_space
        self.space.seed(seed)

    def begin(self, games: int) -> None: ...

    def act(self, obs: np.ndarray, start: np.ndarray) -> np.ndarray:
        return np.stack([self.space.sample() for _ in obs])


class Script:
    """A function of a person's own: observations (N, ...) to actions (N, ...)."""

    def __init__(self, name: str, function: Callable[[np.ndarray], np.ndarray]):
        self.name, self.function = name, function

    def begin(self, games: int) -> None: ...

    def act(self, obs: np.ndarray, start: np.ndarray) -> np.ndarray:
        return np.asarray(self.function(obs))


def resolve(name: str, spec: EnvSpec, seed: int, exploration: float | None) -> Policy:
    """The policy of that name; a UserError says what cannot be found, and what is allowed.

    Args:
        exploration: ε or temperature of a run's agent, by default that of its evaluations; or of a
            checkpoint.
    """
    if name == "random":
        return RandomPolicy(spaces_of(spec)[1], seed)
    if name.startswith("script:"):
        return Script(name, function(name))
    if name.startswith("sb3:"):
        # Only here, because importing torch takes seconds.
        from demos.sb3 import checkpoint

        return checkpoint(name, spec, seed, exploration)
    if Path(name).is_dir():
        (run,) = metadata.entry_points(group="joystick.policies", name="run")
        return run.load()(name, spec, seed, exploration)
    raise UserError(
        f"unknown policy '{name}' (allowed: {', '.join(SOURCES)})" + did_you_mean(name, SOURCES)
    )


def function(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """The function of `script:module:function`, from the working directory or what is installed."""
    parts = name.split(":")
    if len(parts) != 3:
        raise UserError(f"the policy '{name}' is not of the form script:module:function")
    sys.path.insert(0, "")
    try:
        module = importlib.import_module(parts[1])
    except ImportError as error:
        raise UserError(f"the policy '{name}' cannot be imported: {error}") from None
    finally:
        sys.path.remove("")
    found = getattr(module, parts[2], None)
    if not callable(found):
        near = did_you_mean(
            parts[2], [each for each in vars(module) if callable(vars(module)[each])]
        )
        raise UserError(f"module '{parts[1]}' has no function '{parts[2]}'{near}")
    return found  # pyright: ignore[reportReturnType]
