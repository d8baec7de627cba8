"""A person's own code while it records: its faults are one line, and what is kept stays whole."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import user_envs
from gymnasium import spaces
from support.refusals import error_line
from test_demos_cli import demos
from user_envs import id_of
from wandb.sdk.lib.exit_hooks import ExitHooks

import envs
from demos import record
from demos.actions import checked
from demos.dataset import Dataset
from demos.keys import controls_of
from demos.policies import RandomPolicy
from envs import UserError
from envs.action_names import keys_to_action
from envs.user_env import UserEnv

PLAYED = """
import sys
import numpy as np

calls = 0

def after_some(value):
    '''Sensible actions until an episode is over, then what `value` says.'''
    def act(obs):
        global calls
        calls += 1
        return [0] * len(obs) if calls < 60 else value(obs)
    return act

nothing = after_some(lambda obs: None)
nan = after_some(lambda obs: np.full(len(obs), np.nan))
too_few = after_some(lambda obs: np.zeros(len(obs) - 1, int))
too_many = after_some(lambda obs: np.zeros(len(obs) + 1, int))
scalar = after_some(lambda obs: 0)
shaped = after_some(lambda obs: np.zeros((len(obs), 2), int))
texts = after_some(lambda obs: ["left"] * len(obs))
complexes = after_some(lambda obs: np.zeros(len(obs), complex))
fractions = after_some(lambda obs: np.full(len(obs), 0.5))
beyond = after_some(lambda obs: [2] * len(obs))
below = after_some(lambda obs: [-1] * len(obs))
far_beyond = after_some(lambda obs: [10**30] * len(obs))
ragged = after_some(lambda obs: [[0], [0, 1]])
generator = after_some(lambda obs: (0 for _ in obs))
mapping = after_some(lambda obs: {"action": 0})
raises = after_some(lambda obs: 1 / 0)
raises_lines = after_some(lambda obs: exec("raise KeyError('one\\\\ntwo')"))
leaves = after_some(lambda obs: sys.exit())
leaves_well = after_some(lambda obs: sys.exit(0))
leaves_with = after_some(lambda obs: sys.exit("good bye"))
stops = after_some(lambda obs: next(iter(())))

def no_arguments(): return [0]
def two_arguments(obs, start): return [0] * len(obs)
def keyword_alone(*, obs): return [0] * len(obs)
number = 3
class Actor:
    def __init__(self, obs): pass
