"""Compares the steps per second of our agent with a peer's, at the same work per step.

    python -m benchmarks.throughput --algo ppo --against sb3
    python -m benchmarks.throughput --algo dqn --beside c51 qr_dqn iqn

`benchmarks.workloads` defines the work. Each contender runs in a separate process, with the
allocator and the threads that its users get. The contenders take turns, so that other work on the
machine affects all of them. The peer counts with its faster set-up. It is sb3-contrib's QR-DQN for
ours. An algorithm that the peer lacks has the peer's DQN beside it. The algorithms of `--beside`
take turns too, each with its peer.

Two contenders only learn, on a fixed batch: "limit" with the loop of a tutorial, "learner" with our
learner's update. Our share of the faster one shows the cost of the rest of training. The contender
"acting" only acts and emulates. Learning and acting one after the other is a second limit. Our
share of it shows the cost of everything except learning, acting and the emulator.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import multiprocessing
import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal, cast

import numpy as np
from rich.console import Console
from rich.table import Table

import envs
from agents.core.system.device import resolve_device
from agents.core.training.config import require, to_json
from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.contenders_sb3 import ARGUMENTS, PACKAGES, StableBaselines
from benchmarks.machine import write_result
from benchmarks.workloads import make_config, workload
from envs import UserError, command_line
from envs.entry import command as one_line_errors

Make = Callable[[str, Any], Contender]
"""Makes a contender from an algorithm's name and a config."""

PEERS: dict[str, Make] = {"sb3": StableBaselines}

MAKERS = CONTENDERS | PEERS

CALIBRATION_STEPS = 256
"""Steps after the warm-up from which the number of steps in a turn is estimated."""


@dataclass(frozen=True)
class Entrant:
    """A contender: its name in the table, its maker's name, its algorithm and its config."""

    side: str
    maker: str
    algo: str
    config: Any


@dataclass(frozen=True, kw_only=True)
class Arguments:
    algo: str = "dqn"  # The algorithm to measure.
    beside: tuple[str, ...] = ()  # Other algorithms of ours that take turns with it.
    against: Literal["sb3"] = "sb3"  # The peer: Stable-Baselines3.
    game: str = "Pong"  # Atari game; its protocol is <game>NoFrameskip-v4.
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # Our precision; the peer's is fp32.
    device: Literal["auto", "cpu", "cuda"] = "auto"  # Device of all contenders.
    num_envs: int = 0  # Number of our environments; 0 is the default: 16 for A2C, otherwise 8.
    env_splits: Literal[1, 2] = 1  # Groups of our environments; of 2, one steps at a time.
    seconds: float = 20.0  # Length of a turn.
    rounds: int = 3  # Turns of each contender, after a first turn that does not count.

    def config(self, algo: str = "") -> Any:
        """The config of our contenders; "" is the algorithm to measure."""
        changed: dict[str, Any] = {"num_envs": self.num_envs} if self.num_envs else {}
        for name in ("precision", "device", "env_splits"):
            changed[name] = getattr(self, name)
        return make_config(algo or self.algo, self.game, **changed)

    @property
    def peer(self) -> str:
        """The algorithm that the peer trains."""
        return self.algo if self.algo in ARGUMENTS else "dqn"

    def entrants(self) -> list[Entrant]:
        """All contenders."""
        config = self.config()
        has_limit = workload(self.algo).has_limit
        found = [
            Entrant(name, name, self.algo, config)
            for name in CONTENDERS
            if name != "limit" or has_limit
        ]
        for algo in self.beside:
            found.append(Entrant(f"joystick {algo}", "joystick", algo, self.config(algo)))
        others = [algo for algo in self.beside if algo in ARGUMENTS and algo != self.peer]
        for algo in (self.peer, *others):
            found += self.peers(algo)
        return found

    def peers(self, algo: str) -> list[Entrant]:
        """The set-ups of the peer's algorithm; it has the work that ours has."""
        config = self.config(algo)
        side = self.against if algo == self.peer else f"{self.against} {algo}"
        return [
            Entrant(side, self.against, algo, dataclasses.replace(config, num_envs=num_envs))
            for num_envs in workload(algo).peer_num_envs or (config.num_envs,)
        ]


def turn(contender: Contender, steps: int) -> tuple[float, float]:
    """Trains for about so many steps; returns steps per second, and updates per step."""
    before = contender.counts
    seconds = contender.advance(steps)
    steps, updates = np.subtract(contender.counts, before).tolist()
    return steps / seconds, updates / steps


def serve(make: Make, algo: str, config: Any, connection: Connection) -> None:
    """Runs in a contender's process: warms up, then trains a turn for each received duration."""
    contender = make(algo, config)
    contender.advance(workload(algo).warm_up_steps)
    steps_per_second, _ = turn(contender, CALIBRATION_STEPS)
    connection.send(contender.about)
    for seconds in iter(connection.recv, None):
        steps_per_second, updates_per_step = turn(contender, int(seconds * steps_per_second) + 1)
        connection.send((steps_per_second, updates_per_step))


@contextmanager
def process(make: Make, algo: str, config: Any) -> Iterator[Connection]:
    """The connection to a contender's process, which ends with the context."""
    context = multiprocessing.get_context("spawn")
    # Windows has another class with the same methods.
    connection, theirs = cast("tuple[Connection, Connection]", context.Pipe())
    child = context.Process(target=serve, args=(make, algo, config, theirs), daemon=True)
    child.start()
    theirs.close()
    try:
        yield connection
        connection.send(None)
        child.join()
    finally:
        child.terminate()


