"""Environments so small that the best policy and its values are known exactly."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import Env, spaces


class Toy(Env[np.ndarray, Any]):
    """Base of the toys; it renders the observation.

    A number of a vector becomes 24 x 24 pixels whose brightness is the number's size. A pixel of an
    image becomes 4 x 4 pixels.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 8}

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def _observe(self) -> np.ndarray:
        raise NotImplementedError

    def render(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Returns the current observation as a picture, uint8 (H, W, 3)."""
        obs = self._observe()
        is_image = obs.dtype == np.uint8
        gray = obs[0] if is_image else 255 * abs(obs[None])
        scale = 4 if is_image else 24
        picture = np.kron(gray, np.ones((scale, scale))).astype(np.uint8)
        return np.repeat(picture[..., None], 3, axis=-1)


class Identity(Toy):
    """The agent names the symbol shown, for 10 steps; a right answer gives a reward of 1.

    The best return is 10; random play gets 2.5.
    """

    symbols = 4
    steps = 10

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.observation_space = spaces.Box(0.0, 1.0, (self.symbols,), np.float32)
        self.action_space = spaces.Discrete(self.symbols)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._step = 0
        return self._next_symbol(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = float(action == self._symbol)
        self._step += 1
        return self._next_symbol(), reward, self._step == self.steps, False, {}

    def _next_symbol(self) -> np.ndarray:
        self._symbol = int(self.np_random.integers(self.symbols))
        return self._observe()

    def _observe(self) -> np.ndarray:
        return one_hot(self._symbol, self.symbols)


class Bandit(Toy):
    """Three arms that always pay 0, 0.5 and 1; an episode is one step."""

    arms = (0.0, 0.5, 1.0)

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.observation_space = spaces.Box(0.0, 1.0, (1,), np.float32)
        self.action_space = spaces.Discrete(len(self.arms))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return self._observe(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return self._observe(), self.arms[action], True, False, {}

    def _observe(self) -> np.ndarray:
        return np.ones(1, np.float32)


class Chain(Toy):
    """Five states in a row.

    Action 1 moves right; in the last state it ends the episode with a reward of 1. Action 0 ends
    the episode with a reward of 0.01. State s has the value gamma**(4 - s) under the best policy.
    An agent without bootstrapping stays with the 0.01, because a random policy reaches the 1 in one
    episode of 32.
    """

    states = 5

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.observation_space = spaces.Box(0.0, 1.0, (self.states,), np.float32)
        self.action_space = spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._state = 0
        return self._observe(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if action == 0:
            return self._observe(), 0.01, True, False, {}
        if self._state == self.states - 1:
            return self._observe(), 1.0, True, False, {}
        self._state += 1
        return self._observe(), 0.0, False, False, {}

    def _observe(self) -> np.ndarray:
        return one_hot(self._state, self.states)


class Catch(Toy):
    """A ball falls through 7 x 7 cells of 6 x 6 pixels; the paddle goes left, stays or goes right.

    After 6 steps the reward is 1 if the paddle is under the ball, and -1 otherwise. Every ball can
    be caught.
    """

    cells = 7
    cell = 6

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        side = self.cells * self.cell
        self.observation_space = spaces.Box(0, 255, (1, side, side), np.uint8)
        self.action_space = spaces.Discrete(3)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._row = 0
        self._paddle = self.cells // 2
        self._column = int(self.np_random.integers(self.cells))
        return self._observe(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._paddle = int(np.clip(self._paddle + action - 1, 0, self.cells - 1))
        self._row += 1
        landed = self._row == self.cells - 1
        caught = 1.0 if self._paddle == self._column else -1.0
        return self._observe(), caught if landed else 0.0, landed, False, {}

    def _observe(self) -> np.ndarray:
        board = np.zeros((self.cells, self.cells), np.uint8)
        board[self.cells - 1, self._paddle] = 128
        board[self._row, self._column] = 255
        return np.kron(board, np.ones((self.cell, self.cell), np.uint8))[None]


class Truncated(Toy):
    """Each step gives a reward of 1, and each episode is truncated after 5 steps.

    No episode terminates, so the value is 1 / (1 - gamma). An agent that treats truncation as
    termination learns a lower value.
    """

    steps = 5

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.observation_space = spaces.Box(0.0, 1.0, (1,), np.float32)
        self.action_space = spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._step = 0
        return self._observe(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._step += 1
        return self._observe(), 1.0, False, self._step == self.steps, {}

    def _observe(self) -> np.ndarray:
        return np.ones(1, np.float32)


def register() -> None:
    """Registers the toys with Gymnasium, under ids such as toy/Identity-v0."""
    gymnasium.register("toy/Recall-v0", "envs.memory_toys:Recall")
    gymnasium.register("toy/CartPolePositions-v0", "envs.memory_toys:cart_pole_positions")
    gymnasium.register("toy/Target-v0", "envs.action_toys:Target")
    gymnasium.register("toy/Pair-v0", "envs.action_toys:Pair")
    gymnasium.register("toy/Masked-v0", "envs.action_toys:Masked")
    for toy in (Identity, Bandit, Chain, Catch, Truncated):
        gymnasium.register(f"toy/{toy.__name__}-v0", f"{__name__}:{toy.__name__}")


def one_hot(index: int, size: int) -> np.ndarray:
    """A float32 vector (size,) of zeros with a 1 at `index`."""
    vector = np.zeros(size, np.float32)
    vector[index] = 1.0
    return vector
