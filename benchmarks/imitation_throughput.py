"""Measures the demonstrated steps per second of behavior cloning, and the limit of its learner.

    python -m benchmarks.imitation_throughput --env Pong

"limit" and "learner" only learn, on a fixed batch: "limit" with the loop of a tutorial, "learner"
with our learner's update. "clone" also gathers, moves and weighs every batch. The three take turns.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
import tyro
from rich.console import Console
from rich.table import Table

from agents import bc
from agents.core.system.device import resolve_device, tune_process
from agents.core.training.building import spaces_of
from agents.core.training.config import require, to_json
from benchmarks.contenders import learner_update, plain_update
from benchmarks.machine import write_result
from envs import command_line, spec
from envs.entry import command as one_line_errors


@dataclass(frozen=True, kw_only=True)
class Arguments:
    env_id: Annotated[str, tyro.conf.arg(name="env")] = "Pong"  # Environment.
    demos: str = "auto"  # Dataset.
    torso: Literal["nature", "data_efficient"] = "nature"  # Network.
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # Number format of the networks.
    device: Literal["auto", "cpu", "cuda"] = "auto"  # Device of the network.
    seconds: float = 10.0  # Length of a turn.
    rounds: int = 3  # Turns of each contender, after a first turn that does not count.

    def config(self) -> bc.Config:
        """The config of the clone."""
        names = ("env_id", "demos", "torso", "precision", "device")
        return bc.Config(**{name: getattr(self, name) for name in names}, hidden=512)


def measure(arguments: Arguments) -> dict[str, Any]:
    """Returns the speeds of all contenders, and the clone's share of the faster limit."""
    config = arguments.config()
    device = resolve_device(config.device)
    policy = bc.make_policy(config, spaces_of(spec(config.env_id)), device)
    agent = bc.make_algorithm(config, policy)
    # The learning rate is 0, because thousands of updates on one batch would diverge.
    agent.learner.set_learning_rate(0.0)
    batch = agent.batches.draw()
    contenders: dict[str, Callable[[], Callable[[], object]]] = {
        "clone": lambda: agent.update,
        "learner": lambda: learner_update(agent, batch),
        "limit": lambda: plain_update(agent, batch),
    }
    rounds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(1 + arguments.rounds):
        for name, contender in contenders.items():
            torch.set_num_threads(policy.compute.threads_per_shard)
            speed = batch.size * rate(contender(), arguments.seconds, device)
            if number > 0:
                rounds[name].append(round(speed, 1))
    speeds = {name: statistics.median(each) for name, each in rounds.items()}
    share = speeds["clone"] / max(speeds["learner"], speeds["limit"])
    about = {"config": to_json(config), "precision": str(policy.compute.precision)}
    return {**about, "rounds": rounds, "samples_per_second": speeds, "share_of_limit": share}


def rate(update: Callable[[], object], seconds: float, device: torch.device) -> float:
    """Repeats an update for so many seconds; returns updates per second."""
    start = time.perf_counter()
    updates = 0
    while time.perf_counter() - start < seconds:
        update()
        updates += 1
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return updates / (time.perf_counter() - start)


def main(args: list[str] | None = None) -> None:
    with one_line_errors():
        prog = "python -m benchmarks.imitation_throughput"
        arguments = command_line.parse(Arguments, args=args, prog=prog, description=__doc__)
        require(arguments.rounds >= 1, "rounds", arguments.rounds, "at least 1")
        require(arguments.seconds > 0, "seconds", arguments.seconds, "above 0")
        tune_process()
        result = measure(arguments)
        table = Table("side", "samples/s", "rounds", box=None)
        for name, speed in result["samples_per_second"].items():
            table.add_row(
                name, f"{speed:,.0f}", ", ".join(f"{r:.0f}" for r in result["rounds"][name])
            )
        Console().print(table)
        print(f"{result['share_of_limit']:.0%} of the learner's limit on this machine")
        print(f"wrote {write_result('imitation-throughput', result)}")


if __name__ == "__main__":
    main()
