"""Measures the time, steps and memory that a training run needs to reach a score.

    python -m benchmarks.time_to_score --env Pong --target 18 --seed 1 -- --total-steps 500000
    python -m benchmarks.time_to_score --algo ppo --env CartPole-v1 --target 475
    python -m benchmarks.time_to_score --resume runs/<folder>/<run>     # a stopped run

The options after `--` go to the algorithm's own command line.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import psutil
import tyro
from rich.console import Console
from rich.table import Table

from agents.core.runs.run import Run
from agents.core.training.algorithms import algorithm
from agents.core.training.config import require
from benchmarks.machine import write_result
from envs import UserError, command_line
from envs.entry import command as one_line_errors

GAMES = 20
"""A training return is the mean of so many games; with several processes, of the first one's."""

CURVE_POINTS = 200
"""Largest number of points of the training curve in a result."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    env_id: Annotated[str, tyro.conf.arg(name="env")] = "Pong"  # Environment.
    target: float = 18.0  # Return to reach.
    seed: int = 1  # Seed of the run.
    algo: str = "dqn"  # Algorithm.
    processes: int = 1  # Processes that train together, started by torchrun.
    runs_dir: Path = Path("runs")  # Directory in which the run's directory is made.
    resume: Path | None = None  # A run to resume; of the other settings, only the target counts.


def peak_memory(process: subprocess.Popen[bytes], every_seconds: float = 0.5) -> int:
    """Waits for a process; returns the largest resident set of it and its children, in bytes.

    A shared page counts once for each process.
    """
    tree = psutil.Process(process.pid)
    peak = 0
    while process.poll() is None:
        with suppress(psutil.Error):
            resident = 0
            for member in [tree, *tree.children(recursive=True)]:
                with suppress(psutil.Error):
                    resident += member.memory_info().rss
            peak = max(peak, resident)
        time.sleep(every_seconds)
    return peak


def collect(run: Run, target: float) -> dict[str, Any]:
    """Returns curves of [step, minutes, return, ...], the time of the target, and the score."""
    training: list[list[float]] = []
    evaluation: list[list[float | None]] = []
    for line in run.metrics_path.read_text().splitlines():
        metrics = json.loads(line)
        at = [metrics["step"], round(metrics["time"] / 60, 3)]
        if "charts/episodic_return_20" in metrics:
            training.append([*at, metrics["charts/episodic_return_20"]])
        if "eval/return_mean" in metrics:
            evaluation.append([*at, metrics["eval/return_mean"], metrics.get("eval/return_ci95")])
    # The first means are over fewer games.
    full = training[GAMES - 1 :]
    score = run.path / "eval.json"
    return {
        "config": run.config()["config"],
        "training_curve": full[:: max(1, len(full) // CURVE_POINTS)],
        "evaluation_curve": evaluation,
        "target": target,
        "reached_in_training": first(full, target),
        "reached_in_evaluation": first(evaluation, target),
        "score": json.loads(score.read_bytes()) if score.exists() else None,
    }


def first(curve: list[Any], target: float) -> dict[str, float] | None:
    """The first point of a curve at or above the target."""
    for step, minutes, value, *_ in curve:
        if value >= target:
            return {"step": step, "minutes": minutes, "return": value}
    return None


def measure(arguments: Arguments, passed_on: list[str]) -> dict[str, Any]:
    """Trains to the end and collects the result; raises a UserError if the run failed.

    Minutes include the training before a resume. Memory and the process's seconds do not.
    """
    algorithm(arguments.algo)
    require(arguments.processes >= 1, "processes", arguments.processes, "at least 1")
    command = [sys.executable, "-m"]
    if arguments.processes > 1:
        command += ["torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", str(arguments.processes), "-m"]
    if arguments.resume is not None:
        folder = arguments.resume.parent
        algo = Run.open(arguments.resume).algo
        command += [f"agents.{algo}", "--resume", str(arguments.resume)]
    else:
        arguments.runs_dir.mkdir(parents=True, exist_ok=True)
        # A separate directory distinguishes this run from others that start at the same moment.
        folder = Path(tempfile.mkdtemp(prefix="time-to-score-", dir=arguments.runs_dir))
        command += [f"agents.{arguments.algo}", "--env", arguments.env_id]
        command += ["--seed", str(arguments.seed), "--wandb", "disabled", "--runs-dir", str(folder)]
    start = time.perf_counter()
    with subprocess.Popen([*command, *passed_on]) as process:
        peak = peak_memory(process)
    seconds = time.perf_counter() - start
    if process.returncode != 0:
        raise UserError(f"{' '.join([*command, *passed_on])} ended with {process.returncode}")
    run = Run.open(arguments.resume or next(folder.glob("*/config.json")).parent)
    return {
        "run": str(run.path),
        "resumed": arguments.resume is not None,
        "processes": arguments.processes,
        "minutes_from_start_to_exit": round(seconds / 60, 3),
        "peak_memory_bytes": peak,
        **collect(run, arguments.target),
    }


def show(result: dict[str, Any]) -> None:
    """Prints the evaluations as a table, and the figures below it."""
    table = Table("step", "minutes", "evaluation", "± 95%", box=None)
    for step, minutes, mean, ci95 in result["evaluation_curve"]:
        interval = "" if ci95 is None else f"{ci95:.2f}"
        table.add_row(f"{step:,}", f"{minutes:.1f}", f"{mean:.2f}", interval)
    console = Console()
    console.print(table)
    for kind in ("training", "evaluation"):
        at = result[f"reached_in_{kind}"]
        when = f"at {at['minutes']:.1f} minutes, step {at['step']:,}" if at else "not reached"
        console.print(f"{result['target']:g} in {kind}: {when}")
    if result["score"]:
        console.print(f"score: {result['score']['eval/return_mean']:.2f}")
    console.print(f"peak memory: {result['peak_memory_bytes'] / 1e9:.2f} GB")


def main(args: list[str] | None = None) -> None:
    args = sys.argv[1:] if args is None else args
    split = args.index("--") if "--" in args else len(args)
    with one_line_errors():
        arguments = command_line.parse(
            Arguments,
            args=args[:split],
            prog="python -m benchmarks.time_to_score",
            description=__doc__,
        )
        result = measure(arguments, args[split + 1 :])
        show(result)
        of = result["config"]
        game = of["env_id"].replace("/", "-")
        name = f"time-to-score-{Run.open(Path(result['run'])).algo}-{game}-{of['seed']}"
        print(f"wrote {write_result(name, result)}")


if __name__ == "__main__":
    main()
