"""Splits the time of an environment step by phase, and by torch's operators.

    python -m benchmarks.profile --algo dqn --env Pong -- --num-threads 1

The agent trains in its own loop, with the options after `--`. Turns with timed phases alternate
with turns without (`benchmarks.phases` describes the phases). Then the agent trains once more under
torch's profiler. For behavior cloning, a step is a demonstrated step.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile, record_function

from agents.core.training.config import require, to_json
from benchmarks.contenders import Joystick
from benchmarks.machine import write_result
from benchmarks.phases import Phases, points, settings, warm_up
from envs import command_line, spec
from envs.entry import command as one_line_errors

TURNS = 4
"""Number of turns of each kind; they alternate, so that other work on the machine affects both."""

OPERATORS = 12
"""Number of rows in the table of operators."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    algo: str = "dqn"  # Algorithm.
    env_id: Annotated[str, tyro.conf.arg(name="env")] = "Pong"  # Environment.
    steps: int = 20_000  # Steps with timed phases; as many steps run without.
    operator_steps: int = 1_000  # Steps under torch's profiler.
    trace: Path | None = None  # File for the profiler's trace, for chrome://tracing.


class Turns:
    """The total steps and seconds of some turns of training."""

    def __init__(self) -> None:
        self.steps = 0
        self.seconds = 0.0

    def add(self, contender: Joystick, steps: int) -> None:
        """Trains for at least so many steps."""
        before = contender.training.step
        self.seconds += contender.advance(steps)
        self.steps += contender.training.step - before

    @property
    def speed(self) -> float:
        """Steps per second."""
        return self.steps / self.seconds


def measure(arguments: Arguments, config: Any) -> dict[str, Any]:
    """Returns microseconds a step by phase and by operator, their shares, and all speeds."""
    contender = Joystick(arguments.algo, config)
    warm_up(contender)
    phases = Phases()
    plain = Turns()
    timed = Turns()
    for _ in range(TURNS):
        plain.add(contender, -(-arguments.steps // TURNS))
        with phases.attached(points(contender)):
            timed.add(contender, -(-arguments.steps // TURNS))
    operators, traced = trace(contender, arguments.operator_steps, arguments.trace)
    speeds = {"plain": plain.speed, "timed": timed.speed, "profiled": traced.speed}
    compute = contender.agent.policy.compute
    return {
        "protocol": spec(config.env_id).protocol,
        "config": to_json(config),
        **contender.about,
        "threads": compute.shards * compute.threads_per_shard,
        "steps": timed.steps,
        "steps_per_second": {name: round(speed, 1) for name, speed in speeds.items()},
        "phases": {
            name: {"us_per_step": phases.seconds[name] / timed.steps * 1e6, "share": share}
            for name, share in phases.shares.items()
        },
        **operators,
    }


def trace(contender: Joystick, steps: int, path: Path | None) -> tuple[dict[str, Any], Turns]:
    """Trains under torch's profiler; returns the main thread's operators and the GPU's kernels."""
    activities = [ProfilerActivity.CPU]
    turns = Turns()
    cuda = contender.agent.policy.device.type == "cuda"
    if cuda:
        activities.append(ProfilerActivity.CUDA)
    phases = Phases(mark=record_function)
    with profile(activities=activities) as profiler, phases.attached(points(contender)):
        turns.add(contender, steps)
    if path is not None:
        profiler.export_chrome_trace(str(path))
    rows = [row for row in profiler.key_averages() if not row.is_user_annotation]
    on_host = [row for row in rows if row.device_type.name == "CPU"]
    found = {"operators": largest(on_host, "self_cpu_time_total", turns)}
    if not cuda:
        return found, turns
    kernels = [row for row in rows if row.device_type.name == "CUDA"]
    spans = [
        (event.time_range.start / 1e6, event.time_range.end / 1e6)
        for event in profiler.events() or ()
        if event.device_type.name == "CUDA" and not event.is_user_annotation
    ]
    found["kernels"] = largest(kernels, "self_device_time_total", turns)
    return found | {"gpu_busy_share": covered(spans) / turns.seconds}, turns


def largest(rows: list[Any], time: str, turns: Turns) -> list[dict[str, Any]]:
    """The rows with the most self time, each with its self time and calls per step."""
    rows = sorted(rows, key=lambda row: -getattr(row, time))[:OPERATORS]
    return [
        {
            "name": row.key,
            "us_per_step": getattr(row, time) / turns.steps,
            "share": getattr(row, time) / 1e6 / turns.seconds,
            "calls_per_step": row.count / turns.steps,
        }
        for row in rows
    ]


def covered(spans: list[tuple[float, float]]) -> float:
    """The total length that the spans (start, end) cover."""
    total = 0.0
    reached = -float("inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def show(result: dict[str, Any]) -> None:
    """Prints phases, speeds and operators."""
    console = Console()
    where = f"{result['device']}, {result['threads']} threads, {result['precision']}"
    console.print(f"{result['protocol']} ({where}), {result['steps']:,} steps")
    table = Table("phase", "µs/step", "share", box=None)
    for name, phase in result["phases"].items():
        table.add_row(name, f"{phase['us_per_step']:,.1f}", f"{phase['share']:.1%}")
    total = sum(phase["us_per_step"] for phase in result["phases"].values())
    table.add_row("all", f"{total:,.1f}", "100%")
    console.print(table)
    speed = result["steps_per_second"]
    console.print(
        f"{speed['plain']:,.0f} steps/s, {speed['timed']:,.0f} with phases timed (overhead "
        f"{1 - speed['timed'] / speed['plain']:.1%}), {speed['profiled']:,.0f} under torch's "
        "profiler, of the main thread:"
    )
    for kind in ("operators", "kernels"):
        if kind in result:
            table = Table(f"{kind}, self time", "µs/step", "share", "calls/step", box=None)
            for row in result[kind]:
                numbers = f"{row['us_per_step']:,.1f}", f"{row['share']:.1%}"
                table.add_row(row["name"][:60], *numbers, f"{row['calls_per_step']:.2f}")
            console.print(table)
    if "gpu_busy_share" in result:
        console.print(f"the GPU computes {result['gpu_busy_share']:.1%} of the time")


def main(args: list[str] | None = None) -> None:
    args = sys.argv[1:] if args is None else args
    split = args.index("--") if "--" in args else len(args)
    with one_line_errors():
        prog = "python -m benchmarks.profile"
        arguments = command_line.parse(Arguments, args=args[:split], prog=prog, description=__doc__)
        for name in ("steps", "operator_steps"):
            require(getattr(arguments, name) >= 1, name, getattr(arguments, name), "at least 1")
        path = arguments.trace
        if path is not None:
            writable = path.parent.is_dir() and not path.is_dir()
            require(writable, "trace", path, "a file in a folder that exists")
        config = settings(arguments.algo, arguments.env_id, args[split + 1 :])
        result = measure(arguments, config)
        show(result)
        game = arguments.env_id.replace("/", "-")
        print(f"wrote {write_result(f'profile-{arguments.algo}-{game}', result)}")


if __name__ == "__main__":
    main()
