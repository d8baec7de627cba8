"""A run that was killed goes on as if it had not been, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import BF16, QUIET, each_kind, module_of, read_metrics, run_tiny, slow_where, tiny

from agents.core.runs.run import Run
from agents.core.training.launch import train

STEPS = 400
EVERY = 200
SMALL = ("--torso", "data_efficient", "--hidden", "32")


def command(algo: str, env_id: str, runs_dir: Path, *args: str) -> list[str]:
    """A run that a signal interrupts somewhere: it has far more steps than it will get."""
    return [
        *(
            sys.executable,
            "-m",
            f"agents.{module_of(algo)}",
            "--runs-dir",
            str(runs_dir),
        ),
        *(*tiny(algo, env_id), *QUIET, "--eval-every-steps", "0"),
        *("--checkpoint-every-steps", str(EVERY), *args),
    ]


def start_and_signal(argv: list[str], runs_dir: Path, signum: int) -> tuple[Run, int, str]:
    """Start the command, send the signal once it has a checkpoint; its run, code and output."""
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 240
    while not list(runs_dir.glob("*/checkpoints/0*/state.json")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signum)
    output, _ = process.communicate(timeout=240)
    (path,) = runs_dir.glob("*")
    return Run.open(path), process.returncode, output


def assert_same_state(a: Run, b: Run) -> None:
    """Every parameter, optimizer moment, counter, RNG state, tape and replay slot is equal."""
    (step_a, state_a, weights_a), (step_b, state_b, weights_b) = a.restore(), b.restore()
    assert step_a == step_b
    assert_equal(weights_a, weights_b, "weights")
    chunks = [state["agent"].get("replay", {}).pop("chunks", []) for state in (state_a, state_b)]
    assert_equal(state_a, state_b, "state")
    frames = [
        [run.read_chunk(chunk["chunk"])["frames"] for chunk in chunks_of]
        for run, chunks_of in zip((a, b), chunks, strict=True)
    ]
    if any(frames):
        assert torch.equal(*map(torch.cat, frames))


def assert_equal(a: object, b: object, path: str) -> None:
    assert type(a) is type(b), path
    if isinstance(a, dict):
        assert isinstance(b, dict)
        assert a.keys() == b.keys(), path
        for key in a:
            assert_equal(a[key], b[key], f"{path}/{key}")
    elif isinstance(a, list):
        assert isinstance(b, list)
        assert len(a) == len(b), path
        for index, pair in enumerate(zip(a, b, strict=True)):
            assert_equal(*pair, f"{path}/{index}")
    elif hasattr(a, "shape"):
        assert torch.equal(torch.as_tensor(a), torch.as_tensor(b)), path
    else:
        assert a == b, path


@pytest.mark.parametrize("algo", each_kind())
def test_on_cartpole_killed_and_resumed_equals_never_killed(tmp_path: Path, algo: str) -> None:
    require_same_after_a_kill(tmp_path, algo, ["--env", "CartPole-v1"])


@pytest.mark.parametrize(
    ("algo", "settings"),
    [
        ("dqn", ["--env", "Pong", *SMALL]),
        ("ppo-lstm", ["--env", "Pong", *SMALL, "--epochs", "2"]),
    ],
)
def test_killed_and_resumed_equals_never_killed(
    tmp_path: Path, algo: str, settings: list[str]
) -> None:
    require_same_after_a_kill(tmp_path, algo, settings)


@pytest.mark.parametrize(
    "variant", slow_where(lambda variant: variant not in ("bc", "dqn beside"), BF16)
)
def test_in_bf16_killed_and_resumed_equals_never_killed(tmp_path: Path, variant: str) -> None:
    require_same_after_a_kill(tmp_path, *BF16[variant])


def require_same_after_a_kill(tmp_path: Path, algo: str, settings: list[str]) -> None:
    whole_dir, killed_dir = tmp_path / "whole", tmp_path / "killed"
    env_id = settings[settings.index("--env") + 1]
    argv = command(algo, env_id, killed_dir, "--total-steps", "10000000", *settings)
    run, code, _ = start_and_signal(argv, killed_dir, signal.SIGKILL)
    assert code == -signal.SIGKILL
    at, _, _ = run.restore()
    steps = str(at + STEPS)
    assert train(module_of(algo), ["--resume", str(run.path), "--total-steps", steps]) == 0
    every = ("--checkpoint-every-steps", str(EVERY))
    whole = run_tiny(whole_dir, algo, *settings, "--total-steps", steps, *every)
    assert_same_state(whole, Run.open(run.path))
    rows = read_metrics(run)
    assert [row["step"] for row in rows] == sorted(row["step"] for row in rows)
    returns = [
        [
            (row["step"], row["charts/episodic_return"])
            for row in read_metrics(r)
            if "charts/episodic_return" in row
        ]
        for r in (whole, run)
    ]
    assert returns[0] == returns[1]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_ends_without_a_traceback(tmp_path: Path, signum: int) -> None:
    argv = command("dqn", "CartPole-v1", tmp_path, "--total-steps", "10000000")
    run, code, output = start_and_signal(argv, tmp_path, signum)
    assert code == 128 + signum
    assert "Traceback" not in output
    assert "--resume" in output
    assert f"stopped at step {run.restore()[0]:,}" in output


def test_a_truncated_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    every = ("--checkpoint-every-steps", "200", "--total-steps", "800")
    run = run_tiny(tmp_path, "dqn", "--env", "CartPole-v1", *every)
    older, newest = sorted((run.path / "checkpoints").iterdir())
    damaged = newest / "state.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    assert train("dqn", ["--resume", str(run.path), "--total-steps", "1000"]) == 0
    output = capsys.readouterr()
    assert "state.safetensors" in output.out + output.err
    assert Run.open(run.path).restore()[0] == 1000
    assert int(older.name) < 800


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from agents.core.training.launch import main
    from agents.core.training.off_policy import OffPolicyAlgorithm

    update = OffPolicyAlgorithm.update

    def poisoned(self: OffPolicyAlgorithm) -> dict[str, torch.Tensor]:
        if self.steps > 500:
            with torch.no_grad():
                next(iter(self.policy.network.parameters())).fill_(float("nan"))
        return update(self)

    monkeypatch.setattr(OffPolicyAlgorithm, "update", poisoned)
    args = ["--runs-dir", str(tmp_path), *tiny("dqn", "CartPole-v1"), *QUIET]
    every = [
        "--checkpoint-every-steps",
        "400",
        "--log-every-steps",
        "1000",
        "--total-steps",
        "2000",
    ]
    with pytest.raises(SystemExit) as exit_info:
        main("dqn", [*args, *every])
    assert exit_info.value.code == 1
    error = capsys.readouterr().err
    assert "losses/" in error
    assert "nan" in error
    (path,) = tmp_path.glob("*")
    step, _, weights = Run.open(path).restore()
    assert step == 400
    assert all(torch.isfinite(w).all() for w in weights.values())
