"""Measures the cost of tapes: compares our vector environment with ale-py's bare AtariVectorEnv.

    python -m benchmarks.env_throughput --game Pong

Both play the same game in the same process, and take turns by blocks of steps. So other work on the
machine affects both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console

import envs
from agents.core.training.config import require
from benchmarks.machine import write_result
from envs import command_line
from envs.atari import atari_vector_env
from envs.entry import command as one_line_errors


@dataclass(frozen=True, kw_only=True)
class Arguments:
    game: str = "Pong"  # Atari game, with the protocol that its name implies.
    num_envs: int = 8  # Environments that step together.
    num_threads: int = 1  # Threads of the emulator.
    blocks: int = 40  # Blocks of each contender, after a first block that does not count.
    steps_per_block: int = 250  # Steps of the vector environment in a block.


def compare(arguments: Arguments) -> dict[str, Any]:
    """Returns the environment steps per second of both contenders, and the median of the ratios."""
    num_envs = arguments.num_envs
    num_threads = arguments.num_threads
    ours = envs.make(arguments.game, num_envs, num_threads=num_threads)
    bare = atari_vector_env(ours.env_spec, num_envs, num_threads)
    ours.reset()
    bare.reset(seed=0)
    rng = np.random.default_rng(0)
    rates: dict[str, list[float]] = {"bare": [], "ours": []}
    for block in range(arguments.blocks + 1):
        size = (arguments.steps_per_block, num_envs)
        actions = rng.integers(0, ours.single_action_space.n, size)  # pyright: ignore
        contenders = list(zip(rates, (bare.step, ours.step), strict=True))
        for name, step in contenders if block % 2 else reversed(contenders):
            seconds = _seconds(step, actions)
            # The first block only warms up.
            if block:
                rates[name].append(actions.size / seconds)
    ours.close()
    bare.close()
    ratios = np.divide(rates["ours"], rates["bare"])
    return {
        "protocol": ours.env_spec.protocol,
        "num_envs": num_envs,
        "num_threads": num_threads,
        "steps_per_second": {name: round(float(np.median(rate))) for name, rate in rates.items()},
        "ratio": round(float(np.median(ratios)), 3),
        "ratio_middle_half": np.percentile(ratios, [25, 75]).round(3).tolist(),
    }


def _seconds(step: Callable[[np.ndarray], object], actions: np.ndarray) -> float:
    start = time.perf_counter()
    for batch in actions:
        step(batch)
    return time.perf_counter() - start


def main(args: list[str] | None = None) -> None:
    with one_line_errors():
        arguments = command_line.parse(
            Arguments, args=args, prog="python -m benchmarks.env_throughput", description=__doc__
        )
        for name in ("num_envs", "num_threads", "blocks", "steps_per_block"):
            require(getattr(arguments, name) >= 1, name, getattr(arguments, name), "at least 1")
        result = compare(arguments)
        Console().print(result)
        print(f"wrote {write_result('env-throughput', result)}")


if __name__ == "__main__":
    main()
