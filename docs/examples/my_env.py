"""An environment of your own: joystick ppo --env my_env:Corridor-v0

Any class that follows Gymnasium works. Importing the module registers its id.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

LENGTH = 10


class Corridor(gymnasium.Env[np.ndarray, int]):
    """Walk to the right end; each step costs 0.1, and arriving gives 1."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0.0, 1.0, (1,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.place = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        # Random numbers come from `self.np_random`, so that the seed reproduces an episode.
        self.place = int(self.np_random.integers(LENGTH // 2))
        return self.observation(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.place = max(0, self.place + (1 if action == 1 else -1))
        arrived = self.place == LENGTH
        return self.observation(), 1.0 if arrived else -0.1, arrived, False, {}

    def observation(self) -> np.ndarray:
        return np.array([self.place / LENGTH], np.float32)


gymnasium.register("Corridor-v0", Corridor, max_episode_steps=100)
