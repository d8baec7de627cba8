"""Agents learn: returns over full episodes, against what the task allows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import module_of, run_tiny

from agents import evaluate
from agents.core.runs.run import Run
from agents.core.training.launch import train

DQN = ("--epsilon", "1..0.01@0..2000", "--batch-size", "32", "--target-every-updates", "100",
    "--learning-rate", "3e-4..3e-5", "--n-step", "3")  # fmt: skip
PQN = ("--epsilon", "1..0.01@0..4000", "--horizon-steps", "16", "--sequence-steps", "16",
    "--learning-rate", "2e-3", "--hidden", "64")  # fmt: skip
SAC = ("--batch-size", "64", "--samples-per-step", "32", "--learning-rate", "3e-3", "--hidden",
    "64", "--gamma", "0.5", "--target-share", "0.05", "--alpha", "0.1",
    "--entropy-share", "0.1")  # fmt: skip
TD3 = ("--batch-size", "64", "--samples-per-step", "32", "--learning-rate", "3e-3", "--hidden",
    "64", "--gamma", "0.5", "--target-share", "0.05")  # fmt: skip
STEP = ("--horizon-steps", "16", "--learning-rate", "5e-3", "--hidden", "64")


def score(run: Run, episodes: int = 20) -> float:
    """The mean return of the last weights, without exploration."""
    arguments = evaluate.Arguments(
        run=run.path, episodes=episodes, checkpoint="last", video=False, exploration=0.0
    )
    return evaluate.evaluate(arguments).mean


def learn(tmp_path: Path, algo: str, env_id: str, steps: int, *args: str) -> float:
    return score(run_tiny(tmp_path, algo, "--env", env_id, "--total-steps", str(steps), *args))


CATCH = (*DQN, "--hidden", "64")
ATOMS = ("--v-min", "-2", "--v-max", "2")
RECALL = ("--epsilon", "1..0.02@0..3000", "--gamma", "0.99", "--n-step", "5", "--hidden", "32",
    "--learning-rate", "3e-3..1e-3", "--batch-size", "256", "--samples-per-step", "16",
    "--priority-exponent", "0", "--target-every-updates", "50", "--buffer-size", "8000",
    "--learning-starts-steps", "512")  # fmt: skip
LSTM = (*RECALL, "--core", "lstm", "--sequence-steps", "16")
GRU = (*RECALL, "--core", "gru", "--sequence-steps", "16", "--burn-in-steps", "4")

LEARNS = [
    ("dqn", "toy/Identity-v0", 4_000, DQN, 9.8),
    pytest.param("dqn", "toy/Chain-v0", 6_000, DQN, 0.99, marks=pytest.mark.slow),
    ("dqn", "toy/Catch-v0", 8_000, (*DQN, "--hidden", "64"), 0.9),
    pytest.param("dqn", "toy/Catch-v0", 8_000, (*CATCH, "--traces", "retrace", "--n-step", "1",
        "--sequence-steps", "8", "--batch-size", "64", "--samples-per-step", "4"), 0.9,
        marks=pytest.mark.slow),
    ("dqn", "toy/Recall-v0", 7_000, LSTM, 0.95),
    pytest.param("dqn", "toy/Recall-v0", 15_000, (*GRU, "--rescale-values"), 0.95,
        marks=pytest.mark.slow),
    pytest.param("iqn", "toy/Recall-v0", 20_000, LSTM, 0.95, marks=pytest.mark.slow),
    ("pqn", "toy/Identity-v0", 8_000, PQN, 9.8),
    pytest.param("pqn", "toy/Catch-v0", 10_000, PQN, 0.9, marks=pytest.mark.slow),
    pytest.param("pqn-lstm", "toy/Recall-v0", 24_000, PQN, 0.95, marks=pytest.mark.slow),
    ("qr_dqn", "toy/Identity-v0", 4_000, DQN, 9.8),
    pytest.param("qr_dqn", "toy/Catch-v0", 8_000, CATCH, 0.9, marks=pytest.mark.slow),
    ("c51", "toy/Identity-v0", 4_000, (*DQN, "--v-min", "-10", "--v-max", "10"), 9.8),
    pytest.param("c51", "toy/Catch-v0", 8_000, (*CATCH, *ATOMS), 0.9, marks=pytest.mark.slow),
    pytest.param("c51", "toy/Catch-v0", 8_000, (*CATCH, *ATOMS, "--target", "hl_gauss",
        "--munchausen", "0.9"), 0.9, marks=pytest.mark.slow),
    ("iqn", "toy/Identity-v0", 4_000, DQN, 9.8),
    pytest.param("iqn", "toy/Catch-v0", 8_000, CATCH, 0.9, marks=pytest.mark.slow),
    pytest.param("iqn", "toy/Catch-v0", 8_000, (*DQN, "--hidden", "64", "--noisy", "--dueling",
        "--munchausen", "0.9"), 0.9, marks=pytest.mark.slow),
    pytest.param("dqn", "toy/Catch-v0", 8_000, (*DQN, "--hidden", "64", "--munchausen", "0.9"),
        0.9, marks=pytest.mark.slow),
    ("sac", "toy/Target-v0", 1_200, SAC, 9.0),
    pytest.param("sac", "toy/Identity-v0", 2_500, SAC, 9.8, marks=pytest.mark.slow),
    pytest.param("sac", "toy/Pair-v0", 4_000, SAC, 9.0, marks=pytest.mark.slow),
    ("td3", "toy/Target-v0", 1_200, TD3, 9.0),
    ("reinforce", "toy/Identity-v0", 20_000, STEP, 9.8),
    ("a2c", "toy/Identity-v0", 12_000, STEP, 9.8),
    ("ppo", "toy/Identity-v0", 8_000, STEP, 9.8),
    pytest.param("ppo", "toy/Chain-v0", 12_000, STEP, 0.99, marks=pytest.mark.slow),
    ("ppo", "toy/Target-v0", 16_000, (*STEP, "--gamma", "0.5"), 9.0),
    pytest.param("ppo", "toy/Pair-v0", 20_000, ("--horizon-steps", "32", "--learning-rate", "4e-3",
        "--batch-size", "64", "--hidden", "64"), 9.0, marks=pytest.mark.slow),
    pytest.param("ppo", "toy/Catch-v0", 16_000, ("--horizon-steps", "32", "--learning-rate",
        "2e-3", "--batch-size", "64"), 0.9, marks=pytest.mark.slow),
    pytest.param("ppo-lstm", "toy/Recall-v0", 24_000, ("--horizon-steps", "64", "--sequence-steps",
        "16", "--batch-size", "128", "--learning-rate", "3e-3", "--epochs", "6", "--hidden", "64"),
        0.95, marks=pytest.mark.slow),
]  # fmt: skip


@pytest.mark.parametrize("seed", ["1", pytest.param("2", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("algo", "env_id", "steps", "args", "least"), LEARNS)
def test_it_learns(
    tmp_path: Path,
    algo: str,
    env_id: str,
    steps: int,
    args: tuple[str, ...],
    least: float,
    seed: str,
) -> None:
    assert learn(tmp_path, algo, env_id, steps, "--seed", seed, *args) >= least


UNTRAINED = [
    ("dqn", "toy/Identity-v0", 9.0),
    ("dqn", "toy/Catch-v0", 0.5),
    ("ppo", "toy/Identity-v0", 9.0),
    ("ppo", "toy/Pair-v0", 8.0),
    ("ppo", "toy/Target-v0", 8.0),
]


@pytest.mark.parametrize(("algo", "env_id", "below"), UNTRAINED)
def test_without_learning_the_task_is_not_solved(
    tmp_path: Path, algo: str, env_id: str, below: float
) -> None:
    """The thresholds above mean something: an untrained network is below them."""
    args = DQN if algo == "dqn" else ()
    assert learn(tmp_path, algo, env_id, 400, *args, "--learning-rate", "1e-12") < below


@pytest.mark.parametrize(("algo", "args"), [("ppo", STEP), ("dqn", RECALL)])
def test_without_memory_what_is_gone_cannot_be_recalled(
    tmp_path: Path, algo: str, args: tuple[str, ...]
) -> None:
    assert learn(tmp_path, algo, "toy/Recall-v0", 7_000, *args) <= 0.7


POSITIONS = ("--core", "lstm", "--sequence-steps", "16", "--burn-in-steps", "8", "--batch-size",
    "256", "--samples-per-step", "16", "--hidden", "64")  # fmt: skip

CONTROL = [
    ("dqn", "CartPole-v1", (), 475),
    ("pqn", "CartPole-v1", (), 475),
    ("qr_dqn", "CartPole-v1", (), 475),
    ("c51", "CartPole-v1", (), 475),
    ("iqn", "CartPole-v1", (), 475),
    ("reinforce", "CartPole-v1", (), 475),
    ("a2c", "CartPole-v1", (), 475),
    ("ppo", "CartPole-v1", (), 475),
    ("ppo", "Pendulum-v1", ("--preset", "continuous", "--gamma", "0.9", "--total-steps", "200000"),
        -250),
    ("ppo", "toy/CartPolePositions-v0", ("--core", "lstm"), 475),
    ("dqn", "toy/CartPolePositions-v0", POSITIONS, 475),
    ("iqn", "toy/CartPolePositions-v0", POSITIONS, 475),
    ("sac", "CartPole-v1", (), 475),
    ("sac", "Pendulum-v1", ("--preset", "continuous"), -250),
    ("td3", "Pendulum-v1", (), -250),
    ("dqfd", "CartPole-v1", (), 475),
    ("sqil", "CartPole-v1", (), 475),
    ("iq_learn", "CartPole-v1", (), 475),
    ("gail", "CartPole-v1", (), 475),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seed", ["1", "2"])
@pytest.mark.parametrize(("algo", "env_id", "args", "least"), CONTROL)
def test_it_solves_control_tasks(
    tmp_path: Path, algo: str, env_id: str, args: tuple[str, ...], least: float, seed: str
) -> None:
    """By default, on the best weights of the run, over games that did not choose them."""
    quiet = ["--wandb", "disabled", "--no-video", "--num-threads", "1"]
    command = ["--env", env_id, "--seed", seed, "--runs-dir", str(tmp_path), *quiet, *args]
    assert train(module_of(algo), command) == 0
    (score,) = tmp_path.glob("*/eval.json")
    assert json.loads(score.read_text())["eval/return_mean"] >= least
