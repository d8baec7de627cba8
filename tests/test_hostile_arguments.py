"""Whatever a person names where a run, a dataset or a place to write is due, is one line."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from conftest import QUIET, demonstrations, run_tiny
from support.refusals import error_line

import envs
from agents import card, evaluate
from agents.core.training import launch
from demos import Metadata
from demos import __main__ as demos
from demos.dataset import Dataset

SHORT = ("--total-steps", "32", "--eval-every-steps", "32", "--eval-episodes", "1")
TRAIN = [*QUIET, "--env", "CartPole-v1", "--total-steps", "8", "--runs-dir", "out", "--num-envs"]
TRAIN += ["2", "--device", "cpu"]


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that a person could name, whatever is due."""
    home = tmp_path_factory.mktemp("things")
    run = run_tiny(home / "runs", "a2c", "--env", "CartPole-v1", *SHORT)
    run.path.rename(home / "run")
    other = run_tiny(home / "runs", "dqn", "--env", "Acrobot-v1", *SHORT)
    other.path.rename(home / "other-run")
    shutil.copytree(home / "run", home / "new-run")
    for name in ("checkpoints", "best"):
        shutil.rmtree(home / "new-run" / name)
    shutil.copytree(demonstrations("CartPole-v1"), home / "dataset")
    shutil.copytree(demonstrations("Acrobot-v1"), home / "other-dataset")
    shutil.copytree(demonstrations("Pendulum-v1", 1), home / "continuous")
    spec = envs.spec("CartPole-v1")
    about = Metadata(spec=spec, policy="random", created="today", command="tests")
    Dataset.create(home / "no-episodes", about)
    (home / "file").write_text("mine")
    (home / "folder").mkdir()
    (home / "full-folder").mkdir()
    (home / "full-folder" / "mine").write_text("mine")
    return home


