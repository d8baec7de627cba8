"""Helpers that several test files share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from agents.core.launch import train
from agents.core.run import Run

ALGORITHMS = ["dqn"]

TINY = {
    "dqn": ["--batch-size", "8", "--buffer-size", "2000", "--learning-starts-steps", "64"],
}
"""Settings that make a run of each algorithm small."""

QUIET = ["--wandb", "disabled", "--no-video", "--final-eval-episodes", "0", "--num-threads", "1"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def run_tiny(runs_dir: Path, algo: str, *args: str) -> Run:
    """Run the real command line of `algo` in this process, small and quiet; returns its run."""
    before = set(runs_dir.glob("*"))
    command = ["--runs-dir", str(runs_dir), *TINY[algo], *QUIET, "--eval-every-steps", "0", *args]
    assert train(algo, command) == 0
    (path,) = set(runs_dir.glob("*")) - before
    return Run.open(path)


def read_metrics(run: Run) -> list[dict]:
    return [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
