"""Checks that the working tree trains exactly as an older commit does.

    python -m benchmarks.same_run --against e0864da

The older commit is checked out beside the working tree. Both train the same short runs: every
algorithm on CartPole, a continuous task and Pong, in fp32, with one thread and with two, with an
LSTM, and resumed. Two runs are the same if their final weights are equal bit for bit, and their
metrics and evaluations are equal number for number. Times and memory are not compared. Weights are
compared by content, so they may be renamed. `FLAGS` and `METRICS` list renamed settings and
metrics.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import safetensors.torch
import tyro
from rich.console import Console
from rich.table import Table

from agents.core.runs import earlier_names
from agents.core.training.config import require
from benchmarks.machine import write_result
from envs import UserError, command_line
from envs.entry import command as one_line_errors
from envs.errors import did_you_mean, first_line

TREE = Path(__file__).parents[1]

FLAGS = tuple(
    ("--" + earlier.replace("_", "-"), "--" + now.replace("_", "-"))
    for earlier, now in earlier_names.SETTINGS.items()
)
"""The two spellings of a setting; a tree gets the spelling that its help contains."""

METRICS = earlier_names.METRICS
"""The working tree's names of metrics, by their names in the older commit."""

NOT_COMPARED = {"time", "charts/SPS", "charts/memory_gb"}
"""Values of a line of metrics that always differ between two runs."""

QUIET = (
    *("--wandb", "disabled", "--no-video", "--precision", "fp32"),
    *("--eval-episodes", "2", "--final-eval-episodes", "3"),
    *("--anneal-from-steps", "0", "--anneal-steps", "100000"),
)

SMALL = ("--num-envs", "8", "--horizon-steps", "16", "--batch-size", "64")
ROLLOUT = ("--num-envs", "8", "--horizon-steps", "16")
REPLAY = ("--num-envs", "8", "--buffer-size", "4000", "--learning-starts-steps", "256")


@dataclass(frozen=True)
class Case:
    """A short run.

    Attributes:
        settings: settings of the command line, in the spelling of either tree.
        steps: environment steps of the whole run.
        threads: number of threads of the network and the emulator.
        resumed: the run stops half-way, and a second command resumes it.
    """

    algo: str
    env: str
    settings: tuple[str, ...] = ()
    steps: int = 2_048
    threads: int = 1
    resumed: bool = False


CASES = {
    "dqn CartPole": Case("dqn", "CartPole-v1", REPLAY),
    "dqn CartPole, resumed": Case("dqn", "CartPole-v1", REPLAY, resumed=True),
    "dqn Pong": Case("dqn", "Pong", REPLAY, 1_024),
    "dqn Pong, 2 threads": Case("dqn", "Pong", REPLAY, 1_024, 2),
    "dqn Pong, options": Case(
        "dqn",
        "Pong",
        (*REPLAY, "--double", "--dueling", "--priority-exponent", "0.5", "--no-overlap-learning"),
        1_024,
    ),
    "a2c CartPole": Case("a2c", "CartPole-v1", ROLLOUT),
    "a2c Pendulum": Case("a2c", "Pendulum-v1", ROLLOUT),
    "a2c Pong": Case("a2c", "Pong", ROLLOUT, 512),
    "ppo CartPole": Case("ppo", "CartPole-v1", SMALL),
    "ppo CartPole, resumed": Case("ppo", "CartPole-v1", SMALL, resumed=True),
    "ppo Pendulum": Case("ppo", "Pendulum-v1", ("--preset", "continuous", *SMALL)),
    "ppo Pong": Case("ppo", "Pong", SMALL, 512),
    "ppo Pong, 2 threads": Case("ppo", "Pong", SMALL, 512, 2),
    "ppo LSTM": Case("ppo", "toy/Recall-v0", (*SMALL, "--core", "lstm")),
    "ppo LSTM, resumed": Case("ppo", "toy/Recall-v0", (*SMALL, "--core", "lstm"), resumed=True),
    "ppo GRU, 2 groups": Case(
        "ppo", "toy/CartPolePositions-v0", (*SMALL, "--core", "gru", "--env-splits", "2")
    ),
    "reinforce CartPole": Case("reinforce", "CartPole-v1", ROLLOUT),
    "reinforce Pendulum": Case("reinforce", "Pendulum-v1", ROLLOUT),
    "reinforce Pong": Case("reinforce", "Pong", ROLLOUT, 512),
    "bc CartPole": Case("bc", "CartPole-v1", ("--batch-size", "64")),
    "bc CartPole, resumed": Case("bc", "CartPole-v1", ("--batch-size", "64"), resumed=True),
    "bc Pong": Case("bc", "Pong", ("--batch-size", "64", "--fraction", "0.05"), 1_024),
}


