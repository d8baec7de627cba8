"""What makes our loop faster on this machine: each candidate beside the loop as it is.

    python -m benchmarks.loop_candidates --algo dqn
    python -m benchmarks.loop_candidates --algo ppo
    python -m benchmarks.loop_candidates --own-recipe --only "all cores learn and act"

The work per step is that of `benchmarks.throughput`, or of the default recipe; a candidate changes
who does it and when, or with how many environments or samples at a time. Each lives in a process of
its own, and they take turns. What makes a single update faster is `benchmarks.candidates`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal
from unittest import mock

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from agents.core.training import experience
from agents.core.training.config import require, to_json
from agents.core.training.launch import one_line_errors
from benchmarks.machine import write_result
from benchmarks.phases import settings
from benchmarks.sides import Joystick
from benchmarks.throughput import process, take_turns
from benchmarks.workloads import make_config
from envs import command_line


def learning_after_emulating(algo: str, config: Any) -> Joystick:
    """An agent that learns when it has heard what its actions led to, and acts with the weights
    of that; ours learns meanwhile, and acts with those of a round before."""
    side = Joystick(algo, config)
    assert isinstance(side.training.experience, experience.Interaction)
    side.training.experience.overlap = False
    return side


def emulating_on_one_thread(algo: str, config: Any) -> Joystick:
    """An agent whose environments step one after the other."""
    with mock.patch.object(experience, "roles", return_value=(1, 1)):
        return Joystick(algo, config)


def gathering_on_two_threads(algo: str, config: Any) -> Joystick:
    """An agent whose replay gathers observations on one thread and those that they led to on
    another, while it sums rewards on its own."""
    side = Joystick(algo, config)
    replay: Any = side.agent.replay  # pyright: ignore[reportAttributeAccessIssue]
    pool, gather = ThreadPoolExecutor(2, "gather", torch.set_num_threads, (1,)), replay.gather
    replay.observations = partial(pool.submit, replay.observations)

    def gather_beside(slot_B: Tensor) -> Any:
        batch = gather(slot_B)
        return replace(batch, obs=batch.obs.result(), next_obs=batch.next_obs.result())

    replay.gather = gather_beside
    return side


@dataclass(frozen=True)
class Candidate:
    """A way to do the work: settings that differ, and what makes the side."""

    settings: dict[str, Any] = field(default_factory=dict)
    make: Callable[[str, Any], Joystick] = Joystick


BASE = "as it is"

EVERYONES = {
    BASE: Candidate(),
    "two half-pools": Candidate({"num_groups": 2}),
    "emulator on one thread": Candidate({}, emulating_on_one_thread),
}

CANDIDATES = {
    "dqn": {
        **EVERYONES,
        "learning after emulating": Candidate({}, learning_after_emulating),
        "learning on a core of its own": Candidate({"learn_beside": True}),
        "all cores learn and act": Candidate({"learn_beside": False}),
        "gathering on two threads": Candidate({}, gathering_on_two_threads),
        "16 environments": Candidate({"num_envs": 16}),
        "32 environments": Candidate({"num_envs": 32}),
        "minibatches of 64": Candidate({"batch_size": 64}),
        "minibatches of 128": Candidate({"batch_size": 128}),
        "minibatches of 256": Candidate({"batch_size": 256}),
    },
    "ppo": {
        **EVERYONES,
        "16 environments": Candidate({"num_envs": 16, "horizon_steps": 64}),
        "32 environments": Candidate({"num_envs": 32, "horizon_steps": 32}),
        "minibatches of 128": Candidate({"batch_size": 128}),
        "minibatches of 512": Candidate({"batch_size": 512}),
    },
}
"""Minibatches are larger at the same samples per step: there are fewer of them."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    algo: Literal["dqn", "ppo"] = "dqn"  # Algorithm.
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # Of all candidates.
    num_threads: int = 0  # CPU threads of each; 0 is one per core.
    seconds: float = 6.0  # Length of a turn.
    rounds: int = 5  # Turns of each, after one that does not count.
    only: tuple[str, ...] = ()  # Candidates to measure; by default all.
    own_recipe: bool = False  # Ours for Atari, in place of what is compared with others.


def measure(arguments: Arguments) -> dict[str, Any]:
    """Steps per second of each candidate in each round, and their ratio to the loop as it is."""
    common = {"precision": arguments.precision, "num_threads": arguments.num_threads}
    default = make_config(arguments.algo, "Pong", **common)
    if arguments.own_recipe:
        default = replace(settings(arguments.algo, "Pong", []), **common)
    chosen = CANDIDATES[arguments.algo]
    for name in arguments.only:
        require(name in chosen, "only", name, f"one of {', '.join(chosen)}")
    chosen = {name: chosen[name] for name in (BASE, *arguments.only)} if arguments.only else chosen
    with ExitStack() as stack:
        sides = []
        for candidate in chosen.values():
            config = replace(default, **candidate.settings)
            side = stack.enter_context(process(candidate.make, arguments.algo, config))
            side.recv()
            sides.append(side)
        turns = take_turns(sides, arguments.seconds, arguments.rounds)
    rounds = {
        name: [round(steps_per_second, 1) for steps_per_second, _ in its_turns]
        for name, its_turns in zip(chosen, turns, strict=True)
    }
    candidates = []
    for name, speeds in rounds.items():
        ratios = [mine / base for mine, base in zip(speeds, rounds[BASE], strict=True)]
        about = {"steps_per_second": statistics.median(speeds), "rounds": speeds}
        ratio = round(statistics.median(ratios), 3)
        candidates.append({"candidate": name, "ratio": ratio, **about})
    return {"config": to_json(default), "candidates": candidates}


def show(result: dict[str, Any]) -> None:
    """Print the candidates as a table."""
    table = Table("candidate", "steps/s", "times as it is", "rounds", box=None)
    for each in result["candidates"]:
        rounds = ", ".join(f"{speed:.0f}" for speed in each["rounds"])
        speed = f"{each['steps_per_second']:,.0f}"
        table.add_row(each["candidate"], speed, f"{each['ratio']:.2f}", rounds)
    Console().print(table)


def main(args: list[str] | None = None) -> None:
    with one_line_errors():
        arguments = command_line.parse(
            Arguments, args=args, prog="python -m benchmarks.loop_candidates", description=__doc__
        )
        require(arguments.rounds >= 1, "rounds", arguments.rounds, "at least 1")
        require(arguments.seconds > 0, "seconds", arguments.seconds, "above 0")
        make_config(
            arguments.algo, precision=arguments.precision, num_threads=arguments.num_threads
        ).validate()
        result = measure(arguments)
        show(result)
        print(f"wrote {write_result(f'loop-candidates-{arguments.algo}', result)}")


if __name__ == "__main__":
    main()
