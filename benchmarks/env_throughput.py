"""What the tapes cost: our vector environment beside the bare AtariVectorEnv it is built on.

Both play the same game in the same process in turns, a block of steps each, so that whatever else
the machine does falls on both. Run: python -m benchmarks.env_throughput --game Pong
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

import envs
from envs.atari import atari_vector_env


def compare(
    game: str = "Pong",
    *,
    num_envs: int = 8,
    num_threads: int = 1,
    blocks: int = 20,
    steps_per_block: int = 250,
) -> float:
    """Prints median environment steps per second of both, and returns ours / bare."""
    ours = envs.make(game, num_envs, num_threads=num_threads)
    bare = atari_vector_env(ours.env_spec, num_envs, num_threads)
    ours.reset()
    bare.reset(seed=0)
    rng = np.random.default_rng(0)
    size = (steps_per_block, num_envs)
    rates: dict[str, list[float]] = {"bare AtariVectorEnv": [], "TapedVectorEnv": []}
    for block in range(blocks + 1):
        actions = rng.integers(0, ours.single_action_space.n, size)  # pyright: ignore
        contenders = list(zip(rates, (bare.step, ours.step), strict=True))
        for name, step in contenders if block % 2 else reversed(contenders):
            seconds = _seconds(step, actions)
            # The first block warms both up.
            if block:
                rates[name].append(actions.size / seconds)
    ours.close()
    bare.close()
    medians = {name: float(np.median(rate)) for name, rate in rates.items()}
    ratio = medians["TapedVectorEnv"] / medians["bare AtariVectorEnv"]
    print(f"{game}, {num_envs} environments, {num_threads} threads, {blocks} blocks")
    for name, rate in medians.items():
        low, high = np.percentile(rates[name], [25, 75])
        print(f"{name:20} {rate:8,.0f} steps/s   (middle half {low:,.0f} to {high:,.0f})")
    print(f"{'ours / bare':20} {ratio:8.3f}")
    return ratio


def _seconds(step: Callable[[np.ndarray], object], actions: np.ndarray) -> float:
    start = time.perf_counter()
    for batch in actions:
        step(batch)
    return time.perf_counter() - start


def main() -> None:
    """The command line of `compare`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--game", default="Pong")
    parser.add_argument("--num-envs", type=int, default=8)
    parser.add_argument("--num-threads", type=int, default=1)
    parser.add_argument("--blocks", type=int, default=20)
    arguments = parser.parse_args()
    compare(
        arguments.game,
        num_envs=arguments.num_envs,
        num_threads=arguments.num_threads,
        blocks=arguments.blocks,
    )


if __name__ == "__main__":
    main()
