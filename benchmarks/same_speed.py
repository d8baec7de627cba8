"""How fast the working tree trains, beside an older commit.

    python -m benchmarks.same_speed --against e3c962a

The older commit is checked out beside the working tree. Both train the same runs, in pairs: older,
now, now, older, and so on. A run's speed is its steps a second between its first line of metrics
and its last, so start-up and the first steps do not count. The ratio of a pair is the working
tree's speed over the older commit's. The median of the ratios has a 95% bootstrap interval. The
table also has the ratio of the processor seconds of whole processes, which other work on the
machine changes less.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import scipy.stats
import tyro
from rich.console import Console
from rich.table import Table

from agents.core.training.config import require
from benchmarks.machine import write_result
from benchmarks.same_run import TREE, checked_out, help_of, require_possible, spelled, started
from envs import command_line
from envs.entry import command as one_line_errors

THREADS = 2


@dataclass(frozen=True)
class Case:
    """A run whose speed is measured.

    Attributes:
        steps: environment steps, or a cloning's updates, of the whole run.
        settings: of the command line, as the working tree or the older commit spells them.
    """

    algo: str
    env: str
    steps: int
    settings: tuple[str, ...] = ()


CASES = {
    "dqn Pong": Case("dqn", "Pong", 16_384, ("--learning-starts-steps", "1024")),
    "ppo Pong": Case("ppo", "Pong", 16_384),
    "bc Pong": Case("bc", "Pong", 2_000, ("--fraction", "0.05")),
    "dqn CartPole": Case("dqn", "CartPole-v1", 16_384, ("--learning-starts-steps", "1024")),
    "ppo CartPole": Case("ppo", "CartPole-v1", 65_536),
}

QUIET = (
    *("--wandb", "disabled", "--no-video", "--precision", "fp32"),
    *("--num-threads", str(THREADS), "--eval-every-steps", "0", "--final-eval-episodes", "1"),
)


@dataclass(frozen=True, kw_only=True)
class Arguments:
    against: str  # An older commit, as git names it.
    only: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()  # Cases; repeat it.
    pairs: int = 6  # Pairs of runs of each case.


@dataclass(frozen=True)
class Pace:
    """A run's steps a second, and the processor seconds of its process."""

    steps_per_second: float
    cpu_seconds: float


def train(tree: Path, case: Case) -> Pace:
    """The speed of one run with the code of a tree.

    Raises:
        UserError: it failed.
    """
    with tempfile.TemporaryDirectory(prefix="same-speed-") as name:
        folder = Path(name)
        known = help_of(tree, case.algo)
        arguments = [
            *("--env", case.env, "--runs-dir", str(folder), "--total-steps", str(case.steps)),
            *("--log-every-steps", str(case.steps // 8)),
            *spelled((*QUIET, *case.settings), known),
        ]
        before = children_cpu_seconds()
        started(tree, case.algo, arguments, folder)
        after = children_cpu_seconds()
        (file,) = folder.glob("*/metrics.jsonl")
        return Pace(steps_per_second(file), after - before)


def children_cpu_seconds() -> float:
    """The processor seconds of all ended child processes; always 0 on Windows."""
    times = os.times()
    return times.children_user + times.children_system


def steps_per_second(file: Path) -> float:
    """Steps a second between the first and the last line with a speed."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    logged = [line for line in lines if "charts/SPS" in line]
    first = logged[0]
    last = logged[-1]
    return (last["step"] - first["step"]) / (last["time"] - first["time"])


def in_pairs(older: Path, case: Case, pairs: int) -> list[dict[str, Any]]:
    """The speeds of both trees; which one begins changes from pair to pair."""
    found: list[dict[str, Any]] = []
    for number in range(pairs):
        order = [("older", older), ("now", TREE)]
        if number % 2:
            order.reverse()
        paces = {name: train(tree, case) for name, tree in order}
        found.append({name: dataclasses.asdict(pace) for name, pace in paces.items()})
    return found


def summary(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    """The ratios of each pair, their median, and its 95% bootstrap interval."""
    ratios = [each["now"]["steps_per_second"] / each["older"]["steps_per_second"] for each in pairs]
    cpu = [each["older"]["cpu_seconds"] / each["now"]["cpu_seconds"] for each in pairs]
    drawn = scipy.stats.bootstrap((ratios,), np.median, rng=np.random.default_rng(0))
    return {
        "ratios": ratios,
        "median": float(np.median(ratios)),
        "interval": [float(each) for each in drawn.confidence_interval],
        "cpu_median": float(np.median(cpu)),
    }


def measure(arguments: Arguments) -> dict[str, Any]:
    chosen = {name: CASES[name] for name in arguments.only or CASES}
    pairs: dict[str, list[dict[str, Any]]] = {}
    with checked_out(arguments.against) as older:
        for name, case in chosen.items():
            pairs[name] = in_pairs(older, case, arguments.pairs)
            found = summary(pairs[name])
            print(f"{name}: {found['median']:.3f} of the older speed", flush=True)
    return {
        "protocol": __doc__,
        "arguments": dataclasses.asdict(arguments),
        "cases": {name: dataclasses.asdict(case) for name, case in chosen.items()},
        "pairs": pairs,
        "summary": {name: summary(each) for name, each in pairs.items()},
    }


def show(result: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("case", "older steps/s", "now steps/s", "ratio", "95%", "CPU ratio"):
        table.add_column(name, justify="left" if name == "case" else "right")
    for name, pairs in result["pairs"].items():
        found = result["summary"][name]
        speeds = [
            np.median([each[tree]["steps_per_second"] for each in pairs])
            for tree in ("older", "now")
        ]
        low, high = found["interval"]
        table.add_row(
            name,
            *(f"{each:,.0f}" for each in speeds),
            f"{found['median']:.3f}",
            f"{low:.3f} to {high:.3f}",
            f"{found['cpu_median']:.3f}",
        )
    Console().print(table)


def main(args: list[str] | None = None) -> None:
    with one_line_errors():
        arguments = command_line.parse(
            Arguments, args=args, prog="python -m benchmarks.same_speed", description=__doc__
        )
        require(arguments.pairs >= 2, "pairs", arguments.pairs, "at least 2")
        require_possible(arguments.only, CASES)
        result = measure(arguments)
        show(result)
        print(f"wrote {write_result('same-speed', result)}")


if __name__ == "__main__":
    main()
