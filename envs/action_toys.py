"""Toys with other actions than one of a few: a number, and several choices at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from envs.toys import Toy, one_hot


class Target(Toy):
    """The agent repeats the number shown, in [-1, 1], for 10 steps.

    The reward is 1 minus the distance between the two numbers. The best return is 10.
    """

    steps = 10

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._step = 0
        return self._next_number(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = 1.0 - float(abs(action[0] - self._number[0]))
        self._step += 1
        return self._next_number(), reward, self._step == self.steps, False, {}

    def _next_number(self) -> np.ndarray:
        self._number = self.np_random.uniform(-1.0, 1.0, 1).astype(np.float32)
        return self._observe()

    def _observe(self) -> np.ndarray:
        return self._number


class Pair(Toy):
    """The agent names two symbols shown, one of 3 and one of 4, for 10 steps.

    Each right symbol gives a reward of ½. The best return is 10.
    """

    sizes = (3, 4)
    steps = 10

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.observation_space = spaces.Box(0.0, 1.0, (sum(self.sizes),), np.float32)
        self.action_space = spaces.MultiDiscrete(list(self.sizes))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._step = 0
        return self._next_symbols(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = float((action == self._symbols).mean())
        self._step += 1
        return self._next_symbols(), reward, self._step == self.steps, False, {}

    def _next_symbols(self) -> np.ndarray:
        self._symbols = self.np_random.integers(self.sizes)
        return self._observe()

    def _observe(self) -> np.ndarray:
        pairs = zip(self._symbols, self.sizes, strict=True)
        return np.concatenate([one_hot(symbol, size) for symbol, size in pairs])
