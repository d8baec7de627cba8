"""Environments as people write them: some break Gymnasium's contract, some have rare spaces.

`user_envs:Id-v0` is registered for each of `FAULTS` and `SPACES`.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import gymnasium
import numpy as np
from gymnasium import Env, Space, spaces

STEPS = 5
BOX3 = spaces.Box(-np.inf, np.inf, (3,), np.float32)


NUMBERS = itertools.count()


class Counting(Env[Any, Any]):
    """Shows the count of steps in the episode, tenths in each number; truncated after `STEPS`.

    It writes each observation into one array of its own, and gives that array away.
    """

    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space: Space = BOX3
        self.action_space: Space = spaces.Discrete(2)
        self.buffer, self.count = np.zeros(3, np.float32), 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.count = 0
        self.buffer[:] = 0
        return self.buffer, {"why": 0}

    @functools.cached_property
    def number(self) -> int:
        """How many environments had taken a step before this one."""
        return next(NUMBERS)

    def step(self, action: Any) -> Any:
        self.count += 1
        self.buffer[:] = self.count / 10
        # Of two environments in a step, one says a number and the other a text.
        why = "collision" if (self.count + self.number) % 2 else 0
        return self.buffer, 1.0, False, self.count == STEPS, {"why": why, "at": {self.count: []}}

    def render(self) -> Any:
        return np.zeros((8, 8, 3), np.uint8)


class Faulty(Counting):
    """Does what `fault` says, from step 2 of an episode on."""

    def __init__(self, fault: str, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.fault = fault
        if fault == "constructor":
            raise FileNotFoundError("no map.txt")
        if fault == "no observation_space":
            del self.observation_space
        if fault == "no action_space":
            self.action_space = None  # pyright: ignore[reportAttributeAccessIssue]
        if fault == "uint8":
            self.observation_space = spaces.Box(0, 255, (3,), np.uint8)
        if fault == "discrete":
            self.observation_space = spaces.Discrete(3)
        if fault == "dict":
            self.observation_space = spaces.Dict({"a": BOX3, "b": spaces.Discrete(2)})

    def reset(self, **given: Any) -> Any:
        obs, info = super().reset(**given)
        if self.fault == "reset returns obs":
            return obs
        if self.fault == "reset returns None":
            return None
        if self.fault == "reset raises":
            raise RuntimeError("the simulator is gone\nand more")
        if self.fault == "NaN at reset":
            obs[1] = np.nan
        return self.shown(), info

    def step(self, action: Any) -> Any:
        obs, reward, terminated, truncated, info = super().step(action)
        if self.count < 2:
            return self.shown(), reward, terminated, truncated, info
        values: dict[str, Any] = {
            "four values": (obs, reward, truncated, info),
            "six values": (obs, reward, terminated, truncated, info, 0),
            "returns None": None,
            "reward None": (obs, None, False, False, {}),
            "reward NaN": (obs, float("nan"), False, False, {}),
            "reward inf": (obs, np.float32(np.inf), False, False, {}),
            "reward beyond float32": (obs, 1e300, False, False, {}),
            "reward beyond float": (obs, 10**400, False, False, {}),
            "reward of two": (obs, np.ones(2), False, False, {}),
            "reward text": (obs, "1.0", False, False, {}),
            "reward complex": (obs, 1j, False, False, {}),
            "terminated None": (obs, 0.0, None, False, {}),
            "terminated text": (obs, 0.0, "no", False, {}),
            "truncated dict": (obs, 0.0, False, {}, {}),
            "terminated of two": (obs, 0.0, np.zeros(2, bool), False, {}),
            "obs None": (None, 0.0, False, False, {}),
            "obs text": ("left", 0.0, False, False, {}),
            "obs of shape (4,)": (np.zeros(4, np.float32), 0.0, False, False, {}),
            "obs of shape (1,)": (np.zeros(1, np.float32), 0.0, False, False, {}),
            "obs of shape ()": (0.0, 0.0, False, False, {}),
            "obs ragged": ([1, [2, 3]], 0.0, False, False, {}),
            "obs complex": (np.zeros(3, complex), 0.0, False, False, {}),
            "obs NaN": (np.array([0, np.nan, 0], np.float32), 0.0, False, False, {}),
            "obs inf": (np.array([0, np.inf, 0], np.float32), 0.0, False, False, {}),
            "obs beyond float32": (np.array([0, 1e300, 0]), 0.0, False, False, {}),
            "last obs NaN": (np.full(3, np.nan, np.float32), 0.0, True, False, {}),
            "uint8": (np.array([0, 0.5, 0]), 0.0, False, False, {}),
            "discrete": (3, 0.0, False, False, {}),
            "dict": ({"a": obs}, 0.0, False, False, {}),
        }
        if self.fault == "step raises":
            raise KeyError("engine")
        return values.get(self.fault, (self.shown(), reward, terminated, truncated, info))

    def shown(self) -> Any:
        if self.fault == "uint8":
            return np.zeros(3, np.uint8)
        if self.fault == "discrete":
            return 0
        return {"a": self.buffer, "b": 1} if self.fault == "dict" else self.buffer

    def close(self) -> None:
        if self.fault == "close":
            raise OSError("already closed")

    def render(self) -> Any:
        if self.fault == "render raises":
            raise RuntimeError("no GL")
        return None if self.fault == "render returns None" else super().render()


class NoSeed(Counting):
    def reset(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().reset()


class NoOptions(Counting):
    def reset(self, seed: int | None = None) -> Any:  # pyright: ignore
        return super().reset(seed=seed)


class Moody(Counting):
    """Has another space each time it is built."""

    built = 0

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        Moody.built += 1
        self.observation_space = spaces.Box(-1, 1, (Moody.built,), np.float32)


class Shaped(Counting):
    """Samples observations of a space, and requires actions of another."""

    def __init__(self, obs: Space, action: Space, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.observation_space, self.action_space = obs, action

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        _, reward, terminated, truncated, info = super().step(action)
        return self.observation_space.sample(), reward, terminated, truncated, info


class Odd(Counting):
    """Returns what is unusual and can be understood: an array of one number is a number."""

    def step(self, action: Any) -> Any:
        obs, _, _, truncated, info = super().step(action)
        flag = np.array([False]) if self.count % 2 else 0
        reward = np.array([1.0]) if self.count % 2 else np.array([[1]])
        return list(obs.astype(np.float64)), reward, flag, np.bool_(truncated), info


FAULTS: dict[str, str] = {
    "constructor": r"cannot be built here: it raised FileNotFoundError: no map.txt \(user_envs.py",
    "no observation_space": "observation_space",
    "no action_space": "has the action space NoneType",
    "reset returns obs": r"reset\(\) returned array\(\[0.*; return a tuple of two",
    "reset returns None": r"reset\(\) returned None; return a tuple of two",
    "reset raises": r"reset\(\) raised RuntimeError: the simulator is gone \(user_envs.py, line",
    "NaN at reset": r"reset\(\) returned an observation with nan at \[1\]; ",
    "four values": r"step\(\) did not return five values .*got 4.* in step 2 of an episode; return",
    "six values": r"step\(\) did not return five values .*expected 5.* in step 2 ",
    "returns None": r"step\(\) did not return five values .*None.* in step 2 ",
    "reward None": "returned None as the reward in step 2 of an episode; a reward must be one",
    "reward NaN": "returned a reward of nan in step 2 ",
    "reward inf": "returned a reward of inf in step 2 ",
    "reward beyond float32": r"returned a reward of 1e\+300 in step 2 ",
    "reward beyond float": "returned 1000.* as the reward in step 2 ",
    "reward of two": r"returned array\(\[1., 1.\]\) as the reward in step 2 ",
    "reward text": "returned '1.0' as the reward in step 2 ",
    "reward complex": "returned 1j as the reward in step 2 ",
    "terminated None": "returned None as terminated in step 2 .*; terminated must be True or False",
    "terminated text": "returned 'no' as terminated in step 2 ",
    "truncated dict": "returned {} as truncated in step 2 .*; truncated must be True or False",
    "terminated of two": "as terminated in step 2 ",
    "obs None": r"step\(\) returned None as an observation, which is not an array",
    "obs text": "returned 'left' as an observation, which is not an array of numbers in step 2 ",
    "obs of shape (4,)": r"an observation of shape \(4,\), but its space has \(3,\) in step 2 ",
    "obs of shape (1,)": r"an observation of shape \(1,\), but its space has \(3,\) in step 2 ",
    "obs of shape ()": r"an observation of shape \(\), but its space has \(3,\) in step 2 ",
    "obs ragged": r"returned \[1, \[2, 3\]\] as an observation, which is not an array in step 2 ",
    "obs complex": "which is not an array of numbers in step 2 ",
    "obs NaN": r"returned an observation with nan at \[1\] in step 2 .*; observations must",
    "obs inf": r"returned an observation with inf at \[1\] in step 2 ",
    "obs beyond float32": r"returned an observation with inf at \[1\] in step 2 ",
    "last obs NaN": r"step\(\) returned an observation with nan at \[0\] in step 2 ",
    "uint8": "returned an observation with 0.5, which uint8 cannot hold in step 2 ",
    "discrete": "returned 3 as an observation, which is not in its space in step 2 ",
    "dict": r"as an observation, whose space has the parts \['a', 'b'\] in step 2 ",
    "step raises": r"step\(\) raised KeyError: 'engine' \(user_envs.py, line \d+\) \(step 2 of",
}
"""What each fault is called in its one line."""

IMAGE = spaces.Box(0, 1, (40, 36, 3), np.float32)
INT64 = spaces.Box(np.array([-(10**12), 0]), np.array([10**12, 3]), dtype=np.int64)
NESTED = spaces.Dict(
    {
        "b": spaces.Tuple((spaces.Discrete(3, start=-1), spaces.MultiBinary((2, 2)))),
        "a": spaces.Dict({"c": BOX3, "d": spaces.MultiDiscrete([2, 3], start=[1, -1])}),
        "e": spaces.Box(0, 255, (2, 2), np.uint8),
        "f": spaces.Box(-1, 1, (), np.float64),
    }
)
OBSERVATIONS: dict[str, tuple[Space, tuple[int, ...], Any]] = {
    "scalar": (spaces.Box(-1, 1, (), np.float32), (1,), np.float32),
    "float64": (spaces.Box(-np.inf, np.inf, (2,), np.float64), (2,), np.float32),
    "int64": (INT64, (2,), np.float32),
    "bytes": (spaces.Box(0, 255, (4,), np.uint8), (4,), np.float32),
    "bools": (spaces.Box(0, 1, (4,), np.bool_), (4,), np.float32),
    "matrix": (spaces.Box(-1, 1, (2, 3), np.float32), (2, 3), np.float32),
    "choice": (spaces.Discrete(3, start=-1), (3,), np.float32),
    "choices": (spaces.MultiDiscrete([[2, 3]], start=[[1, -1]]), (5,), np.float32),
    "binary": (spaces.MultiBinary((2, 2)), (4,), np.float32),
    "nested": (NESTED, (3 + 4 + 3 + 5 + 4 + 1,), np.float32),
    "image01": (IMAGE, (3, 40, 36), np.float32),
    "image255": (spaces.Box(0, 255, (40, 36, 3), np.float64), (3, 40, 36), np.float32),
    "int image": (spaces.Box(0, 255, (40, 36, 3), np.int32), (3, 40, 36), np.uint8),
    "gray": (spaces.Box(0, 255, (40, 36), np.uint8), (1, 40, 36), np.uint8),
    "stacked": (spaces.Box(0, 255, (2, 40, 36, 3), np.uint8), (6, 40, 36), np.uint8),
}
"""Spaces of observations, with the shape and dtype that an agent gets."""

ACTIONS: dict[str, Space] = {
    "discrete": spaces.Discrete(3, start=-1),
    "multi-discrete": spaces.MultiDiscrete([2, 3], start=[1, -1]),
    "multi-binary": spaces.MultiBinary((2, 2)),
    "integers": spaces.Box(np.array([-1, 2]), np.array([1, 3]), dtype=np.int16),
    "bools": spaces.Box(0, 1, (2,), np.bool_),
    "box": spaces.Box(-1, 1, (2,), np.float32),
    "half-bounded": spaces.Box(0, np.inf, (2,), np.float32),
    "unbounded": spaces.Box(-np.inf, np.inf, (2,), np.float64),
    "scalar": spaces.Box(-1, 1, (), np.float32),
}


def id_of(kind: str, name: str) -> str:
    """The id of an environment, as a person would type it."""
    clean = "".join(each for each in name.title() if each.isalnum())
    return f"user_envs:{kind}{clean}-v0"


def register() -> None:
    def entry(env_id: str, what: Any, **kwargs: Any) -> None:
        gymnasium.register(env_id.partition(":")[2], what, kwargs=kwargs)

    for fault in [*FAULTS, "close", "render raises", "render returns None"]:
        entry(id_of("Faulty", fault), Faulty, fault=fault)
    for kind in (Counting, NoSeed, NoOptions, Moody, Odd):
        entry(id_of(kind.__name__, ""), kind)
    for name, (space, *_) in OBSERVATIONS.items():
        entry(id_of("Obs", name), Shaped, obs=space, action=spaces.Discrete(2))
    for name, space in ACTIONS.items():
        entry(id_of("Action", name), Shaped, obs=BOX01, action=space)
    for name, space in REFUSED.items():
        entry(id_of("Refused", name), Shaped, obs=space, action=spaces.Discrete(2))


BOX01 = spaces.Box(0, 1, (3,), np.float32)
REFUSED: dict[str, Space] = {
    "Text": spaces.Text(4),
    "Sequence": spaces.Dict({"a": BOX01, "words": spaces.Sequence(spaces.Discrete(3))}),
    "Graph": spaces.Tuple((BOX01, spaces.Graph(BOX01, None))),
    "OneOf": spaces.OneOf((BOX01, spaces.Discrete(2))),
    "Empty": spaces.Box(0, 1, (0,), np.float32),
    "Huge": spaces.Discrete(10**9),
}
"""Spaces of observations that no network here reads."""

register()
