"""Agents learn: returns over full episodes, against what the task allows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import run_tiny

from agents import evaluate
from agents.core.run import Run


def score(run: Run, episodes: int = 20) -> float:
    """The greedy policy's mean return."""
    arguments = evaluate.Arguments(
        run=run.path, episodes=episodes, checkpoint="last", video=False, epsilon=0.0
    )
    return evaluate.evaluate(arguments).mean


def learn(tmp_path: Path, env_id: str, steps: int, *args: str) -> float:
    run = run_tiny(tmp_path, "dqn", "--env", env_id, "--total-steps", str(steps), *args)
    return score(run)


SMALL = ("--epsilon-decay-steps", "2000", "--batch-size", "32", "--target-every-updates", "100")


def test_dqn_learns_the_identity(tmp_path: Path) -> None:
    assert learn(tmp_path, "toy/Identity-v0", 4_000, *SMALL) >= 9.8


def test_dqn_takes_the_better_end_of_the_chain(tmp_path: Path) -> None:
    assert learn(tmp_path, "toy/Chain-v0", 6_000, *SMALL) >= 0.99


def test_dqn_catches_from_pixels(tmp_path: Path) -> None:
    assert learn(tmp_path, "toy/Catch-v0", 12_000, *SMALL) >= 0.9


def test_without_learning_the_tasks_are_not_solved(tmp_path: Path) -> None:
    """The thresholds above mean something: an untrained network is below them."""
    untrained = ("--learning-rate", "1e-12", *SMALL)
    scores = [learn(tmp_path, f"toy/{name}-v0", 400, *untrained) for name in ("Identity", "Catch")]
    assert scores[0] < 9
    assert scores[1] < 0.5


@pytest.mark.slow
def test_dqn_solves_cartpole_by_default(tmp_path: Path) -> None:
    run_args = ["--env", "CartPole-v1"]
    from agents.core.launch import train

    means = []
    for seed in ("1", "2"):
        runs = tmp_path / seed
        quiet = ["--wandb", "disabled", "--no-video"]
        assert train("dqn", [*run_args, "--seed", seed, "--runs-dir", str(runs), *quiet]) == 0
        (path,) = runs.glob("*")
        means.append(score(Run.open(path)))
    assert np.min(means) >= 475
