"""Watching: a run, a dataset and a checkpoint of Stable-Baselines3, in a film or on a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from conftest import demonstrations, run_tiny
from support.refusals import error_line
from user_envs import Counting

from agents import watch
from agents.core.runs.run import Run
from agents.core.training.demonstrator import Demonstrator
from demos import terminal
from demos.policies import resolve
from demos.recording import record
from demos.replaying import Moment
from envs import EnvSpec
from envs.errors import NotReproduced

ENV_ID = "toy/Catch-v0"
ROOT = Path(__file__).parents[1]
ZIP = ROOT / "tests" / "sb3_old" / "1.1.0-dqn.zip"
SHIPPED = "cartpole-expert-v1"
HANG_SECONDS = 60
"""What takes longer hangs. A busy machine is slow."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs")
    return run_tiny(folder, "ppo", "--env", ENV_ID, "--total-steps", "128")


def code_of(*args: str) -> object:
    with pytest.raises(SystemExit) as left:
        watch.main([*args])
    return left.value.code


def test_a_run_is_filmed_and_nothing_of_it_changes(run: Run, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    film = tmp_path / "film.mp4"
    assert code_of(str(run.path), "--to", str(film), "--episodes", "2") == 0
    assert film.stat().st_size > 1_000
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_a_dataset_is_replayed(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    assert code_of(str(demonstrations(ENV_ID)), "--to", str(film)) == 0
    assert film.stat().st_size > 1_000


def test_a_game_is_the_one_that_would_be_recorded(run: Run) -> None:
    spec = EnvSpec.from_json(run.config()["env_spec"]).bounded()
    (episode,) = record(spec, resolve(str(run.path), spec, 3, None), 1, 3, 1)
    moments = list(watch.games(spec, resolve(str(run.path), spec, 3, None), 3, 1))
    assert len(moments) == len(episode) + 1
    assert f"return {sum(episode.rewards):g}" in moments[-1].lines[0]
    assert all(each.picture.dtype == np.uint8 for each in moments)


def test_a_terminal_shows_each_moment_and_how_fast(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[Moment, float]] = []

    def play(moments, fps: float, console: object) -> None:
        shown.extend((each, fps) for each in moments)

    monkeypatch.setattr(terminal, "play", play)
    assert code_of(str(run.path), "--to", "terminal", "--speed", "2", "--most-steps", "5") == 0
    assert len(shown) == 6
    assert [moment.lines[0].split("   ")[1] for moment, _ in shown] == [
        f"step {t}" for t in range(6)
    ]
    assert {fps for _, fps in shown} == {60.0}


def words_of(kind: str, run: Run) -> list[str]:
    """The arguments that name a thing of each kind."""
    return {
        "run": [str(run.path)],
        "dataset": [str(demonstrations(ENV_ID))],
        "shipped": [SHIPPED],
        "zip": [str(ZIP), "--env", "CartPole-v1"],
    }[kind]


KINDS = ("run", "dataset", "shipped", "zip")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_shown_with_return_step_and_action(
    kind: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Moment] = []
    monkeypatch.setattr(terminal, "play", lambda moments, *_: shown.extend(moments))
    words = words_of(kind, run)
    assert code_of(*words, "--to", "terminal", "--episodes", "2", "--most-steps", "4") == 0
    assert len(shown) == 10
    for number, moment in enumerate(shown):
        counted, done = moment.lines
        assert counted.split("   ")[0] in (f"game {number // 5}", f"episode {number // 5}")
        assert f"step {number % 5}" in counted and "return " in counted
        assert (done == "action none yet") == (number % 5 == 0)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_filmed(kind: str, run: Run, tmp_path: Path) -> None:
    film = tmp_path / "film.gif"
    assert code_of(*words_of(kind, run), "--to", str(film), "--most-steps", "4") == 0
    assert film.read_bytes().startswith(b"GIF8")


def test_the_weights_that_are_asked_for_play(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    class Noted(Demonstrator):
        def __init__(self, *args: object) -> None:
            asked.append(args[4:])
            super().__init__(*args)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(watch, "Demonstrator", Noted)
    monkeypatch.setattr(terminal, "play", lambda moments, *_: list(moments))
    words = [str(run.path), "--to", "terminal", "--most-steps", "2"]
    assert code_of(*words, "--checkpoint", "last", "--device", "cpu") == 0
    assert code_of(*words) == 0
    assert asked == [("last", "cpu"), ("best", "auto")]


def test_a_directory_wins_over_a_shipped_dataset_of_its_name(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run.path, tmp_path / SHIPPED)
    monkeypatch.chdir(tmp_path)
    shown: list[Moment] = []
    monkeypatch.setattr(terminal, "play", lambda moments, *_: shown.extend(moments))
    assert code_of(SHIPPED, "--to", "terminal", "--most-steps", "2") == 0
    assert shown[0].lines[0].startswith("game 0")


class Terminal:
    """The command on a terminal of its own, without a display."""

    def __init__(self, *words: str) -> None:
        self.ours, theirs = pty.openpty()
        self.before = termios.tcgetattr(theirs)
        self.theirs = theirs
        hidden = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
        kept = {name: value for name, value in os.environ.items() if name not in hidden}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "joystick", "watch", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=kept | {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT)},
            start_new_session=True,
            # Ctrl-C is a signal only on the terminal that controls the process.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.output = b""

    def read_until(self, done: Callable[[], bool]) -> None:
        end = time.monotonic() + HANG_SECONDS
        while not done():
            assert time.monotonic() < end, self.output[-2000:]
            if select.select([self.ours], [], [], 0.05)[0]:
                self.output += os.read(self.ours, 65_536)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)


@pytest.mark.skipif(sys.platform != "linux", reason="others always have a display")
@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("run", b"q"),
        ("shipped", b"\x03"),
        ("zip", b"q"),
        pytest.param("run", b"\x03", marks=pytest.mark.slow),
        pytest.param("shipped", b"q", marks=pytest.mark.slow),
        pytest.param("zip", b"\x03", marks=pytest.mark.slow),
    ],
)
def test_q_and_ctrl_c_end_it_and_the_terminal_is_as_it_was(kind: str, key: bytes, run: Run) -> None:
    # A game of Catch has 6 steps: at this speed it outlasts the test.
    shown = Terminal(*words_of(kind, run), "--speed", "0.01")
    try:
        shown.read_until(lambda: "▀".encode() in shown.output and b"none yet" in shown.output)
        # Keys are read singly by now, or the test would show nothing.
        shown.read_until(lambda: termios.tcgetattr(shown.theirs) != shown.before)
        os.write(shown.ours, key)
        shown.read_until(lambda: shown.process.poll() is not None)
        shown.read_until(lambda: b"\x1b[?1049l" in shown.output)
        assert shown.process.returncode == 0
        assert termios.tcgetattr(shown.theirs) == shown.before
        assert b"\x1b[?25h" in shown.output and b"Traceback" not in shown.output
    finally:
        shown.close()


