"""Measures the resident memory of a training after each of its evaluations, with films.

    python -m benchmarks.evaluation_memory --evaluations 50

It trains PPO on CartPole in a separate process, and reads the memory in the metrics from each
evaluation to the next. The first evaluations load libraries, and the first film loads its codec.
The later evaluations must not add memory.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.core.training.config import require
from benchmarks.machine import write_result
from envs import UserError, command_line
from envs.entry import command as one_line_errors
from envs.errors import Failure

SETTLED = 5
"""Number of evaluations after which memory must not grow."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    env: str = "CartPole-v1"  # Environment.
    algo: str = "ppo"  # Algorithm.
    evaluations: int = 50  # Number of evaluations during the training.
    every_steps: int = 8_192  # Environment steps between two evaluations.


def train(arguments: Arguments, folder: Path) -> Path:
    """Trains in a separate process; returns the run's directory."""
    # Half an interval more gives a report of memory after the last evaluation.
    steps = arguments.evaluations * arguments.every_steps + arguments.every_steps // 2
    command = [
        *(sys.executable, "-m", f"agents.{arguments.algo}", "--env", arguments.env),
        *("--total-steps", str(steps), "--eval-every-steps", str(arguments.every_steps)),
        *("--log-every-steps", str(arguments.every_steps // 2), "--runs-dir", str(folder)),
        *("--final-eval-episodes", "0", "--wandb", "disabled"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"the training ended with {done.returncode}: {done.stderr.strip()}")
    (run,) = folder.iterdir()
    return run


def memories(run: Path) -> list[float]:
    """The largest resident memory (MB) between each evaluation and the next, in order."""
    largest: list[float] = []
    for line in (run / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        if "eval/return_mean" in row:
            largest.append(0.0)
        if largest and "charts/memory_gb" in row:
            largest[-1] = max(largest[-1], 1e3 * row["charts/memory_gb"])
    return [each for each in largest if each]


def measure(arguments: Arguments) -> dict[str, Any]:
    """Returns the memory after each evaluation, in MB, and its growth once it has settled."""
    with tempfile.TemporaryDirectory() as folder:
        run = train(arguments, Path(folder))
        films = len(list((run / "videos").glob("*.mp4")))
        after = memories(run)
    if len(after) <= SETTLED:
        raise Failure(
            f"only {len(after)} evaluations were measured, more than {SETTLED} are needed"
        )
    settled = after[SETTLED:]
    return {
        "protocol": __doc__,
        "arguments": dataclasses.asdict(arguments),
        "megabytes": [round(each, 1) for each in after],
        "films": films,
        "first": after[0],
        "settled_least": min(settled),
        "settled_most": max(settled),
        "growth": settled[-1] - settled[0],
    }


def main(args: list[str] | None = None) -> None:
    with one_line_errors():
        arguments = command_line.parse(
            Arguments, args=args, prog="python -m benchmarks.evaluation_memory", description=__doc__
        )
        least = SETTLED + 2
        require(
            arguments.evaluations >= least,
            "evaluations",
            arguments.evaluations,
            f"at least {least}",
        )
        require(arguments.every_steps >= 2, "every_steps", arguments.every_steps, "at least 2")
        result = measure(arguments)
        print(
            f"{len(result['megabytes'])} evaluations: {result['first']:.1f} MB after the first,"
            f" {result['settled_least']:.1f} to {result['settled_most']:.1f} MB from number"
            f" {SETTLED + 1} on, growth {result['growth']:+.1f} MB"
        )
        print(f"wrote {write_result('evaluation-memory', result)}")


if __name__ == "__main__":
    main()
