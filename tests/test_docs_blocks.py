"""Code of the README and the docs: Python runs, and commands are read by their own parsers."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import run_tiny

import joystick
from agents.core.runs.run import Run
from agents.core.training import algorithms
from agents.core.training.arguments import parse
from envs import UserError, command_line, plugins
from joystick import api, commands

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "demos" / "datasets").rglob("*.md")),
]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:python -m|joystick|torchrun) [^`|]* --[^`|]*)`")

PLACEHOLDER = re.compile(r" ([A-Z]|COMMAND|ALGORITHM)\b")
"""What a command in a sentence leaves open."""

RUN = re.compile(r"runs/(<\w+>|RUN)")
"""What pages call a run of the reader's."""

SHORT = {
    "total_steps": 512,
    "num_threads": 1,
    "wandb": "disabled",
    "video": False,
    "eval_every_steps": 256,
    "eval_episodes": 1,
    "final_eval_episodes": 1,
}
"""Settings of a training in a block of Python, whatever the block says."""


class Line(NamedTuple):
    """A command of ours in a page: `joystick evaluate` or `python -m benchmarks.gpu`."""

    page: str
    name: str
    words: list[str]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join([self.name, *self.words])}"


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(page.read_text("utf-8")) if kind == language]


def typed(page: Path) -> Iterator[str]:
    """Each command of a page's blocks of bash, and each inline one with flags."""
    for text in blocks(page, "bash"):
        yield from re.split(r"\n|&&|;", text.replace("\\\n", " "))
    for line in INLINE.findall(BLOCK.sub("", page.read_text("utf-8"))):
        if not PLACEHOLDER.search(line):
            yield line


def line_of(page: str, command: str) -> Line | None:
    """The command of ours that is typed; None for any other."""
    words = shlex.split(command, comments=True)
    while words and re.match(r"[A-Z_]+=", words[0]):
        words.pop(0)
    if words[:1] == ["torchrun"]:
        words = ["python", *words[words.index("-m") :]]
    if words[:1] == ["joystick"]:
        return Line(page, *split(words[1:]))
    if words[:2] == ["python", "-m"]:
        package, _, name = words[2].partition(".")
        if package in ("agents", "demos", "joystick"):
            return Line(page, *split([*filter(None, [name or package]), *words[3:]]))
        if package == "benchmarks":
            return Line(page, words[2], words[3:])
    return None


def split(words: list[str]) -> tuple[str, list[str]]:
    """The name of a command and its words; "" where a flag such as --version stands alone."""
    alone = not words or words[0].startswith("-")
    return ("", words) if alone else (words[0], words[1:])


def lines() -> list[Line]:
    named = [(str(page.relative_to(ROOT)), page) for page in PAGES]
    found = [line_of(name, each) for name, page in named for each in typed(page)]
    return [line for line in found if line is not None and line.name]


class Read(Exception):
    """Instead of what a command would do once its command line is read."""


def read_by_its_parser(line: Line, run_of: Callable[[str], Run]) -> None:
    """Read a command line as its command does, values too, and do nothing.

    Raises:
        UserError: the command would refuse it.
    """
    words = [word for word in line.words if word != "--help"]
    if line.name in commands.trainings():
        if "--resume" in words:
            path = str(run_of(line.name).path)
            words = [RUN.sub(lambda _: path, word) for word in words]
        parse(algorithms.algorithm(line.name), words)
    elif line.name.startswith("benchmarks."):
        ours, _, theirs = shlex.join(words).partition(" -- ")
        read_until_done(import_module(line.name).main, shlex.split(ours))
        algo = re.search(r"--algo (\w+)", ours)
        usual = "bc" if line.name == "benchmarks.cloning" else "dqn"
        parse(algorithms.algorithm(algo[1] if algo else usual), shlex.split(theirs))
    elif line.name in commands.TOOLS:
        read_until_done(commands.main_of(line.name), words)
    else:
        raise UserError(f"unknown command '{line.name}'")


def read_until_done(main: Callable[[list[str]], None], words: list[str]) -> None:
    """Call a command up to where its command line is read."""
    read = command_line.parse
    failed: list[UserError] = []

    def parse_alone(*args: Any, **options: Any) -> None:
        try:
            read(*args, **options)
        except UserError as error:
            failed.append(error)
        raise Read

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command_line, "parse", parse_alone)
        with pytest.raises(Read):
            main(words)
    if failed:
        raise failed[0]


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """Makes a small run of an algorithm, for `--resume`."""

    @cache
    def run(algo: str) -> Run:
        folder = tmp_path_factory.mktemp("runs")
        return run_tiny(folder, algo, "--env", "CartPole-v1", "--total-steps", "64")

    return run