"""

RETURNED = {
    "nothing": "for 2 games, which is not an array of numbers; return an action for each",
    "nan": r"returned array\(\[nan, nan\]\) for 2 games, with nan for game 0; .* whole number",
    "too_few": r"returned array\(\[0\]\) for 2 games, which has the length 1",
    "too_many": r"returned array\(\[0, 0, 0\]\) for 2 games, which has the length 3",
    "scalar": "returned 0 for 2 games, which is a single number",
    "shaped": r"for 2 games, whose actions have the shape \(2,\)",
    "texts": r"returned \['left', 'left'\] for 2 games, which is not an array of numbers",
    "complexes": "for 2 games, which is not an array of numbers",
    "fractions": "with 0.5 for game 0; return an action for each game, a whole number from 0 to 1",
    "beyond": r"returned \[2, 2\] for 2 games, with 2 for game 0; .* from 0 to 1",
    "below": r"returned \[-1, -1\] for 2 games, with -1 for game 0; .* from 0 to 1",
    "far_beyond": "for 2 games, which is not an array of numbers",
    "ragged": r"returned \[\[0\], \[0, 1\]\] for 2 games, which is not an array of numbers",
    "generator": "returned <generator object .*> for 2 games, which is not an array of numbers",
    "mapping": "returned {'action': 0} for 2 games, which is not an array of numbers",
    "raises": r"raised ZeroDivisionError: division by zero \(played.py, line \d+\)",
    "raises_lines": r"raised KeyError: 'one\\ntwo'",
    "leaves": r"called sys.exit \(played.py, line \d+\)",
    "leaves_well": r"called sys.exit \(played.py, line \d+\)",
    "leaves_with": r"called sys.exit: good bye \(played.py, line \d+\)",
    "stops": r"raised StopIteration \(played.py, line \d+\)",
}
"""What is said of a function that does not return actions."""

NOT_PLAYED = {
    "no_arguments": r"is no_arguments\(\), but must take one argument",
    "two_arguments": r"is two_arguments\(obs, start\), but must take one argument",
    "keyword_alone": r"is keyword_alone\(\*, obs\), but must take one argument",
    "number": "module 'played' has no function 'number': it is 3",
    "nothin": "module 'played' has no function 'nothin'; did you mean 'nothing'?",
}
"""What is said of what is no function of the observations alone, before anything is played."""

MODULES = {
    "absent": (None, "cannot be imported: No module named 'absent'"),
    "absent.py": (None, "No module named 'absent'; the module of absent.py is 'absent'"),
    "./absent.py": (None, r"'./absent.py' is not a module's name; the module of absent.py is"),
    "": (None, "'' is not a module's name"),
    "..absent": (None, "'..absent' is not a module's name"),
    "unfinished": ("def f(obs:\n", r"raised SyntaxError: .* \(unfinished.py, line 1\)"),
    "indented": ("def f(obs):\n1", r"raised IndentationError: .* \(indented.py, line 2\)"),
    "binary": ("\0", "cannot be imported: it raised (Syntax|Value)Error"),
    "needy": ("import no_such_thing", "cannot be imported: No module named 'no_such_thing'"),
    "broken": ("f = 1 / 0", r"it raised ZeroDivisionError: .* \(broken.py, line 1\)"),
    "program": ("import sys\nsys.exit(0)", r"it called sys.exit \(program.py, line 2\)"),
}
"""Modules that cannot be imported: their text, and what is said."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the module `played`, whose modules are forgotten afterwards."""
    (tmp_path / "played.py").write_text(PLAYED)
    monkeypatch.chdir(tmp_path)
    for name in ["played", *MODULES]:
        monkeypatch.delitem(sys.modules, name, raising=False)
    importlib.invalidate_caches()
    return tmp_path


