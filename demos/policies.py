"""Finds a policy by its name: `random`, `script:module:function`, `sb3:FILE.zip` or a run.

A run's policy comes from an entry point of the group `joystick.policies`, because this package
must not import the agents.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
from gymnasium import Space

from demos.recording import Policy
from demos.scripts import FORM, script
from envs import EnvSpec, UserError, signals, spaces_of
from envs.errors import did_you_mean
from envs.siblings import clash

SOURCES = ("random", "human", FORM, "sb3:FILE.zip", "runs/<run>")


class RandomPolicy:
    """Draws each allowed action with the same probability."""

    name = "random"

    def __init__(self, action_space: Space, seed: int):
        self.space = action_space
        self.space.seed(seed)

    def begin(self, games: int) -> None: ...

    def act(
        self,
        obs: np.ndarray,
        start: np.ndarray,
        reward: np.ndarray | None = None,
        legal: np.ndarray | None = None,
    ) -> np.ndarray:
        masks = [None] * len(obs) if legal is None else legal.astype(np.int8)
        return np.stack([self.space.sample(mask=mask) for mask in masks])


def resolve(name: str, spec: EnvSpec, seed: int, exploration: float | None) -> Policy:
    """Returns the policy of that name.

    Args:
        seed: seed of the policy's random draws.
        exploration: ε or temperature of a run or a checkpoint; None takes the policy's own value.

    Raises:
        UserError: there is no such policy; the message lists the allowed names.
    """
    if name == "random":
        return RandomPolicy(spaces_of(spec)[1], seed)
    if name.startswith("script:"):
        return script(name)
    if name.startswith("sb3:"):
        # Imported here, because importing torch takes seconds.
        with signals.importing():
            from demos.sb3 import checkpoint

        return checkpoint(name, spec, seed, exploration)
    if Path(name).is_dir():
        return policy_of_runs()(name, spec, seed, exploration)
    raise UserError(
        f"unknown policy '{name}' (allowed: {', '.join(SOURCES)})" + did_you_mean(name, SOURCES)
    )


def policy_of_runs() -> Callable[[str, EnvSpec, int, float | None], Policy]:
    """Returns the function that loads a run's policy; the agents register it as an entry point.

    Raises:
        UserError: Joystick is not installed, or its installation is older than its files.
    """
    for entry in metadata.entry_points(group="joystick.policies", name="run"):
        try:
            with signals.importing():
                return entry.load()
        except ModuleNotFoundError as error:
            # A missing package of somebody else is another error.
            if not (error.name or "").startswith("agents"):
                raise
            if foreign := clash("agents"):
                raise UserError(foreign) from None
    raise UserError("the installation of Joystick is older than its files: pip install -e . again")