@dataclass(frozen=True, kw_only=True)
class Arguments:
    against: str  # An older commit, as git names it.
    only: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()  # Cases; repeat it.


@dataclass(frozen=True)
class Trained:
    """The results of a run that must be the same.

    Attributes:
        weights: a digest of each tensor of the last checkpoint, by name.
        metrics: the lines of metrics, in order, without `NOT_COMPARED`.
        score: the returns of the final evaluation.
    """

    weights: dict[str, str]
    metrics: list[dict[str, float]]
    score: list[float]


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """Yields the tree of a commit of this repository, in a temporary folder.

    Raises:
        UserError: there is no such commit.
    """
    with tempfile.TemporaryDirectory(prefix="same-run-") as folder:
        tree = Path(folder) / "tree"
        git = ("git", "-C", str(TREE), "worktree")
        added = subprocess.run(
            [*git, "add", "--quiet", "--detach", str(tree), commit], capture_output=True, text=True
        )
        if added.returncode:
            raise UserError(f"--against {commit}: {added.stderr.strip().splitlines()[-1]}")
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], capture_output=True)


def require_possible(only: Iterable[str], cases: Collection[str]) -> None:
    """Pass if all named cases are known and an older commit can be checked out."""
    known = ", ".join(cases)
    for name in only:
        require(name in cases, "only", name, f"one of {known}{did_you_mean(name, cases)}")
    if shutil.which("git") is None:
        raise UserError("git is not installed: the older commit cannot be checked out")


def started(tree: Path, algo: str, arguments: list[str], folder: Path) -> str:
    """Runs an algorithm's command line with the code of a tree; returns its standard output.

    Raises:
        UserError: the command failed.
    """
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", f"agents.{algo}", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise UserError(f"{tree}: agents.{algo} {' '.join(arguments)}: {said[-1]}")
    return done.stdout


@cache
def help_of(tree: Path, algo: str) -> str:
    """The help of an algorithm in a tree, with each switch as `--name`."""
    return started(tree, algo, ["--help"], tree).replace("--[no-]", "--")


def spelled(settings: tuple[str, ...], known: str) -> list[str]:
    """The settings in the spelling of the tree with the help `known`."""
    words: list[str] = []
    for word in settings:
        prefix = "--no-" if word.startswith("--no-") else "--"
        flag = "--" + word.removeprefix(prefix)
        names = next((each for each in FLAGS if word.startswith("--") and flag in each), ())
        found = [name for name in names if name in known]
        words.append(prefix + found[0].removeprefix("--") if found else word)
    return words


