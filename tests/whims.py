"""Environments that one seed and the same actions do not lead the same way, each in its way."""

from __future__ import annotations

import random
from typing import Any

import gymnasium
import numpy as np
from gymnasium import Env, spaces

STEPS = 9


class Whim(Env[np.ndarray, Any]):
    """Walks by its actions for 9 steps; what is not reproducible is named by `whim`."""

    built = 0

    def __init__(self, whim: str) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.whim = whim
        self.walked = 0
        Whim.built += 1
        self.number = Whim.built

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.walked = self.walked if seed is None else 0
        self.count, self.place = 0, float(self.np_random.random())
        if self.whim == "reset":
            self.place = random.random()
        if self.whim == "built":
            self.place += self.number
        if self.whim == "automatic reset" and seed is None:
            self.place = random.random()
        return self.shown(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.count += 1
        self.walked += 1
        self.place += float(action) - 0.5
        reward = random.random() if self.whim == "reward" else 1.0
        end = self.count == STEPS
        if self.whim == "end":
            end = end or random.random() < 0.3
        return self.shown(), reward, end, False, {}

    def shown(self) -> np.ndarray:
        noise = random.random() if self.whim == "late" and self.walked > LATE_STEPS else 0.0
        return np.array([self.place + noise, self.count], np.float32)


LATE_STEPS = 250
"""So many steps after a seeded reset "late" becomes noisy, which is later than a probe looks."""

WHIMS = {
    "reset": "the observation of step 0 differs when it is played again",
    "built": "the observation of step 0 differs when it is played again",
    "reward": "the reward of step 1 differs when it is played again",
    "end": "the (observation|termination) of step . differs when it is played again",
    "automatic reset": "the observation of step 9 differs when it is played again",
}
"""What is said of each."""


def id_of(whim: str) -> str:
    """The id of the environment with the whim, as a person types it."""
    return f"whims:{whim.title().replace(' ', '')}-v0"


for name in [*WHIMS, "late", "none"]:
    gymnasium.register(id_of(name).partition(":")[2], Whim, kwargs={"whim": name})  # pyright: ignore[reportArgumentType]
