"""Environments of every kind of space that Minari keeps, for what others make with it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import gymnasium
import numpy as np
from gymnasium import Env, spaces

NUMBERS = spaces.Box(-2, 2, (3,), np.float32)
FEW = spaces.Discrete(4, start=2)

OBSERVATIONS: dict[str, spaces.Space] = {
    "Numbers": NUMBERS,
    "Doubles": spaces.Box(-2, 2, (3,), np.float64),
    "Integers": spaces.Box(-9, 9, (3,), np.int64),
    "Few": FEW,
    "Several": spaces.MultiDiscrete([3, 4], start=[1, -2]),
    "Bits": spaces.MultiBinary(5),
    "Matrix": spaces.Box(-1, 1, (2, 3), np.float32),
    "Dict": spaces.Dict({"place": NUMBERS, "few": FEW}),
    "Tuple": spaces.Tuple([NUMBERS, spaces.MultiBinary(2)]),
    "Nested": spaces.Dict({"z": spaces.Tuple([FEW, NUMBERS]), "a": spaces.Dict({"b": FEW})}),
    "Photo": spaces.Box(0, 255, (40, 36, 3), np.uint8),
}

ACTIONS: dict[str, spaces.Space] = {
    "": spaces.Discrete(2),
    "Start": spaces.Discrete(3, start=-1),
    "Choices": spaces.MultiDiscrete([2, 3]),
    "Force": spaces.Box(-1, 1, (2,), np.float32),
    "Force64": spaces.Box(-1, 1, (2,), np.float64),
}


class Animal(Env[Any, Any]):
    """Shows what its seed draws from a space, and pays a third of the number of the step."""

    def __init__(self, seen: str, acted: str, render_mode: str | None = None) -> None:
        # A space draws by a generator of its own.
        self.observation_space = deepcopy(OBSERVATIONS[seen])
        self.action_space = deepcopy(ACTIONS[acted])
        self.render_mode = render_mode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        self._step = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._step += 1
        return self.observation_space.sample(), self._step / 3, self._step == 6, False, {}


for seen in OBSERVATIONS:
    for acted in ACTIONS:
        gymnasium.register(
            f"{seen}{acted}-v0", f"{__name__}:Animal", kwargs={"seen": seen, "acted": acted}
        )
