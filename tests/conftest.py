"""Helpers that several test files share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from agents.core.launch import train
from agents.core.run import Run

# Without --anneal-steps the learning rate would depend on how far a run is meant to go.
ROLLOUT = ["--num-envs", "8", "--horizon-steps", "8", "--anneal-steps", "100000"]

TINY = {
    "a2c": ROLLOUT,
    "dqn": ["--batch-size", "8", "--buffer-size", "2000", "--learning-starts-steps", "64"],
    "ppo": [*ROLLOUT, "--batch-size", "32"],
    "ppo-lstm": [
        *(*ROLLOUT, "--batch-size", "32", "--core", "lstm", "--sequence-steps", "4"),
        *("--num-groups", "2", "--hidden", "32", "--separate-value"),
    ],
    "reinforce": ROLLOUT,
}
"""Settings that make a run of each algorithm small; what follows a dash names a variant."""

ALGORITHMS = sorted(TINY)


def module_of(algo: str) -> str:
    """The algorithm's module name for an entry of `ALGORITHMS`."""
    return algo.partition("-")[0]


QUIET = ["--wandb", "disabled", "--no-video", "--final-eval-episodes", "0", "--num-threads", "1"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def run_tiny(runs_dir: Path, algo: str, *args: str) -> Run:
    """Run the real command line of `algo` in this process, small and quiet; returns its run."""
    before = set(runs_dir.glob("*"))
    command = ["--runs-dir", str(runs_dir), *TINY[algo], *QUIET, "--eval-every-steps", "0", *args]
    assert train(module_of(algo), command) == 0
    (path,) = set(runs_dir.glob("*")) - before
    return Run.open(path)


def read_metrics(run: Run) -> list[dict]:
    return [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
