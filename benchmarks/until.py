"""Trains a run to a step of its length, and scores its best weights there.

    python -m benchmarks.until --algo dqn --folder runs/x --step 250000 -- --env Pong --seed 1

The options after `--` go to the algorithm's own command line. The run keeps its full length, so its
schedules do not change, and a later call with a larger step goes on from its checkpoint. A signal
stops the training with a checkpoint, from which the same command goes on. The score is the mean
return of whole games that did not choose the weights; it is written to `<folder>/at-<step>.json`.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.core.runs.run import Run
from agents.core.system.device import tune_process
from agents.core.training import arguments as command_lines
from agents.core.training import config, launch
from agents.core.training.algorithms import algorithm
from agents.core.training.callbacks import Callback, Callbacks, Training
from agents.core.training.config import flag, require
from agents.core.types.settings import names
from agents.evaluate import Arguments as Scoring
from agents.evaluate import score
from benchmarks.machine import compact_json
from envs import UserError, command_line
from envs.entry import command as one_line_errors
from envs.errors import Failure
from envs.files import write_atomically


@dataclass(frozen=True, kw_only=True)
class Arguments:
    algo: str  # Algorithm.
    folder: Path  # Folder of this run alone.
    step: int  # The training stops after the first round that reaches this step.
    games: int = 30  # Whole games of the score.
    threads: int = 1  # CPU threads of the score's games.


class Until(Callback):
    """Ends a training at a step, with a checkpoint."""

    def __init__(self, step: int):
        self.step = step

    def on_step(self, training: Training) -> bool:
        return training.step >= self.step


def result_file(folder: Path, step: int) -> Path:
    """The file with the score of the run in a folder at a step."""
    return folder / f"at-{step}.json"


def run_in(folder: Path) -> Run | None:
    """The run in a folder; earlier runs there were killed before their first checkpoint."""
    found = sorted(folder.glob("*/checkpoints/[0-9]*"))
    return Run.open(found[-1].parents[1]) if found else None


def records(run: Run) -> Iterator[dict[str, Any]]:
    """The lines of a run's metrics."""
    if run.metrics_path.exists():
        for line in run.metrics_path.read_text().splitlines():
            yield json.loads(line)


def evaluated(run: Run, step: int) -> bool:
    """Whether a run has an evaluation at a step or later."""
    return any(each["step"] >= step and "eval/return_mean" in each for each in records(run))


def require_same_settings(algo: str, run: Run, words: list[str]) -> None:
    """Raises a UserError if a run has other settings than a command line now gives.

    A preset may have changed since the run.
    """
    module = algorithm(algo)
    asked = command_lines.parse(module, words).config
    saved = config.of_run(module.Config, run)
    for name in names(module.Config):
        had, wanted = getattr(saved, name), getattr(asked, name)
        if name != "runs_dir" and had != wanted:
            raise UserError(
                f"{run.path} has {flag(name)} {had}, and now it is {wanted}: remove the folder"
            )


def train(arguments: Arguments, settings: list[str]) -> Run:
    """Trains to the step, from the newest checkpoint; exits with 128 + n after signal n."""
    run = run_in(arguments.folder)
    words = ["--runs-dir", str(arguments.folder), "--final-eval-episodes", "0", *settings]
    if run is not None:
        require_same_settings(arguments.algo, run, words)
        # A checkpoint comes before its evaluation, so the step of a checkpoint would not do.
        if evaluated(run, arguments.step):
            return run
        words = ["--resume", str(run.path)]
    trained = launch.train_run(arguments.algo, words, Callbacks((Until(arguments.step),)))
    if trained.code:
        sys.exit(trained.code)
    assert trained.run is not None
    if not evaluated(trained.run, arguments.step):
        raise Failure(f"{trained.run.path}: --eval-every-steps must divide {arguments.step:,}")
    return trained.run


def collect(run: Run) -> dict[str, Any]:
    """The steps, the minutes with evaluations, the speed without them, and the evaluations."""
    curve: list[list[float]] = []
    speeds: list[float] = []
    last = {"step": 0, "time": 0.0}
    for record in records(run):
        last = record
        if "charts/SPS" in record:
            speeds.append(record["charts/SPS"])
        if "eval/return_mean" in record:
            minutes = round(record["time"] / 60, 3)
            curve.append([record["step"], minutes, record["eval/return_mean"]])
    return {
        "step": last["step"],
        "minutes": round(last["time"] / 60, 3),
        "steps_per_second": round(statistics.median(speeds), 1) if speeds else None,
        "curve": curve,
    }


def measure(arguments: Arguments, settings: list[str]) -> dict[str, Any]:
    """Trains to the step and scores the run."""
    resumed = run_in(arguments.folder) is not None
    before = os.times()
    run = train(arguments, settings)
    after = os.times()
    cpu_seconds = after.user + after.system - before.user - before.system
    scored = score(Scoring(run=run.path, episodes=arguments.games, num_threads=arguments.threads))
    return {
        "score": scored.mean,
        "ci95": scored.ci95,
        "returns": list(scored.returns),
        "best_step": scored.step,
        "protocol": scored.spec.protocol,
        "exploration": {scored.explores_by: scored.exploration},
        # A resumed training is in several processes, of which only the last one is known.
        "cpu_minutes": None if resumed else round(cpu_seconds / 60, 3),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        **collect(run),
    }


def main(args: list[str] | None = None) -> None:
    args = sys.argv[1:] if args is None else args
    split = args.index("--") if "--" in args else len(args)
    with one_line_errors():
        arguments = command_line.parse(
            Arguments, args=args[:split], prog="python -m benchmarks.until", description=__doc__
        )
        algorithm(arguments.algo)
        require(arguments.step >= 1, "step", arguments.step, "at least 1")
        require(arguments.games >= 2, "games", arguments.games, "at least 2")
        if "--resume" in args[split + 1 :]:
            raise UserError("--resume: the folder's own run is resumed")
        tune_process()
        found = measure(arguments, args[split + 1 :])
        file = result_file(arguments.folder, arguments.step)
        write_atomically(file, (compact_json(found) + "\n").encode())
        print(f"{found['score']:.2f} ± {found['ci95']:.2f} after {found['step']:,} steps: {file}")


if __name__ == "__main__":
    main()