def train(tree: Path, case: Case, folder: Path) -> Trained:
    """Trains a case with the code of a tree."""
    known = help_of(tree, case.algo)
    half = case.steps // 2
    arguments = [
        *("--env", case.env, "--num-threads", str(case.threads), "--runs-dir", str(folder)),
        *("--total-steps", str(half if case.resumed else case.steps)),
        *("--log-every-steps", str(case.steps // 4), "--eval-every-steps", str(half)),
        *("--checkpoint-every-steps", str(half)),
        *spelled((*QUIET, *case.settings), known),
    ]
    started(tree, case.algo, arguments, folder)
    (run,) = (each for each in folder.iterdir() if (each / "config.json").exists())
    if case.resumed:
        more = ["--resume", str(run), "--total-steps", str(case.steps)]
        started(tree, case.algo, more, folder)
    return what_is_left(run)


def what_is_left(run: Path) -> Trained:
    """Reads the compared results from a run's directory."""
    newest = max((run / "checkpoints").iterdir())
    tensors = safetensors.torch.load_file(newest / "weights.safetensors")
    weights: dict[str, str] = {}
    for name, tensor in tensors.items():
        content = f"{tensor.dtype} {tuple(tensor.shape)}".encode() + tensor.numpy().tobytes()
        weights[name] = hashlib.sha256(content).hexdigest()
    metrics: list[dict[str, float]] = []
    for line in (run / "metrics.jsonl").read_text().splitlines():
        row: dict[str, float] = json.loads(line)
        row = {METRICS.get(name, name): value for name, value in row.items()}
        metrics.append({name: value for name, value in row.items() if name not in NOT_COMPARED})
    score = json.loads((run / "eval.json").read_text())
    return Trained(weights, metrics, score["returns"])


def differences(older: Trained, now: Trained) -> list[str]:
    """Descriptions of the differences of two runs; [] if they are the same."""
    found: list[str] = []
    if sorted(older.weights.values()) != sorted(now.weights.values()):
        other = [name for name, each in now.weights.items() if each not in older.weights.values()]
        found.append(f"{len(other)} of {len(now.weights)} tensors differ ({', '.join(other[:3])})")
    if len(older.metrics) != len(now.metrics):
        found.append(f"{len(now.metrics)} lines of metrics, and {len(older.metrics)} before")
    for before, after in zip(older.metrics, now.metrics, strict=False):
        if before != after:
            names = before.keys() | after.keys()
            other = sorted(name for name in names if before.get(name) != after.get(name))
            found.append(f"metrics differ from step {after['step']} on: {', '.join(other[:4])}")
            break
    if older.score != now.score:
        found.append(f"the final returns are {now.score}, and {older.score} before")
    return found


def compared(older: Path, case: Case) -> list[str]:
    """Trains a case with both trees, at the same time if each has one thread."""
    with tempfile.TemporaryDirectory(prefix="same-run-") as folder:
        places = [Path(folder) / "older", Path(folder) / "now"]
        for place in places:
            place.mkdir()
        with ThreadPoolExecutor(2 if case.threads == 1 else 1) as pool:
            results = list(pool.map(train, (older, TREE), (case, case), places))
    return differences(*results)


def measure(arguments: Arguments) -> dict[str, Any]:
    """Compares all chosen cases and returns their differences."""
    chosen = {name: CASES[name] for name in arguments.only or CASES}
    outcomes: dict[str, list[str]] = {}
    with checked_out(arguments.against) as older:
        for name, case in chosen.items():
            try:
                outcomes[name] = compared(older, case)
            except UserError as error:
                outcomes[name] = [f"not compared: {first_line(error)}"]
            print(f"{name}: {'; '.join(outcomes[name]) or 'the same'}", flush=True)
    return {
        "protocol": __doc__,
        "arguments": dataclasses.asdict(arguments),
        "cases": {name: dataclasses.asdict(case) for name, case in chosen.items()},
        "differences": outcomes,
        "same": sum(not found for found in outcomes.values()),
    }


def show(result: dict[str, Any]) -> None:
    """Prints the differences as a table."""
    table = Table(box=None, pad_edge=False)
    table.add_column("case")
    table.add_column("against " + result["arguments"]["against"])
    for name, found in result["differences"].items():
        table.add_row(name, "; ".join(found) or "the same")
    Console().print(table)
    print(f"{result['same']} of {len(result['cases'])} are the same")


def main(args: list[str] | None = None) -> None:
    with one_line_errors():
        arguments = command_line.parse(
            Arguments, args=args, prog="python -m benchmarks.same_run", description=__doc__
        )
        require_possible(arguments.only, CASES)
        result = measure(arguments)
        show(result)
        print(f"wrote {write_result('same-run', result)}")
        sys.exit(0 if result["same"] == len(result["cases"]) else 1)


if __name__ == "__main__":
    main()