def take_turns(
    contenders: list[Connection], seconds: float, rounds: int
) -> list[list[tuple[float, float]]]:
    """Run all contenders in turns; return each one's results of `turn`, without the first."""
    turns = [[] for _ in contenders]
    for _ in range(1 + rounds):
        for contender, its_turns in zip(contenders, turns, strict=True):
            contender.send(seconds)
            its_turns.append(contender.recv())
    return [its_turns[1:] for its_turns in turns]


def measure(arguments: Arguments) -> dict[str, Any]:
    """The speeds of all contenders over the rounds, their medians and the ratio."""
    with ExitStack() as stack:
        # One after the other: a contender that sets up would disturb the warm-up of another.
        contenders = []
        records = []
        for each in arguments.entrants():
            made = process(MAKERS[each.maker], each.algo, each.config)
            connection = stack.enter_context(made)
            numbers = {key: getattr(each.config, key) for key in ("num_envs", "batch_size")}
            about = {"side": each.side, "algo": each.algo}
            records.append({**about, **connection.recv(), **numbers})
            contenders.append(connection)
        turns = take_turns(contenders, arguments.seconds, arguments.rounds)
    for record, its_turns in zip(records, turns, strict=True):
        updates_per_step = its_turns[-1][1]
        record["samples_per_step"] = round(updates_per_step * record["batch_size"], 2)
        record["rounds"] = [round(steps_per_second, 1) for steps_per_second, _ in its_turns]
    config = to_json(arguments.config())
    return {"seconds_per_turn": arguments.seconds, "config": config, **summary(records)}


def summary(contenders: list[dict[str, Any]]) -> dict[str, Any]:
    """The median speeds, our ratio to the peer's faster set-up, and our shares of the limits."""
    for contender in contenders:
        contender["steps_per_second"] = statistics.median(contender["rounds"])
    speed = {contender["side"]: contender["steps_per_second"] for contender in contenders}
    ours = next(contender for contender in contenders if contender["side"] == "joystick")
    peers = [contender for contender in contenders if contender["side"] in PEERS]
    best = max(peers, key=lambda contender: contender["steps_per_second"])
    # An agent with several losses has no loop of a tutorial here.
    limit = max(speed.get("limit", 0.0), speed["learner"])
    in_turns = 1 / (1 / limit + 1 / speed["acting"])
    return {
        "sides": contenders,
        "share_of_limit": round(speed["joystick"] / limit, 2),
        "limit_with_acting": round(in_turns, 1),
        "share_of_limit_with_acting": round(speed["joystick"] / in_turns, 2),
        "ratio": round(speed["joystick"] / best["steps_per_second"], 2),
        "ratio_of_each_round": [
            round(mine / theirs, 2)
            for mine, theirs in zip(ours["rounds"], best["rounds"], strict=True)
        ],
        "beside": {
            name: round(speed["joystick"] / its, 2)
            for name, its in speed.items()
            if name.startswith("joystick ")
        },
        "to_peer": to_peer(contenders),
    }


def to_peer(contenders: list[dict[str, Any]]) -> dict[str, float]:
    """The ratio of each algorithm of ours to the faster set-up of its own peer."""
    ours: dict[str, float] = {}
    peers: dict[str, float] = {}
    for contender in contenders:
        kind = contender["side"].partition(" ")[0]
        found = ours if kind == "joystick" else peers if kind in PEERS else None
        if found is not None:
            algo = contender["algo"]
            found[algo] = max(found.get(algo, 0.0), contender["steps_per_second"])
    return {algo: round(ours[algo] / peers[algo], 2) for algo in ours if algo in peers}


def show(result: dict[str, Any]) -> None:
    """Prints the contenders as a table, and the ratio below it."""
    columns = (
        "side",
        "algo",
        "num_envs",
        "precision",
        "device",
        "samples_per_step",
        "steps_per_second",
    )
    table = Table(*(name.replace("_", " ") for name in columns), "rounds", box=None)
    for contender in result["sides"]:
        rounds = ", ".join(f"{speed:.0f}" for speed in contender["rounds"])
        table.add_row(*(str(contender[name]) for name in columns), rounds)
    console = Console()
    console.print(table)
    console.print(
        f"{result['share_of_limit']:.0%} of the learner's limit on this machine, "
        f"{result['share_of_limit_with_acting']:.0%} of learning and acting in turns"
    )
    console.print(f"{result['ratio']} times the peer (by round: {result['ratio_of_each_round']})")
    for name, ratio in result["beside"].items():
        console.print(f"{ratio} times {name}")
    for algo, ratio in result["to_peer"].items():
        console.print(f"our {algo} is {ratio} times the peer's")


def main(args: list[str] | None = None) -> None:
    with one_line_errors():
        arguments = command_line.parse(
            Arguments, args=args, prog="python -m benchmarks.throughput", description=__doc__
        )
        require(arguments.rounds >= 1, "rounds", arguments.rounds, "at least 1")
        require(arguments.seconds > 0, "seconds", arguments.seconds, "above 0")
        # Errors are found here, because a contender's process would print a traceback.
        for entrant in arguments.entrants():
            entrant.config.validate()
        envs.spec(arguments.config().env_id)
        for algo in (arguments.peer, *arguments.beside):
            package = PACKAGES.get(algo, "stable_baselines3")
            if importlib.util.find_spec(package) is None:
                name = package.replace("_", "-")
                raise UserError(f"{name} is not installed: pip install -e '.[dev]'")
        resolve_device(arguments.device)
        result = measure(arguments)
        show(result)
        print(f"wrote {write_result(f'throughput-{arguments.algo}', result)}")


if __name__ == "__main__":
    main()
