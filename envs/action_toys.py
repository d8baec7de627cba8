"""Toys with other actions than one of a few: a number, several choices, and forbidden actions."""

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


class Masked(Toy):
    """A fork with a long and a short way to the goal; each state allows other actions.

    At the fork, action 0 takes the long way for nothing, and action 1 the short way for a reward of
    -3, which ends the episode. On the long way, each of 8 steps gives -1. The other actions are
    forbidden there (`info["action_mask"]`), and an illegal action raises. The best return is -3; an
    agent whose targets count forbidden actions takes the long way, because it never learns that
    their value of about 0 is unreachable.
    """

    actions = 4
    way = 8
    short = -3.0

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.observation_space = spaces.Box(0.0, 1.0, (1 + self.way,), np.float32)
        self.action_space = spaces.Discrete(self.actions)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._state = 0
        return self._observe(), {"action_mask": self._mask()}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if not self._mask()[action]:
            raise ValueError(f"action {action} is illegal in state {self._state}")
        if self._state == 0 and action == 1:
            return self._observe(), self.short, True, False, {}
        if self._state == self.way:
            return self._observe(), -1.0, True, False, {}
        reward = -1.0 if self._state else 0.0
        self._state += 1
        return self._observe(), reward, False, False, {"action_mask": self._mask()}

    def _mask(self) -> np.ndarray:
        """Two actions are legal at the fork, and one on each place of the long way."""
        mask = np.zeros(self.actions, np.int8)
        mask[[0, 1] if self._state == 0 else self._state % self.actions] = 1
        return mask

    def _observe(self) -> np.ndarray:
        return one_hot(self._state, 1 + self.way)
