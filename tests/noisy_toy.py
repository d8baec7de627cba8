"""Environments for the tests of demonstrations: `noisy_toy:Noisy-v0` is one no seed reproduces."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import Env, spaces


class Noisy(Env[np.ndarray, Any]):
    """Shows 3 numbers that a generator without a seed draws, and pays the first; 10 steps."""

    steps = 10

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._noise, self._step = np.random.default_rng(), 0
        return self._observe(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._step += 1
        obs = self._observe()
        return obs, float(obs[0]), self._step == self.steps, False, {}

    def _observe(self) -> np.ndarray:
        return self._noise.normal(size=3).astype(np.float32)


class Picture(Env[np.ndarray, Any]):
    """Shows pictures, channels last, that its seed decides; `steps` steps."""

    def __init__(
        self,
        steps: int = 3,
        shape: tuple[int, ...] = (40, 36, 3),
        render_mode: str | None = None,
    ) -> None:
        self.observation_space = spaces.Box(0, 255, shape, np.uint8)
        self.action_space = spaces.Discrete(2, start=1)
        self.steps, self.render_mode = steps, render_mode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._step = 0
        return self._observe(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._step += 1
        return self._observe(), float(action), False, self._step == self.steps, {}

    def _observe(self) -> np.ndarray:
        return self.np_random.integers(256, size=self.observation_space.shape, dtype=np.uint8)


gymnasium.register("Noisy-v0", f"{__name__}:Noisy")
gymnasium.register("Picture-v0", f"{__name__}:Picture")
LARGE = {"steps": 40, "shape": (256, 256, 3)}
gymnasium.register("Large-v0", f"{__name__}:Picture", kwargs=LARGE)
