"""Runs the benchmarks of a GPU; each of the two calls takes under nine minutes.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --no-tests --contenders pqn btr
    python -m benchmarks.gpu --dry-run      # the same commands on a CPU, with few steps

First come the tests of code that only a GPU runs. Then comes a profile of each contender. It shows
the shares of time in which the GPU computes and in which it waits for the emulator. Then each
contender trains on Pong and Breakout, with as many steps as fit into the time at the measured
speed. DQN is only profiled. Each command writes its own result.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agents.core.system.device import resolve_device
from benchmarks.machine import write_result
from envs import command_line
from envs.entry import command as one_line_errors

TESTS = ("tests/test_capture.py", "tests/test_no_waiting.py", "tests/test_learner.py")


@dataclass(frozen=True)
class Contender:
    """An agent with its settings for a GPU.

    Attributes:
        algo: the agent's name.
        settings: its flags.
        on_policy: whether it learns from rollouts; else it learns from a replay.
        trains: whether it also trains on Pong and Breakout.
    """

    algo: str
    settings: tuple[str, ...]
    on_policy: bool
    trains: bool = True


BTR = ("--preset", "btr", "--learning-starts-steps", "20000", "--epsilon", "1..0.01@0..50000")
"""The preset, but it explores less at first: it is for 50 million steps."""

NATURE = ("--preset", "atari-gpu", "--torso", "nature", "--hidden", "512")

CONTENDERS = {
    "dqn": Contender("dqn", NATURE, on_policy=False, trains=False),
    "ppo": Contender("ppo", ("--preset", "atari-gpu"), on_policy=True),
    "pqn": Contender("pqn", ("--preset", "atari-gpu"), on_policy=True),
    "btr": Contender("iqn", BTR, on_policy=False),
}

TARGETS = {"Pong": 18.0, "Breakout": 350.0}
"""The scores that trainings are to reach."""

SPEED_AT_TARGET = 20_000.0
"""Assumed speed in steps per second, if a contender's profile failed."""

EVALUATION_SHARE = 0.3
"""Share of a training's time that evaluations take."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    contenders: tuple[Literal["dqn", "ppo", "pqn", "btr"], ...] = ("dqn", "ppo")
    """The agents that are measured, with their settings for a GPU."""
    tests: bool = True  # Run the tests of code that only a GPU runs.
    seconds: float = 100.0  # Duration of a training; each contender has two.
    dry_run: bool = False  # Run on a CPU with few steps, to check that every command works.


def profile(contender: Contender, arguments: Arguments) -> list[str]:
    """The command that profiles a contender on Pong."""
    steps = ("40", "8") if arguments.dry_run else ("120000", "4096")
    sizes = ["--steps", steps[0], "--operator-steps", steps[1], "--env", "Pong"]
    options = [*contender.settings, *device(arguments)]
    if arguments.dry_run:
        options += small(contender)
    return ["-m", "benchmarks.profile", "--algo", contender.algo, *sizes, "--", *options]


def training(
    contender: Contender, env_id: str, target: float, steps: int, arguments: Arguments
) -> list[str]:
    """The command that trains a contender for so many steps and measures the time to a target."""
    options = [*contender.settings, *device(arguments), "--no-video"]
    options += ["--total-steps", str(steps), "--eval-every-steps", str(max(1, steps // 4))]
    if arguments.dry_run:
        options += [*small(contender), "--final-eval-episodes", "0"]
        options += ["--eval-every-steps", "0", "--num-threads", "1"]
    about = ["--algo", contender.algo, "--env", env_id, "--target", f"{target:g}"]
    return ["-m", "benchmarks.time_to_score", *about, "--", *options]


def small(contender: Contender) -> list[str]:
    """The flags that make a contender small enough for a dry run."""
    common = ["--num-envs", "4", "--batch-size", "32"]
    if contender.on_policy:
        return [*common, "--horizon-steps", "8"]
    return [*common, "--learning-starts-steps", "64", "--buffer-size", "2000"]


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
    runs = [run(["-m", "pytest", "-q", *TESTS])] if arguments.tests else []
    for name in arguments.contenders:
        contender = CONTENDERS[name]
        runs.append(run(profile(contender, arguments)))
        speed = speed_of(runs[-1])
        training_seconds = arguments.seconds * (1 - EVALUATION_SHARE)
        steps = 64 if arguments.dry_run else int(speed * training_seconds)
        for env_id, target in TARGETS.items() if contender.trains else ():
            runs.append(run(training(contender, env_id, target, steps, arguments)))
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