@pytest.mark.skipif(sys.platform != "linux", reason="others always have a display")
@pytest.mark.parametrize("kind", KINDS)
def test_neither_a_display_nor_a_terminal_is_said_in_a_line(
    kind: str, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    said = error_line(lambda: watch.main(words_of(kind, run)), capsys)
    assert "neither a display nor a terminal: name a film with --to FILE.mp4" in said


class Drawn(Counting):
    """An environment whose second instance pays another reward than its first."""

    made = 0

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        Drawn.made += 1
        self.pays = float(Drawn.made)

    def step(self, action: object) -> object:
        obs, _, *others = super().step(action)
        return obs, self.pays, *others


class Blind(Counting):
    """An environment that draws no pictures."""

    metadata = {"render_modes": []}


@pytest.fixture
def own(tmp_path: Path):
    """Trains on a registered environment of one's own; returns the run."""
    names: list[str] = []

    def trained(kind: Any) -> Run:
        name = f"test/{kind.__name__}-v0"
        gymnasium.register(name, kind)
        names.append(name)
        return run_tiny(tmp_path, "ppo", "--env", name, "--total-steps", "64")

    yield trained
    for name in names:
        del gymnasium.registry[name]


@pytest.mark.filterwarnings("ignore:.*render_mode")
def test_an_environment_without_pictures_is_said_in_a_line(
    own: Callable[[type[Counting]], Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = own(Blind).path
    film = tmp_path / "x.mp4"
    said = error_line(
        lambda: watch.main([str(path), "--to", str(film), "--checkpoint", "last"]), capsys
    )
    assert said == "test/Blind-v0 cannot be rendered: it has no render mode 'rgb_array'"
    assert not film.exists()


def test_pictures_of_another_game_than_the_agent_plays_are_refused(
    own: Callable[[type[Counting]], Run],
) -> None:
    run = own(Drawn)
    spec = EnvSpec.from_json(run.config()["env_spec"]).bounded()
    policy = Demonstrator(run, spec, 0, None, "last")
    with pytest.raises(NotReproduced, match="test/Drawn-v0 does not replay from seed"):
        list(watch.games(spec, policy, 0, 1))


def test_a_damaged_run_is_refused_and_no_film_is_left(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "damaged"
    shutil.copytree(run.path, path)
    for weights in path.rglob("weights.safetensors"):
        weights.write_bytes(weights.read_bytes()[:-1])
    films = tmp_path / "films"
    assert code_of(str(path), "--to", str(films / "x.mp4"), "--checkpoint", "last") == 2
    passed_over, said = capsys.readouterr().err.splitlines()
    assert passed_over.startswith("warning: damaged checkpoint passed over: ")
    assert said.startswith("error: no intact checkpoint in ")
    assert not films.exists()


def test_a_damaged_zip_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = tmp_path / "part.zip"
    part.write_bytes(ZIP.read_bytes()[:300])
    args = [str(part), "--env", "CartPole-v1", "--to", str(tmp_path / "x.mp4")]
    assert "part.zip is only a part of a zip" in error_line(lambda: watch.main(args), capsys)
    assert list(tmp_path.iterdir()) == [part]


@pytest.mark.parametrize(
    ("kind", "option", "message"),
    [
        ("run", ("--env", ENV_ID), "--env toy/Catch-v0: "),
        ("zip", ("--checkpoint", "last"), "--checkpoint last: "),
        ("zip", ("--device", "cpu"), "--device cpu: "),
        ("shipped", ("--env", "CartPole-v1"), "--env CartPole-v1: "),
        ("shipped", ("--seed", "0"), "--seed 0: "),
        ("shipped", ("--exploration", "0"), "--exploration 0"),
        ("dataset", ("--checkpoint", "best"), "--checkpoint best: "),
        ("dataset", ("--device", "auto"), "--device auto: "),
        ("dataset", ("--episodes", "4"), "--episodes 4: must be 1 to 3, because "),
        *((kind, ("--episodes", "0"), "--episodes 0: must be at least 1") for kind in KINDS),
        *((kind, ("--most-steps", "-1"), "--most-steps -1: must be at least 0") for kind in KINDS),
        *((kind, ("--speed", "0"), "--speed 0: must be between 0.01") for kind in KINDS),
        ("run", ("--seed", "-1"), "--seed -1: must be at least 0"),
        ("zip", ("--seed", "-1"), "--seed -1: must be at least 0"),
        ("run", ("--exploration", "-1"), "--exploration -1.0: must be "),
    ],
)
def test_an_option_that_cannot_count_is_refused(
    kind: str,
    option: tuple[str, str],
    message: str,
    run: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    film = tmp_path / "x.mp4"
    args = [*words_of(kind, run), "--to", str(film), *option]
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        watch.main(args)
    said = capsys.readouterr().err
    assert left.value.code == 2
    # A run without evaluations warns of that in a line of its own.
    assert said.splitlines()[-1].startswith(f"error: {message}"), said
    assert "Traceback" not in said and not film.exists()


@pytest.mark.parametrize(
    ("args", "messages"),
    [
        (["nowhere"], ["no run directory at nowhere", "an SB3 zip and a dataset are allowed too"]),
        (["cartpole-expert-v2"], ["shipped are: ", f"did you mean '{SHIPPED}'?"]),
        (["nowhere.zip", "--env", "CartPole-v1"], ["nowhere.zip is not a file"]),
        (["nowhere.zip"], ["nowhere.zip is not a file"]),
        ([str(ZIP)], ["1.1.0-dqn.zip: name its environment with --env"]),
        (
            [str(ZIP), "--env", "Acrobot-v1"],
            ["was trained on observations Box [4], but Acrobot-v1"],
        ),
        ([str(ROOT / "tests")], ["no run directory at ", "has no config.json of Joystick's"]),
    ],
)
def test_what_is_not_there_is_one_line(
    args: list[str], messages: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = ["--to", str(tmp_path / "x.mp4")]
    said = error_line(lambda: watch.main([*args, *to]), capsys)
    assert all(message in said for message in messages), said


def test_a_target_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    said = error_line(lambda: watch.main([SHIPPED, "--to", "film.doc"]), capsys)
    assert said.startswith("--to film.doc: allowed are window, terminal, FILE.mp4")
