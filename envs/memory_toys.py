"""Toys that need a memory: an agent must remember earlier observations."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import Env, spaces
from gymnasium.wrappers import TransformObservation

from envs.toys import Toy, one_hot


class Recall(Toy):
    """The agent names, when asked, the symbol that only the first observation shows.

    The first observation shows one of 3 symbols, the next 4 to 8 show nothing, and the last one
    asks. A right answer gives a reward of 1. The best return is 1; without memory it is 1/3.
    """

    symbols = 3
    shortest = 4
    longest = 8

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.observation_space = spaces.Box(0.0, 1.0, (self.symbols + 1,), np.float32)
        self.action_space = spaces.Discrete(self.symbols)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._symbol = int(self.np_random.integers(self.symbols))
        self._left = int(self.np_random.integers(self.shortest, self.longest + 1)) + 1
        self._shown = one_hot(self._symbol, self.symbols + 1)
        return self._observe(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        asked = self._left == 0
        self._left -= 1
        self._shown = np.zeros(self.symbols + 1, np.float32)
        self._shown[self.symbols] = self._left == 0
        return self._observe(), float(asked and action == self._symbol), asked, False, {}

    def _observe(self) -> np.ndarray:
        return self._shown


def cart_pole_positions(**kwargs: Any) -> Env[np.ndarray, np.int64]:
    """CartPole-v1 that shows positions and no velocities, so that the agent needs a memory."""
    env = gymnasium.make("CartPole-v1", **kwargs)
    seen = env.observation_space
    assert isinstance(seen, spaces.Box)
    positions = spaces.Box(seen.low[::2], seen.high[::2], dtype=np.float32)
    return TransformObservation(env, lambda obs: obs[::2], positions)