def test_there_are_commands_of_every_kind() -> None:
    found = {line.name for line in lines()}
    assert len(lines()) > 80
    assert set(commands.every()) - found == set()
    assert {"benchmarks.gpu", "benchmarks.time_to_score"} < found


@pytest.mark.parametrize("line", lines(), ids=str)
def test_a_command_of_a_page_is_read_by_its_parser(
    line: Line, run_of: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pages name the files of docs/examples, which stay out of other tests.
    monkeypatch.chdir(ROOT / "docs" / "examples")
    monkeypatch.syspath_prepend(ROOT / "docs" / "examples")
    monkeypatch.setattr(plugins, "_loaded", {})
    words = plugins.taken(line.words)
    read_by_its_parser(line._replace(words=words), run_of)


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("joystick ppo --env Pong --no-such-flag 3", "--no-such-flag"),
        ("joystick ppo --env Pong --epochs many", "many"),
        ("python -m agents.dqn --env Pog", "Pog"),
        ("joystick evaluate runs/RUN --episodes few", "few"),
        ("joystick demos verfy pong-expert", "verfy"),
        ("python -m benchmarks.gpu --dryrun", "--dryrun"),
        ("python -m benchmarks.cloning --env Pong -- --num-threads one", "one"),
        ("torchrun --nproc-per-node 2 -m agents.ppo --env Pong --epochs 0", "--epochs 0"),
        ("joystick trian --env Pong", "trian"),
    ],
)
def test_a_command_that_would_fail_is_found(
    command: str, part: str, run_of: Callable[[str], Run]
) -> None:
    line = line_of("page", command)
    assert line is not None
    with pytest.raises(UserError, match=re.escape(part)):
        read_by_its_parser(line, run_of)


@pytest.fixture
def short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`joystick.train` and `evaluate` take few steps and games; lists what was trained."""
    monkeypatch.chdir(tmp_path)
    trained: list[str] = []
    train = joystick.train
    evaluate = joystick.evaluate

    def train_shortly(algorithm: str, **settings: Any) -> Run:
        told = {name: each for name, each in settings.items() if name not in KEYWORDS}
        words = [word for name, value in told.items() for word in api.flags(name, value)]
        # The block's own values must be right too.
        parse(algorithms.algorithm(algorithm), words)
        trained.append(algorithm)
        return train(algorithm, **(settings | SHORT))

    def evaluate_shortly(source: Any, episodes: int = 30, **options: Any) -> Any:
        assert episodes >= 1
        return evaluate(source, 1, **options)

    monkeypatch.setattr(joystick, "train", train_shortly)
    monkeypatch.setattr(joystick, "evaluate", evaluate_shortly)
    return trained


KEYWORDS = ("callbacks", "progress", "plugin")
"""What `joystick.train` takes beside settings."""

WITH_PYTHON = [page for page in PAGES if blocks(page, "python")]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.stem)
def test_the_python_of_a_page_runs(page: Path, short: list[str]) -> None:
    """A later block of a page may use what an earlier one made."""
    names: dict[str, Any] = {"__name__": "__main__"}
    text = page.read_text("utf-8")
    for block in blocks(page, "python"):
        above = text[: text.index(block)].count("\n")
        # Errors name the line of the page.
        exec(compile("\n" * above + block, str(page), "exec"), names)
    assert len(short) == sum(each.count("joystick.train(") for each in blocks(page, "python"))


def test_python_of_the_pages_trains() -> None:
    assert {page.name for page in WITH_PYTHON} >= {"README.md", "index.md", "extending.md"}


def quickstart(page: str) -> str:
    """The block of a page that trains, evaluates, watches and reports."""
    return next(each for each in blocks(ROOT / page, "bash") if "joystick report" in each)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_quickstart_works_as_it_is_typed(page: str, tmp_path: Path) -> None:
    quick = {"watch": ["--to", "game.mp4", "--most-steps", "20"], "ppo": ["--total-steps", "4096"]}
    done: list[str] = []
    for command in filter(None, quickstart(page).splitlines()):
        line = line_of(page, command)
        assert line is not None
        runs = [str(each.relative_to(tmp_path)) for each in tmp_path.glob("runs/*")]
        words = [RUN.sub(lambda _, runs=runs: runs[0], word) for word in line.words]
        finished = subprocess.run(
            [sys.executable, "-m", "joystick", line.name, *words, *quick.get(line.name, [])],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT), "WANDB_MODE": "offline"},
            capture_output=True,
            text=True,
        )
        assert finished.returncode == 0, (command, finished.stdout, finished.stderr)
        done.append(line.name)
    assert done == ["ppo", "evaluate", "watch", "report"]
    (run,) = tmp_path.glob("runs/*")
    assert (run / "eval.json").exists()
    assert (tmp_path / "game.mp4").stat().st_size > 1000
    assert run.name in (tmp_path / "report.html").read_text("utf-8")
