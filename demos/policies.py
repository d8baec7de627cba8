"""Policies by the name a person gives: `random`, `script:module:function`, `sb3:FILE.zip`, a run.

Who is not of this package is found by the name of an entry point of the group `joystick.policies`,
so that nothing here imports an agent.
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
    """Samples the action space uniformly."""

    name = "random"

    def __init__(self, action_space: Space, seed: int):
        self.space = action_space
        self.space.seed(seed)

    def begin(self, games: int) -> None: ...

    def act(self, obs: np.ndarray, start: np.ndarray) -> np.ndarray:
        return np.stack([self.space.sample() for _ in obs])


def resolve(name: str, spec: EnvSpec, seed: int, exploration: float | None) -> Policy:
    """The policy of that name; a UserError says what cannot be found, and what is allowed.

    Args:
        exploration: ε or temperature of a run's agent, by default as in its evaluations; or of a
            checkpoint.
    """
    if name == "random":
        return RandomPolicy(spaces_of(spec)[1], seed)
    if name.startswith("script:"):
        return script(name)
    if name.startswith("sb3:"):
        # Only here, because importing torch takes seconds.
        with signals.importing():
            from demos.sb3 import checkpoint

        return checkpoint(name, spec, seed, exploration)
    if Path(name).is_dir():
        return policy_of_runs()(name, spec, seed, exploration)
    raise UserError(
        f"unknown policy '{name}' (allowed: {', '.join(SOURCES)})" + did_you_mean(name, SOURCES)
    )


def policy_of_runs() -> Callable[[str, EnvSpec, int, float | None], Policy]:
    """What makes a policy of a run's directory: the agents, which nothing here imports, say it.

    Raises:
        UserError: Joystick is not installed, or its installation is older than its files.
    """
    for entry in metadata.entry_points(group="joystick.policies", name="run"):
        try:
            with signals.importing():
                return entry.load()
        except ModuleNotFoundError as error:
            # Another missing package is its own error.
            if not (error.name or "").startswith("agents"):
                raise
            if foreign := clash("agents"):
                raise UserError(foreign) from None
    raise UserError("the installation of Joystick is older than its files: pip install -e . again")
