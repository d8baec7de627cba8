"""Steps per second of our agent beside a peer's, at the same work per step.

    python -m benchmarks.throughput --algo dqn --against sb3

`benchmarks.sides` says what the work is: DQN's 8 samples trained on per step. Each side lives in
a process of its own, with the allocator and the threads that its users get, and the sides take
turns, so that a machine that slows down does so for all. The peer counts at its faster set-up.
The side "limit" only learns, on a fixed batch: our share of its speed says how much of the
machine is left on the way, whatever the machine.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

import envs
from agents.core.config import require
from agents.core.device import resolve_device
from agents.core.launch import one_line_errors
from benchmarks.machine import write_result
from benchmarks.sides import (
    SHARED,
    STEPS_PER_UPDATE,
    Joystick,
    Side,
    StableBaselines,
    Task,
    TrainingLimit,
)
from envs import UserError

SIDES: dict[str, type[Joystick | StableBaselines | TrainingLimit]] = {
    "joystick": Joystick,
    "sb3": StableBaselines,
    "limit": TrainingLimit,
}

PEER_NUM_ENVS = (1, 8)
"""As its users run DQN, and with the environments together."""

WARM_UP_STEPS = 256
"""Steps with learning that tell how many fill a turn."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    algo: Literal["dqn"] = "dqn"  # The algorithm to measure.
    against: Literal["sb3"] = "sb3"  # The peer: Stable-Baselines3.
    game: str = "Pong"  # Atari game; its protocol is <game>NoFrameskip-v4.
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # Ours; the peer's is fp32.
    device: Literal["auto", "cpu", "cuda"] = "auto"  # Where both sides train.
    num_envs: int = 8  # Our environments.
    seconds: float = 20.0  # Length of a turn.
    rounds: int = 3  # Turns of each side, after one that does not count.

    def task(self, **changed: Any) -> Task:
        names = ("algo", "game", "precision", "device", "num_envs")
        return Task(**{name: getattr(self, name) for name in names} | changed)


def serve(side: str, task: Task, folder: Path, connection: Connection) -> None:
    """A side's process: set up and warm up, then a turn for each number of seconds received."""
    agent: Side = SIDES[side](task, folder)
    agent.advance(task.learning_starts_steps + WARM_UP_STEPS)
    steps_per_second = WARM_UP_STEPS / agent.advance(WARM_UP_STEPS)
    connection.send(agent.about)
    for seconds in iter(connection.recv, None):
        steps, updates = agent.counts
        taken = agent.advance(int(seconds * steps_per_second) + 1)
        steps, updates = agent.counts[0] - steps, agent.counts[1] - updates
        steps_per_second = steps / taken
        connection.send((steps_per_second, updates / steps))


@contextmanager
def process(side: str, task: Task, folder: Path) -> Iterator[Connection]:
    """The connection to a side's process, which ends with the context."""
    context = multiprocessing.get_context("spawn")
    connection, theirs = context.Pipe()
    child = context.Process(target=serve, args=(side, task, folder, theirs), daemon=True)
    child.start()
    theirs.close()
    try:
        yield connection
        connection.send(None)
        child.join()
    finally:
        child.terminate()


def measure(arguments: Arguments) -> dict[str, Any]:
    """The speeds of all sides over the rounds, their medians and the ratio."""
    entrants = [("joystick", arguments.task()), ("limit", arguments.task())]
    entrants += [(arguments.against, arguments.task(num_envs=n)) for n in PEER_NUM_ENVS]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        # One after the other: a side that sets up would disturb the warm-up of another.
        sides = []
        for side, task in entrants:
            connection = stack.enter_context(process(side, task, Path(folder)))
            about = connection.recv()
            record = {"side": side, "num_envs": task.num_envs, **about, "rounds": []}
            sides.append((connection, record))
        for number in range(1 + arguments.rounds):
            for connection, record in sides:
                connection.send(arguments.seconds)
                steps_per_second, record["updates_per_step"] = connection.recv()
                if number > 0:
                    record["rounds"].append(round(steps_per_second, 1))
    return summary([record for _, record in sides], arguments)


def summary(sides: list[dict[str, Any]], arguments: Arguments) -> dict[str, Any]:
    """Medians, and our ratio to the faster of the peer's set-ups."""
    for side in sides:
        side["steps_per_second"] = statistics.median(side["rounds"])
        side["samples_per_step"] = round(side["updates_per_step"] * SHARED["batch_size"], 2)
    ours, limit, *peers = sides
    best = max(peers, key=lambda side: side["steps_per_second"])
    return {
        "env_id": arguments.task().env_id,
        "steps_per_update": STEPS_PER_UPDATE,
        "seconds_per_turn": arguments.seconds,
        "sides": sides,
        "share_of_limit": round(ours["steps_per_second"] / limit["steps_per_second"], 2),
        "ratio": round(ours["steps_per_second"] / best["steps_per_second"], 2),
        "ratio_of_each_round": [
            round(mine / theirs, 2)
            for mine, theirs in zip(ours["rounds"], best["rounds"], strict=True)
        ],
    }


def show(result: dict[str, Any]) -> None:
    """Print the sides as a table and the ratio below it."""
    columns = ("side", "num_envs", "precision", "device", "samples_per_step", "steps_per_second")
    table = Table(*(name.replace("_", " ") for name in columns), "rounds", box=None)
    for side in result["sides"]:
        rounds = ", ".join(f"{speed:.0f}" for speed in side["rounds"])
        table.add_row(*(str(side[name]) for name in columns), rounds)
    console = Console()
    console.print(table)
    console.print(f"{result['share_of_limit']:.0%} of the learner's limit on this machine")
    console.print(f"{result['ratio']} times the peer (by round: {result['ratio_of_each_round']})")


def main(args: list[str] | None = None) -> None:
    with one_line_errors():
        arguments = tyro.cli(
            Arguments, args=args, prog="python -m benchmarks.throughput", description=__doc__
        )
        require(arguments.rounds >= 1, "rounds", arguments.rounds, "at least 1")
        require(arguments.seconds > 0, "seconds", arguments.seconds, "above 0")
        if importlib.util.find_spec("stable_baselines3") is None:
            raise UserError("stable-baselines3 is not installed: pip install -e '.[bench]'")
        # What cannot work is said here in a line, not by a side's process in a traceback.
        envs.spec(arguments.task().env_id)
        resolve_device(arguments.device)
        result = measure(arguments)
        show(result)
        print(f"wrote {write_result(f'throughput-{arguments.algo}', result)}")


if __name__ == "__main__":
    main()