def refused(words: list[object], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command prints, which exits with 2."""
    line = error_line(lambda: demos(*words), capsys)
    assert len(line) < 500
    return f"error: {line}\n"


RECORD = ("record", "--env", "CartPole-v1", "--num-envs", 2, "--out", "d", "--episodes", 50)


def test_a_call_of_sys_exit_is_found_behind_the_function_of_wandb(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run of W&B replaces `sys.exit` until the process ends."""
    monkeypatch.setattr(sys, "exit", sys.exit)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    ExitHooks().hook()
    error = refused([*RECORD, "--policy", "script:played:leaves"], capsys)
    assert re.search(RETURNED["leaves"], error), error


@pytest.mark.parametrize("name", RETURNED)
def test_a_function_that_returns_no_actions_is_named_and_what_was_kept_stays(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = f"script:played:{name}"
    error = refused([*RECORD, "--policy", policy], capsys)
    assert error.startswith(f"error: the policy '{policy}' ")
    assert re.search(RETURNED[name], error), error
    kept = Dataset.open(here / "d")
    assert len(kept.episodes()) >= 4
    assert not kept.problems()
    assert demos("verify", "d") == 0
    # The next recording goes on in it.
    assert demos(*RECORD[:-1], 5, "--policy", "random", "--append") == 0
    assert demos("verify", "d") == 0


def test_episodes_that_were_kept_before_a_fault_are_counted(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demos(*RECORD, "--policy", "script:played:nothing") == 2
    kept = len(Dataset.open(here / "d").files())
    assert f"{kept} episodes in d" in capsys.readouterr().out


@pytest.mark.parametrize("name", NOT_PLAYED)
def test_what_is_no_function_of_observations_is_refused_before_it_plays(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused([*RECORD, "--policy", f"script:played:{name}"], capsys)
    assert re.search(NOT_PLAYED[name], error), error
    assert not (here / "d").exists()


@pytest.mark.parametrize("module", MODULES)
def test_a_policys_module_that_cannot_be_imported_is_one_line(
    module: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = write_module(module)
    error = refused([*RECORD, "--policy", f"script:{module}:f"], capsys)
    assert re.search(said, error), error
    assert not (here / "d").exists()


@pytest.mark.parametrize("module", [each for each, (text, _) in MODULES.items() if text])
def test_an_environments_module_that_cannot_be_imported_is_one_line(
    module: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = write_module(module)
    monkeypatch.syspath_prepend(str(here))
    error = refused(["record", "--env", f"{module}:X-v0", "--out", "d"], capsys)
    assert re.search(said, error), error
    assert not (here / "d").exists()


def write_module(module: str) -> str:
    """Write one of `MODULES` into the working directory; returns what is said of it."""
    text, said = MODULES[module]
    if text is not None:
        Path(f"{module}.py").write_text(text)
    return said


SENSIBLE: dict[str, tuple[str, Callable[[int], Any]]] = {
    "list": ("discrete", lambda n: [0] * n),
    "tuple": ("discrete", lambda n: (1,) * n),
    "whole floats": ("discrete", lambda n: [1.0] * n),
    "bools": ("discrete", lambda n: np.zeros(n, bool)),
    "small integers": ("discrete", lambda n: np.zeros(n, np.uint8)),
    "kept axis": ("discrete", lambda n: np.zeros((n, 1), int)),
    "ints for a box": ("box", lambda n: [[0, 1]] * n),
    "floats for a box": ("box", lambda n: [[0.5, -1.0]] * n),
    "doubles for a box": ("box", lambda n: np.full((n, 2), 1 + 1e-12)),
    "no axis for a scalar box": ("scalar", lambda n: [0.5] * n),
    "an axis for a scalar box": ("scalar", lambda n: np.full((n, 1), 0.5)),
    "any number": ("unbounded", lambda n: [[1e30, -1e30]] * n),
    "parts": ("multi-discrete", lambda n: [[1, -1]] * n),
    "bits": ("multi-binary", lambda n: np.ones((n, 2, 2), bool)),
    "whole numbers": ("integers", lambda n: [[-1, 3]] * n),
}

STRANGE: dict[str, tuple[str, Callable[[int], Any]]] = {
    "beyond a box": ("box", lambda n: [[0, 1.5]] * n),
    "below a box": ("box", lambda n: [[-1.001, 0]] * n),
    "nan for a box": ("box", lambda n: [[0, float("nan")]] * n),
    "inf without bounds": ("unbounded", lambda n: [[0, float("inf")]] * n),
    "beyond float32": ("scalar", lambda n: [1e300] * n),
    "below half a box": ("half-bounded", lambda n: [[-0.1, 0]] * n),
    "one of two parts": ("box", lambda n: [[0.5]] * n),
    "beyond a part": ("multi-discrete", lambda n: [[1, 2]] * n),
    "below a part": ("multi-discrete", lambda n: [[0, 0]] * n),
    "half a part": ("multi-discrete", lambda n: [[1.5, 0]] * n),
    "no bit": ("multi-binary", lambda n: np.full((n, 2, 2), 2)),
    "flat bits": ("multi-binary", lambda n: np.ones((n, 4), bool)),
    "wraps round": ("integers", lambda n: [[2**16 - 1, 3]] * n),
    "half a number": ("integers", lambda n: [[0.5, 3]] * n),
    "too few": ("box", lambda n: [[0, 0]] * (n - 1)),
    "transposed": ("box", lambda n: np.zeros((2, n))),
}


@pytest.mark.parametrize("what", SENSIBLE)
def test_sensible_actions_are_those_of_the_space(what: str) -> None:
    name, returned = SENSIBLE[what]
    space = user_envs.ACTIONS[name]
    actions = checked("p", returned(3), space, 3)
    assert actions.dtype == space.dtype and actions.shape == (3, *(space.shape or ()))
    assert all(space.contains(np.asarray(each)) for each in actions)


@pytest.mark.parametrize("what", STRANGE)
def test_actions_that_a_space_does_not_have_are_named(what: str) -> None:
    name, returned = STRANGE[what]
    with pytest.raises(UserError, match="the policy 'p' returned .* for 3 games, ") as caught:
        checked("p", returned(3), user_envs.ACTIONS[name], 3)
    assert "; return an action for each game, " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", user_envs.ACTIONS)
def test_what_a_space_samples_is_sensible(name: str) -> None:
    space = user_envs.ACTIONS[name]
    space.seed(0)
    drawn = np.stack([space.sample() for _ in range(50)])
    np.testing.assert_array_equal(checked("p", drawn, space, 50), drawn)


class Writing:
    """Writes to all that it is given; what it plays is what it saw."""

    name = "writing"

    def begin(self, games: int) -> None: ...

    def act(self, obs: np.ndarray, start: np.ndarray, *rest: Any) -> np.ndarray:
        choice = (obs.reshape(len(obs), -1).astype(np.float64).sum(1) > 0).astype(int)
        obs[...] = 77
        start[...] = True
        return choice


@pytest.mark.parametrize("env_id", ["CartPole-v1", "toy/Catch-v0", "Pong"])
def test_a_policy_that_writes_to_its_observations_changes_no_recording(env_id: str) -> None:
    class Reading(Writing):
        def act(self, obs: np.ndarray, start: np.ndarray, *rest: Any) -> np.ndarray:
            return super().act(obs.copy(), start.copy())

    spec = envs.spec(env_id).bounded(60)
    written, read = (
        list(record(spec, policy, 4, seed=3, num_envs=2, replayable=False))
        for policy in (Writing(), Reading())
    )
    for one, other in zip(written, read, strict=True):
        np.testing.assert_array_equal(one.actions, other.actions)
        np.testing.assert_array_equal(one.observations, other.observations)
        np.testing.assert_array_equal(one.digests, other.digests)


class Leaving(user_envs.Counting):
    """Calls sys.exit in one of its methods, or says keys that are none."""

    def __init__(self, fault: str, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.fault = fault
        self.leave("constructor")
        if fault == "metadata of none":
            self.metadata = None  # pyright: ignore[reportAttributeAccessIssue]
        if fault == "metadata of a list":
            self.metadata = ["rgb_array"]  # pyright: ignore[reportAttributeAccessIssue]

    def leave(self, where: str) -> None:
        if self.fault == where:
            sys.exit(0)

    def reset(self, **given: Any) -> Any:
        self.leave("reset")
        return super().reset(**given)

    def step(self, action: Any) -> Any:
        self.leave("step")
        return super().step(action)

    def render(self) -> Any:
        self.leave("render")
        return super().render()

    def close(self) -> None:
        self.leave("close")


LEAVES = ("constructor", "reset", "step", "render", "close")
for fault in (*LEAVES, "metadata of none", "metadata of a list"):
    gymnasium.register(id_of("Leaving", fault).partition(":")[2], Leaving, kwargs={"fault": fault})


def env_of(fault: str) -> str:
    return id_of("Leaving", fault)


@pytest.mark.parametrize("where", ["constructor", "reset", "step"])
def test_an_environment_that_leaves_the_program_is_named(
    where: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["record", "--env", env_of(where), "--policy", "random", "--out", "d"]
    error = refused(words, capsys)
    assert env_of(where) in error and "called sys.exit (test_demos_scripts.py, line" in error


def test_an_environment_that_leaves_when_it_is_closed_loses_nothing(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("record", "--env", env_of("close"), "--policy", "random", "--out", "d")
    assert demos(*words, "--episodes", 2) == 0
    assert "close() called sys.exit" in capsys.readouterr().err
    assert len(Dataset.open(here / "d").episodes()) == 2


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("render", r"render\(\) called sys.exit"),
        ("metadata of none", "cannot be rendered: it has no render mode 'rgb_array'"),
        ("metadata of a list", "cannot be rendered: it has no render mode 'rgb_array'"),
    ],
)
def test_a_replay_of_what_cannot_be_drawn_is_one_line(
    fault: str, said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("record", "--env", env_of(fault), "--policy", "random", "--out", "d")
    assert demos(*words, "--episodes", 2) == 0
    error = refused(["replay", "d", "--to", "film.gif"], capsys)
    assert re.search(said, error), error
    assert not (here / "film.gif").exists()


KEYS: dict[str, tuple[Callable[[], Any], str]] = {
    "raises": (lambda: 1 / 0, r"get_keys_to_action\(\) raised ZeroDivisionError"),
    "leaves": (lambda: sys.exit(0), r"get_keys_to_action\(\) called sys.exit"),
    "returns None": (lambda: None, r"returned None; return a dict of keys to actions"),
    "returns a list": (lambda: [("a", 0)], "return a dict of keys to actions"),
    "no key": (lambda: {None: 0}, "None is not a key"),
    "half a key": (lambda: {1.5: 0}, "1.5 is not a key"),
    "an empty key": (lambda: {("",): 0}, "'' is not a key"),
    "a key of a key": (lambda: {(("a",),): 0}, r"\('a',\) is not a key"),
    "a negative key": (lambda: {-1: 0}, "the key number -1 is unknown"),
    "a huge key": (lambda: {2**40: 0}, "is unknown; use the name"),
    "no action": (lambda: {"a": 2}, "its keys 'a' play 2, with 2 for game 0; actions are"),
    "an action of None": (lambda: {"a": None}, "its keys 'a' play None, which is not an array"),
    "two actions": (lambda: {"a": [0, 1]}, r"its keys 'a' play \[0, 1\], whose actions have"),
}


def says_keys(monkeypatch: pytest.MonkeyPatch, said: Callable[[], Any]) -> None:
    """Have the counting environment say keys."""
    method = "get_keys_to_action"
    monkeypatch.setattr(user_envs.Counting, method, lambda self: said(), raising=False)


@pytest.mark.parametrize("what", KEYS)
def test_keys_that_an_environment_does_not_say_as_it_must_are_one_line(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, message = KEYS[what]
    env_id = id_of("Counting", "")
    monkeypatch.setattr(
        user_envs.Counting, "get_keys_to_action", lambda self: said(), raising=False
    )
    spec = envs.spec(env_id)
    with pytest.raises(UserError, match=message) as caught:
        controls_of(spec, spaces.Discrete(2))
    assert "\n" not in str(caught.value)


def test_keys_that_are_sensible_play(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"a": np.int64(0), (32, "up"): np.array(1), 2**30 + 80: 1}
    says_keys(monkeypatch, lambda: said)
    spec = envs.spec(id_of("Counting", ""))
    assert keys_to_action(spec) == said
    assert set(controls_of(spec, spaces.Discrete(2)).actions) >= {
        frozenset({"a"}),
        frozenset({"space", "up"}),
        frozenset({"left"}),
    }


def test_a_random_policy_plays_any_space() -> None:
    for name, space in user_envs.ACTIONS.items():
        spec = envs.spec(id_of("Action", name))
        assert len(list(record(spec, RandomPolicy(space, 0), 2, seed=0))) == 2


def test_a_place_in_a_file_is_a_persons_own() -> None:
    env = UserEnv("X", user_envs.Counting())
    assert env.source == user_envs.__file__
