"""Measures how good a clone is after more or fewer demonstrations: clones several fractions.

    python -m benchmarks.cloning --env Pong -- --num-threads 1

A fifth of the dataset's episodes is held out. The options after `--` go to `agents.bc`.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from agents.core.runs.run import Run
from agents.core.training.launch import train
from benchmarks.machine import write_result
from demos import Dataset
from demos.shipped import find
from envs import command_line, spec
from envs.entry import command as one_line_errors

COLUMNS = ("fraction", "seed", "steps", "agreement", "return", "ci95", "of_demonstrator", "minutes")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    env_id: Annotated[str, tyro.conf.arg(name="env")] = "Pong"  # Environment.
    demos: str = "auto"  # Dataset.
    fractions: tuple[float, ...] = (0.05, 0.25, 1.0)  # Shares of the training episodes.
    seeds: tuple[int, ...] = (1, 2)  # Seeds of the clones.


def clone(arguments: Arguments, fraction: float, seed: int, passed_on: list[str]) -> dict[str, Any]:
    """Trains one clone and scores it over whole games."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        command = ["--env", arguments.env_id, "--demos", arguments.demos, "--seed", str(seed)]
        command += ["--fraction", str(fraction), "--runs-dir", folder, "--wandb", "disabled"]
        train("bc", [*command, "--no-video", "--eval-every-steps", "0", *passed_on])
        run = Run.open(next(Path(folder).iterdir()))
        score = json.loads((run.path / "eval.json").read_bytes())
        rows = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
        config = run.config()["config"]
    agreements = [row["validation/agreement"] for row in rows if "validation/agreement" in row]
    return {
        "fraction": fraction,
        "seed": seed,
        "steps": score["checkpoint_step"],
        "agreement": agreements[-1] if agreements else None,
        "return": score["eval/return_mean"],
        "ci95": score.get("eval/return_ci95"),
        "of_demonstrator": score.get("eval/of_demonstrator"),
        "minutes": (time.perf_counter() - start) / 60,
        "returns": score["returns"],
        "config": config,
    }


def main(args: list[str] | None = None) -> None:
    given = sys.argv[1:] if args is None else args
    split = given.index("--") if "--" in given else len(given)
    with one_line_errors():
        prog = "python -m benchmarks.cloning"
        arguments = command_line.parse(
            Arguments, args=given[:split], prog=prog, description=__doc__
        )
        dataset = Dataset.open(find(arguments.demos, spec(arguments.env_id)))
        scores = [episode.score for episode in dataset.episodes()]
        clones = [
            clone(arguments, fraction, seed, given[split + 1 :])
            for fraction in arguments.fractions
            for seed in arguments.seeds
        ]
        table = Table(*COLUMNS, box=None)
        for each in clones:
            cells = (each[name] for name in COLUMNS)
            table.add_row(*(f"{c:.3g}" if isinstance(c, float) else str(c) for c in cells))
        Console().print(table)
        about = {"dataset": str(dataset.path), "demonstrator_returns": scores}
        result = {**about, "references": dataset.metadata.reference_scores, "clones": clones}
        print(f"wrote {write_result(f'cloning-{arguments.env_id}', result)}")


if __name__ == "__main__":
    main()
