"""Two ranks train as one process would, and losing one of them loses nothing that was saved."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from conftest import QUIET, TINY, module_of, run_tiny
from torch import Tensor

from agents.core.runs.run import Run
from agents.core.training.launch import train
from envs import locks

# Without it torchrun prints that it sets it.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def start(algo: str, runs_dir: Path, *args: str) -> subprocess.Popen[str]:
    """The algorithm's own command line on two ranks."""
    settings = [*TINY[algo], *QUIET, "--eval-every-steps", "0", "--runs-dir", str(runs_dir)]
    return subprocess.Popen(
        [*TORCHRUN, "-m", f"agents.{module_of(algo)}", *settings, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ENVIRONMENT,
    )


def finish(process: subprocess.Popen[str], runs_dir: Path) -> Run:
    try:
        output, _ = process.communicate(timeout=240)
    finally:
        process.terminate()
    assert process.returncode == 0, output
    (path,) = runs_dir.glob("*")
    return Run.open(path)


def assert_close(ours: Run, theirs: Run) -> None:
    """The same actions, rewards and episodes exactly, the weights up to rounding."""
    (step, state, weights), (other_step, other, other_weights) = ours.restore(), theirs.restore()
    assert step == other_step
    assert state["env"]["tape_lengths"] == other["env"]["tape_lengths"]
    assert (state["env"]["actions"] == other["env"]["actions"]).all()
    for name, weight in weights.items():
        torch.testing.assert_close(weight, other_weights[name], rtol=1e-3, atol=1e-5)


OF_PPO = ("--normalize-observations", "--normalize-rewards", "--target-kl", "0.01")


@pytest.mark.parametrize(
    ("algo", "flags"),
    [
        ("ppo", OF_PPO),
        ("ppo-lstm", OF_PPO),
        pytest.param("pqn", (), marks=pytest.mark.slow),
        pytest.param("pqn-lstm", (), marks=pytest.mark.slow),
    ],
)
def test_two_ranks_agree_with_one_process(
    tmp_path: Path, algo: str, flags: tuple[str, ...]
) -> None:
    args = ("--env", "CartPole-v1", "--total-steps", "512", *flags)
    args = (*args, "--eval-every-steps", "128", "--eval-episodes", "1")
    two = finish(start(algo, tmp_path / "two", *args), tmp_path / "two")
    assert_close(run_tiny(tmp_path / "one", algo, *args), two)
    rows = two.metrics_path.read_text().splitlines()
    assert rows, "rank 0 logs"


@pytest.mark.parametrize("algo", ["ppo", pytest.param("ppo-lstm", marks=pytest.mark.slow)])
def test_in_bf16_two_ranks_learn_what_one_process_does(tmp_path: Path, algo: str) -> None:
    """In one rollout, since bf16 has 8 bits: later ones would have other actions."""
    args = ("--env", "CartPole-v1", "--total-steps", "64", "--precision", "bf16")
    two = finish(start(algo, tmp_path / "two", *args), tmp_path / "two")
    one = run_tiny(tmp_path / "one", algo, *args)
    other = run_tiny(tmp_path / "other", algo, *args, "--learning-rate", "1e-12")
    ours, theirs, initial = (flat_weights(run) for run in (one, two, other))
    assert (ours - theirs).norm() < 0.02 * (ours - initial).norm()


def flat_weights(run: Run) -> Tensor:
    weights, _ = run.weights("last")
    return torch.cat([weights[name].flatten().float() for name in sorted(weights)])


def test_a_run_of_two_ranks_goes_on_in_one_process(tmp_path: Path) -> None:
    env = ("--env", "CartPole-v1")
    run = finish(start("ppo", tmp_path / "two", *env, "--total-steps", "256"), tmp_path / "two")
    assert train("ppo", ["--resume", str(run.path), "--total-steps", "512"]) == 0
    whole = run_tiny(tmp_path / "one", "ppo", *env, "--total-steps", "512")
    assert_close(Run.open(run.path), whole)


def test_a_run_of_one_process_goes_on_in_two_ranks(tmp_path: Path) -> None:
    env = ("--env", "CartPole-v1")
    run = run_tiny(tmp_path / "one", "a2c", *env, "--total-steps", "256")
    resume = ("--resume", str(run.path), "--total-steps", "512")
    command = [*TORCHRUN, "-m", "agents.a2c", *resume]
    two = subprocess.run(command, timeout=240, capture_output=True, text=True)
    assert two.returncode == 0, two.stdout + two.stderr
    whole = run_tiny(tmp_path / "whole", "a2c", *env, "--total-steps", "512")
    assert_close(Run.open(run.path), whole)


def test_a_lost_rank_ends_the_run_and_leaves_its_last_checkpoint(tmp_path: Path) -> None:
    far = ("--env", "CartPole-v1", "--total-steps", "10000000", "--checkpoint-every-steps", "256")
    process = start("ppo", tmp_path, *far)
    deadline = time.monotonic() + 240
    while not list(tmp_path.glob("*/checkpoints/0*/state.json")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    ranks = psutil.Process(process.pid).children()
    last = max(ranks, key=lambda rank: int(rank.environ()["RANK"]))
    os.kill(last.pid, signal.SIGKILL)
    process.communicate(timeout=240)
    assert process.returncode != 0
    assert not any(rank.is_running() for rank in ranks)
    (path,) = tmp_path.glob("*")
    step, _, weights = Run.open(path).restore()
    assert step % 256 == 0
    assert all(torch.isfinite(w).all() for w in weights.values())
    assert train("ppo", ["--resume", str(path), "--total-steps", str(step + 256)]) == 0


def test_replay_agents_and_uneven_shares_are_refused_in_one_line(tmp_path: Path) -> None:
    for algo, args, message in (
        ("dqn", (), "trains in one process"),
        ("ppo", ("--num-envs", "7"), "must be a multiple of the 2 ranks"),
    ):
        process = start(algo, tmp_path, "--env", "CartPole-v1", *args)
        output, _ = process.communicate(timeout=240)
        assert process.returncode != 0
        assert message in output
        assert "agents/core" not in output
        assert not list(tmp_path.glob("*"))


def said_by_ranks(output: str) -> list[str]:
    """What our processes say, without what torchrun says of them."""
    torchrun = output.find("Traceback")
    lines = output[: None if torchrun < 0 else torchrun].splitlines()
    return [line for line in lines if "torch/distributed/elastic" not in line]


def test_a_run_that_is_locked_is_refused_in_one_line_of_the_first_rank(tmp_path: Path) -> None:
    run = run_tiny(tmp_path, "ppo", "--env", "CartPole-v1", "--total-steps", "128")
    command = [*TORCHRUN, "-m", "agents.ppo", "--resume", str(run.path), "--total-steps", "256"]
    with locks.alone(run.path):
        two = subprocess.run(command, timeout=240, capture_output=True, text=True, env=ENVIRONMENT)
    assert two.returncode != 0
    why = f"process {os.getpid()} is at work in {run.path}; wait until it ends"
    assert said_by_ranks(two.stdout + two.stderr) == [f"error: {why}"]
    assert run.restore()[0] == 128


def test_a_run_that_cannot_be_made_is_one_line_of_the_first_rank(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    process = start("ppo", tmp_path / "file", "--env", "CartPole-v1")
    output, _ = process.communicate(timeout=240)
    assert process.returncode != 0
    (line,) = said_by_ranks(output)
    assert line.startswith("error: ") and str(tmp_path / "file") in line
