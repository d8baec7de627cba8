"""What every agent promises, tested on the real command line."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import (
    ALGORITHMS,
    BF16,
    CONTINUOUS,
    KINDS,
    TINY,
    each_in_bf16,
    each_kind,
    fast_for_kinds,
    module_of,
    on_each,
    read_metrics,
    run_tiny,
    siblings_are_slow,
    slow_where,
)

from agents import evaluate
from agents.core.data.replay import Replay
from agents.core.training.algorithms import algorithms

ENVS = ["CartPole-v1", "toy/Catch-v0", "Pong"]


@pytest.mark.fast
def test_every_algorithm_is_under_contract() -> None:
    assert algorithms() == sorted({module_of(algo) for algo in [*ALGORITHMS, *CONTINUOUS]})


@pytest.mark.parametrize(("algo", "env_id"), fast_for_kinds(on_each(*ENVS)))
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


@pytest.mark.parametrize(
    ("algo", "env_id", "threads", "samples"),
    # Two threads that share operations spin for each other where cores are busy: one case has them.
    [
        *on_each(("toy/Catch-v0", 2, 64), quick=KINDS),
        ("a2c", "toy/Catch-v0", 2, 32),
        # Whatever the algorithm, a game of Atari is the same input.
        ("dqn", "Pong", 1, 8),
        pytest.param("sqil", "Pong", 1, 8, marks=pytest.mark.slow),
        pytest.param("ppo-lstm", "Pong", 1, 8, marks=pytest.mark.slow),
    ],
)
def test_the_same_seed_gives_the_same_parameters_and_another_does_not(
    tmp_path: Path, algo: str, env_id: str, threads: int, samples: int
) -> None:
    """On one thread, on two that share operations, and on two that share the batch."""
    size = ["--hidden", "32", "--batch-size", str(samples)]
    if "--batch-size" not in TINY[algo]:
        size = ["--hidden", "32", "--num-envs", "8", "--horizon-steps", str(samples // 8)]

    def weights(seed: str) -> dict[str, torch.Tensor]:
        shared = ("--num-threads", str(threads), *size)
        args = ("--env", env_id, "--total-steps", "160", "--seed", seed, *shared)
        return run_tiny(tmp_path, algo, *args).weights("last")[0]

    first, second, other = weights("3"), weights("3"), weights("4")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("variant", each_in_bf16())
def test_in_bf16_the_same_seed_gives_the_same_parameters_and_another_does_not(
    tmp_path: Path, variant: str
) -> None:
    """Evaluations included, on two threads that compute at once."""
    algo, settings = BF16[variant]
    evaluated = ("--eval-every-steps", "160", "--eval-episodes", "2")

    def run_of(seed: str) -> tuple[dict[str, torch.Tensor], list[float]]:
        args = ("--total-steps", "320", "--seed", seed, *settings, *evaluated)
        run = run_tiny(tmp_path, algo, *args)
        scores = [row["eval/return_mean"] for row in read_metrics(run) if "eval/return_mean" in row]
        return run.weights("last")[0], scores

    (first, scores), (second, same_scores), (other, _) = run_of("3"), run_of("3"), run_of("4")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert scores == same_scores
    assert len(scores) == 2
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("algo", each_kind())
def test_evaluation_does_not_disturb_training(tmp_path: Path, algo: str) -> None:
    def weights(*args: str) -> dict[str, torch.Tensor]:
        run = run_tiny(tmp_path, algo, "--env", "CartPole-v1", "--total-steps", "800", *args)
        return run.weights("last")[0]

    plain = weights()
    evaluated = weights(
        "--eval-every-steps", "160", "--eval-episodes", "2", "--checkpoint-every-steps", "80"
    )
    assert all(torch.equal(plain[name], evaluated[name]) for name in plain)


@pytest.mark.parametrize("algo", siblings_are_slow(ALGORITHMS))
def test_the_step_size_falls_in_a_line_and_stays(tmp_path: Path, algo: str) -> None:
    schedule = ("--learning-rate", "0.01..0.002@160..480")
    steps = ("--total-steps", "640", "--log-every-steps", "1")
    run = run_tiny(tmp_path, algo, "--env", "CartPole-v1", *steps, *schedule)
    name = "charts/learning_rate"
    rates = {row["step"]: row[name] for row in read_metrics(run) if name in row}
    round_steps = min(rates)
    assert len(rates) == 640 // round_steps
    # What is logged after a round is the size with which it learned: that of its first step.
    for step, rate in rates.items():
        share = min(max(step - round_steps - 160, 0) / 320, 1.0)
        assert rate == pytest.approx(0.01 * (1 - 0.8 * share))


@pytest.mark.fast
def test_the_rewards_that_dqn_sums_become_fewer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summed: list[int] = []
    monkeypatch.setattr(Replay, "set_n_step", lambda replay, n_step: summed.append(n_step))
    schedule = ("--n-step", "5..1@0..200")
    run_tiny(tmp_path, "dqn", "--env", "toy/Catch-v0", "--total-steps", "320", *schedule)
    steps = range(64, 320, 8)  # It learns before the last of them is observed.
    assert summed == [round(5 - 4 * min(step / 200, 1.0)) for step in steps]


@pytest.mark.parametrize("algo", each_kind())
def test_bf16_trains_too(tmp_path: Path, algo: str) -> None:
    run = run_tiny(
        tmp_path, algo, "--env", "CartPole-v1", "--total-steps", "400", "--precision", "bf16"
    )
    weights, _ = run.weights("last")
    assert all(np.isfinite(w.numpy()).all() and w.dtype == torch.float32 for w in weights.values())


@pytest.mark.parametrize("algo", slow_where(lambda algo: algo != "dqn", ["dqn", "ppo"]))
@pytest.mark.parametrize("torso", ["nature", "data_efficient", "impala", "btr", "mlp"])
def test_every_torso_trains_with_every_kind_of_agent(tmp_path: Path, algo: str, torso: str) -> None:
    parts = ("--torso", torso, "--torso-norm", "layer", "--torso-width", "2", "--hidden", "16")
    steps = ("--total-steps", "128", "--log-every-steps", "64")
    run = run_tiny(tmp_path, algo, "--env", "toy/Catch-v0", *steps, *parts)
    assert any("losses/loss" in row for row in read_metrics(run))


@pytest.mark.parametrize(
    ("algo", "parts"),
    [
        ("c51", ["--target", "hl_gauss", "--munchausen", "0.9", "--noisy"]),
        ("iqn", ["--munchausen", "0.9", "--noisy", "--dueling", "--previous-inputs"]),
        ("qr_dqn", ["--double", "--rescale-values", "--burn-in-steps", "2"]),
    ],
)
def test_every_agent_of_values_has_a_memory_if_asked(
    tmp_path: Path, algo: str, parts: list[str]
) -> None:
    memory = ("--core", "gru", "--sequence-steps", "4", "--hidden", "16", "--n-step", "3")
    steps = ("--total-steps", "160", "--log-every-steps", "80", "--eval-every-steps", "160")
    run = run_tiny(tmp_path, algo, "--env", "toy/Recall-v0", *memory, *parts, *steps)
    rows = read_metrics(run)
    assert any(math.isfinite(row.get("losses/loss", math.nan)) for row in rows)
    assert any("eval/return_mean" in row for row in rows)
    assert any(name.startswith("core.") for name in run.weights("last")[0])


@pytest.mark.parametrize("core", ["lstm", "gru"])
def test_every_core_is_evaluated_as_it_was_trained(tmp_path: Path, core: str) -> None:
    memory = ("--core", core, "--eval-every-steps", "256", "--eval-episodes", "2")
    run = run_tiny(tmp_path, "ppo", "--env", "toy/Recall-v0", "--total-steps", "512", *memory)
    assert any("eval/return_mean" in row for row in read_metrics(run))
    arguments = evaluate.Arguments(run=run.path, episodes=4, video=False)
    assert evaluate.evaluate(arguments).to_json() == evaluate.evaluate(arguments).to_json()


@pytest.mark.parametrize("algo", ["a2c", "ppo", "reinforce"])
def test_continuous_actions_train_and_keep_their_scales(tmp_path: Path, algo: str) -> None:
    scales = ("--normalize-observations", "--normalize-rewards", "--separate-value")
    run = run_tiny(tmp_path, algo, "--env", "Pendulum-v1", "--total-steps", "512", *scales)
    weights, _ = run.weights("last")
    assert weights["normalizer.count"] == 512
    assert (weights["normalizer.variance"] != 1).all()
    evaluate.evaluate(evaluate.Arguments(run=run.path, episodes=2, checkpoint="last", video=False))
    assert run.weights("last")[0]["normalizer.count"] == 512


def test_half_cheetah_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo logs to where it stands.
    for package in ("mujoco", "imageio"):
        pytest.importorskip(package)
    steps = ("--total-steps", "256", "--preset", "continuous")
    run = run_tiny(tmp_path / "runs", "ppo", "--env", "HalfCheetah-v5", *steps)
    assert run.weights("last")[0]["policy_head.log_std"].shape == (6,)
