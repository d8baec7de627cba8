"""What every agent promises, tested on the real command line."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ALGORITHMS, TINY, module_of, read_metrics, run_tiny

from agents.core.launch import algorithms

ENVS = ["CartPole-v1", "Pong", "toy/Catch-v0"]


def test_every_algorithm_is_under_contract() -> None:
    assert algorithms() == sorted({module_of(algo) for algo in ALGORITHMS})


@pytest.mark.parametrize("algo", ALGORITHMS)
@pytest.mark.parametrize("env_id", ENVS)
def test_a_tiny_run_trains_with_finite_metrics(tmp_path: Path, algo: str, env_id: str) -> None:
    run = run_tiny(
        tmp_path, algo, "--env", env_id, "--total-steps", "400", "--log-every-steps", "80"
    )
    rows = read_metrics(run)
    losses = [row["losses/loss"] for row in rows if "losses/loss" in row]
    assert len(losses) >= 3
    values = [v for row in rows for v in row.values()]
    assert all(math.isfinite(v) for v in values)
    assert {"config.json", "metrics.jsonl", "checkpoints"} <= {p.name for p in run.path.iterdir()}
    assert run.config()["config"]["env_id"] == env_id


@pytest.mark.parametrize("algo", ALGORITHMS)
@pytest.mark.parametrize(
    ("env_id", "threads", "samples"),
    [("Pong", 1, 8), ("toy/Catch-v0", 2, 32), ("toy/Catch-v0", 2, 64)],
)
def test_the_same_seed_gives_the_same_parameters_and_another_does_not(
    tmp_path: Path, algo: str, env_id: str, threads: int, samples: int
) -> None:
    """On one thread, on two that share operations, and on two that share the batch."""
    size = ["--batch-size", str(samples)]
    if "--batch-size" not in TINY[algo]:
        size = ["--num-envs", "8", "--horizon-steps", str(samples // 8)]

    def weights(seed: str) -> dict[str, torch.Tensor]:
        shared = ("--num-threads", str(threads), *size)
        args = ("--env", env_id, "--total-steps", "240", "--seed", seed, *shared)
        return run_tiny(tmp_path, algo, *args).weights("last")[0]

    first, second, other = weights("3"), weights("3"), weights("4")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_evaluation_does_not_disturb_training(tmp_path: Path, algo: str) -> None:
    def weights(*args: str) -> dict[str, torch.Tensor]:
        run = run_tiny(tmp_path, algo, "--env", "CartPole-v1", "--total-steps", "800", *args)
        return run.weights("last")[0]

    plain = weights()
    evaluated = weights(
        "--eval-every-steps", "160", "--eval-episodes", "2", "--checkpoint-every-steps", "80"
    )
    assert all(torch.equal(plain[name], evaluated[name]) for name in plain)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_bf16_trains_too(tmp_path: Path, algo: str) -> None:
    run = run_tiny(
        tmp_path, algo, "--env", "CartPole-v1", "--total-steps", "400", "--precision", "bf16"
    )
    weights, _ = run.weights("last")
    assert all(np.isfinite(w.numpy()).all() and w.dtype == torch.float32 for w in weights.values())
