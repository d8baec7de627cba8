"""Runs all benchmarks of a GPU in under nine minutes.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --dry-run      # the same commands on a CPU, with few steps

First come the tests of code that only a GPU runs. Then come profiles of DQN with 8 samples a step
and of PPO with 4 epochs; they show the shares of time in which the GPU computes and in which it
waits for the emulator. Last comes the training of PPO on Pong and Breakout, with as many steps as
fit into the time at the measured speed. Each command writes its own result.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.core.system.device import resolve_device
from benchmarks.machine import write_result
from envs import command_line
from envs.entry import command as one_line_errors

TESTS = ("tests/test_capture.py", "tests/test_no_waiting.py", "tests/test_learner.py")

NATURE = ("--preset", "atari-gpu", "--torso", "nature", "--hidden", "512")

SPEED_AT_TARGET = 20_000.0
"""Assumed speed in steps per second, if PPO's profile failed."""

EVALUATION_SHARE = 0.3
"""Share of a training's time that evaluations take."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    pong_seconds: float = 120.0  # Duration of PPO's training on Pong.
    breakout_seconds: float = 150.0  # Duration of PPO's training on Breakout.
    dry_run: bool = False  # Run on a CPU with few steps, to check that every command works.


def profile(algo: str, arguments: Arguments) -> list[str]:
    """The command that profiles an algorithm with the Nature network."""
    steps = ("40", "8") if arguments.dry_run else ("120000", "4096")
    sizes = ["--steps", steps[0], "--operator-steps", steps[1], "--env", "Pong"]
    options = [*NATURE, *device(arguments)]
    if arguments.dry_run:
        options += ["--num-envs", "4", "--batch-size", "32"]
        on_policy = algo == "ppo"
        options += ["--horizon-steps", "8"] if on_policy else ["--learning-starts-steps", "64"]
        options += [] if on_policy else ["--buffer-size", "2000"]
    return ["-m", "benchmarks.profile", "--algo", algo, *sizes, "--", *options]


def training(env_id: str, target: float, steps: int, arguments: Arguments) -> list[str]:
    """The command that trains PPO for so many steps and measures the time to the target."""
    options = ["--preset", "atari-gpu", *device(arguments), "--no-video"]
    options += ["--total-steps", str(steps), "--eval-every-steps", str(max(1, steps // 4))]
    if arguments.dry_run:
        options += ["--num-envs", "4", "--horizon-steps", "8", "--batch-size", "32"]
        options += ["--final-eval-episodes", "0", "--eval-every-steps", "0", "--num-threads", "1"]
    about = ["--algo", "ppo", "--env", env_id, "--target", f"{target:g}"]
    return ["-m", "benchmarks.time_to_score", *about, "--", *options]


def device(arguments: Arguments) -> list[str]:
    """The flags that choose the device."""
    return ["--device", "cpu" if arguments.dry_run else "cuda"]


def run(command: list[str]) -> dict[str, Any]:
    """Runs Python with a command; returns its exit code, duration, result file and last lines."""
    print(f"$ python {shlex.join(command)}", flush=True)
    start = time.perf_counter()
    lines = []
    with subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    seconds = round(time.perf_counter() - start, 1)
    print(f"({seconds:.0f} s, exit code {process.returncode})\n", flush=True)
    kept = [line.removeprefix("wrote ").strip() for line in lines if line.startswith("wrote ")]
    return {
        "command": shlex.join(["python", *command]),
        "exit_code": process.returncode,
        "seconds": seconds,
        "result": kept[-1] if kept else None,
        "last_lines": [line.rstrip() for line in lines[-4:]],
    }


def measure(arguments: Arguments) -> dict[str, Any]:
    """Runs all commands one after the other; a failed command does not stop the others."""
    runs = [run(["-m", "pytest", "-q", *TESTS])]
    runs += [run(profile(algo, arguments)) for algo in ("dqn", "ppo")]
    speed = speed_of(runs[-1])
    for env_id, target, seconds in (
        ("Pong", 18.0, arguments.pong_seconds),
        ("Breakout", 350.0, arguments.breakout_seconds),
    ):
        steps = 64 if arguments.dry_run else int(speed * seconds * (1 - EVALUATION_SHARE))
        runs.append(run(training(env_id, target, steps, arguments)))
    return {"runs": runs}


def speed_of(profiled: dict[str, Any]) -> float:
    """The steps per second in a result of `run` for a profile."""
    if profiled["result"] is None:
        return SPEED_AT_TARGET
    return json.loads(Path(profiled["result"]).read_text())["result"]["steps_per_second"]["plain"]


def main(args: list[str] | None = None) -> None:
    with one_line_errors():
        arguments = command_line.parse(
            Arguments, args=args, prog="python -m benchmarks.gpu", description=__doc__
        )
        resolve_device("cpu" if arguments.dry_run else "cuda")
        result = measure(arguments)
        if arguments.dry_run:
            for each in result["runs"]:
                if each["result"] is not None:
                    Path(each["result"]).unlink()
        else:
            print(f"wrote {write_result('gpu', result)}")
        sys.exit(int(any(each["exit_code"] for each in result["runs"])))


if __name__ == "__main__":
    main()