@pytest.fixture
def here(things: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of all of it as the working directory, with a FIFO, and links to nothing."""
    home = Path(shutil.copytree(things, tmp_path / "here"))
    monkeypatch.chdir(home)
    os.mkfifo("fifo")
    Path("broken-link").symlink_to("nowhere")
    Path("loop").symlink_to("loop")
    Path("device").symlink_to("/dev/zero")
    return home


NOTHING = {
    "absent": "absent",
    "nothing": "",
    "file": "file",
    "below a file": "file/run",
    "folder": "folder",
    "full folder": "full-folder",
    "fifo": "fifo",
    "below a fifo": "fifo/run",
    "broken link": "broken-link",
    "loop": "loop",
    "device": "device",
    "root": "/",
    "long": "x" * 5000,
    "escape": "\x1b[2Jrun\n",
    "surrogate": "run\udcff",
    "a home": "~nobody/run",
}
"""What is neither a run nor a dataset."""

NO_RUN = {**NOTHING, "a dataset": "dataset", "a new run": "new-run"}
NO_DATASET = {**NOTHING, "a run": "run", "no episodes": "no-episodes"}

RECORD = ("record", "--env", "CartPole-v1", "--episodes", "1", "--num-envs", "1", "--out", "out")

Command = Callable[[str], object]


def command(main: Callable[[list[str]], object], *words: str) -> Command:
    """A command with a hole for what a person names: "{}"."""
    return lambda named: main([word.replace("{}", named) for word in words])


COMMANDS: dict[str, tuple[Command, dict[str, str]]] = {
    "evaluate": (command(evaluate.main, "{}", "--no-video"), NO_RUN),
    "evaluate last": (command(evaluate.main, "{}", "--checkpoint", "last"), NO_RUN),
    "card": (command(card.main, "{}"), NOTHING | {"a dataset": "dataset"}),
    "record": (
        command(demos.main, *RECORD, "--policy", "{}"),
        NO_RUN | {"another run": "other-run"},
    ),
    "record sb3": (
        command(demos.main, *RECORD, "--policy", "sb3:{}"),
        NO_RUN | {"a run": "run"},
    ),
    "resume": (
        command(partial(launch.main, "a2c"), "--resume", "{}", "--total-steps", "99"),
        {**NO_RUN, "another run": "other-run"},
    ),
    "init from": (
        command(partial(launch.main, "a2c"), *TRAIN, "--init-from={}"),
        {k: v for k, v in NO_RUN.items() if v} | {"another run": "other-run"},
    ),
    "imitate": (
        command(partial(launch.main, "bc"), *TRAIN, "--demos={}"),
        {**NO_DATASET, "another": "other-dataset", "continuous": "continuous"},
    ),
    "verify": (command(demos.main, "verify", "{}"), NOTHING | {"a run": "run"}),
    "stats": (command(demos.main, "stats", "{}"), NO_DATASET),
    "demos card": (command(demos.main, "card", "{}"), NO_DATASET),
    "replay": (command(demos.main, "replay", "{}", "--to", "film.gif"), NO_DATASET),
    "filter": (command(demos.main, "filter", "{}", "--out", "out"), NO_DATASET),
    "split": (command(demos.main, "split", "{}", "--out", "out", "out2"), NO_DATASET),
    "merge": (
        command(demos.main, "merge", "dataset", "{}", "--out", "out"),
        {**NOTHING, "a run": "run", "another": "other-dataset"},
    ),
    "drop": (command(demos.main, "drop", "{}", "--episodes", "0"), NO_DATASET),
    "seal": (command(demos.main, "seal", "{}"), NOTHING | {"a run": "run"}),
    "export": (
        command(demos.main, "export", "{}", "--to", "minari", "--id", "a/b-v0", "--out", "out"),
        NO_DATASET,
    ),
    "import": (command(demos.main, "import", "{}", "--from", "minari", "--out", "out"), NOTHING),
}
CASES = [(name, what) for name, (_, named) in COMMANDS.items() for what in named]


def contents(home: Path) -> dict[str, str]:
    """A digest of each file below a folder, but for locks."""
    paths = [path for path in home.rglob("*") if path.name != ".lock"]
    found = [path for path in paths if path.is_file() and not path.is_symlink()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def refused(run: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a command that exits with 2 and changes nothing."""
    before = contents(Path("."))
    line = error_line(run, capsys)
    assert len(line) < 2100
    assert not re.search(r"[\x00-\x1f]", line)
    assert contents(Path(".")) == before
    return line


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("name", "what"), CASES)
def test_what_is_not_there_or_is_something_else_is_one_line(
    name: str, what: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, named = COMMANDS[name]
    refused(lambda: run(named[what]), capsys)


NO_PLACE = {
    "file": "file",
    "below a file": "file/new",
    "fifo": "fifo",
    "below a fifo": "fifo/new",
    "loop": "loop",
    "below a loop": "loop/new",
    "device": "device",
    "read only": "/proc/new",
    "long": "x" * 5000,
}
"""Where no directory and no file can be made."""

A_DATASET = {**NO_PLACE, "a dataset": "dataset"}
A_FILM = {name: f"{where}.gif" for name, where in NO_PLACE.items() if name[:5] in ("below", "long")}
RECORD_INTO = ("record", "--env", "CartPole-v1", "--episodes", "1", "--num-envs", "1")
WRITERS: dict[str, tuple[Command, dict[str, str]]] = {
    "record": (command(demos.main, *RECORD_INTO, "--out={}"), A_DATASET),
    "append": (command(demos.main, *RECORD_INTO, "--append", "--out={}"), NO_PLACE),
    "append to another": (
        command(demos.main, *RECORD_INTO, "--append", "--out={}"),
        {"another": "other-dataset", "continuous": "continuous"},
    ),
    "filter": (command(demos.main, "filter", "dataset", "--out={}"), A_DATASET),
    "split": (command(demos.main, "split", "dataset", "--out", "{}", "two"), A_DATASET),
    "merge": (command(demos.main, "merge", "dataset", "--out={}"), A_DATASET),
    "drop": (
        command(demos.main, "drop", "dataset", "--episodes", "0", "--out={}"),
        A_DATASET,
    ),
    "demos card": (
        command(demos.main, "card", "dataset", "--out={}"),
        {k: v for k, v in NO_PLACE.items() if k[:5] in ("below", "long", "read ")}
        | {"root": "/", "here": ".", "above": "..", "folder": "folder"},
    ),
    "replay": (command(demos.main, "replay", "dataset", "--to={}"), A_FILM),
    "export": (
        command(demos.main, "export", "dataset", "--to", "minari", "--id", "a/b-v0", "--out={}"),
        NO_PLACE,
    ),
    "train": (
        command(partial(launch.main, "a2c"), *TRAIN[:-4], "--num-envs", "2", "--runs-dir={}"),
        NO_PLACE,
    ),
}
PLACES = [(name, what) for name, (_, named) in WRITERS.items() for what in named]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("name", "what"), PLACES)
def test_what_cannot_be_written_is_one_line(
    name: str, what: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, named = WRITERS[name]
    refused(lambda: run(named[what]), capsys)


VALUES: dict[str, Command] = {
    "checkpoint": command(evaluate.main, "run", "--checkpoint", "worst"),
    "no episodes": command(evaluate.main, "run", "--episodes", "0"),
    "negative seed": command(evaluate.main, "run", "--seed", "-1"),
    "exploration": command(evaluate.main, "run", "--exploration", "-1"),
    "most steps": command(evaluate.main, "run", "--most-steps", "-1"),
    "device": command(evaluate.main, "run", "--device", "toaster"),
    "no such episode": command(demos.main, "replay", "dataset", "--episode", "99", "--to", "f.gif"),
    "negative episode": command(demos.main, "replay", "dataset", "--episode=-1", "--to", "f.gif"),
    "drop of all": command(demos.main, "drop", "dataset", "--episodes", "0-2"),
    "drop of none": command(demos.main, "drop", "dataset", "--episodes", "7"),
    "drop of a word": command(demos.main, "drop", "dataset", "--episodes", "all"),
    "share": command(demos.main, "split", "dataset", "--out", "a", "b", "--share", "2"),
    "both the same": command(demos.main, "split", "dataset", "--out", "a", "a"),
    "unreachable return": command(
        demos.main, "filter", "dataset", "--out", "a", "--min-return=1e9"
    ),
    "merge of none": command(demos.main, "merge", "--out", "a"),
    "sb3 of nothing": command(demos.main, *RECORD, "--policy", "sb3:"),
    "script of nothing": command(demos.main, *RECORD, "--policy", "script:"),
    "policy of nothing": command(demos.main, *RECORD, "--policy", "sb4:file"),
    "exploration of a run": command(demos.main, *RECORD, "--policy", "run", "--exploration=-1"),
    "fraction": command(partial(launch.main, "bc"), *TRAIN, "--demos=dataset", "--fraction", "0"),
}


@pytest.mark.parametrize("what", VALUES)
def test_a_value_that_is_not_allowed_is_one_line(
    what: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(lambda: VALUES[what](""), capsys)
