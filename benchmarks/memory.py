"""Memory of a full Atari replay, filled for real, beside the arithmetic.

    python -m benchmarks.memory

Every page is written, because reserved memory costs nothing until it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import torch
import tyro
from rich.console import Console
from rich.table import Table

from agents.core.config import require
from agents.core.launch import one_line_errors
from agents.core.replay import Replay
from agents.core.types import Spaces, Step
from agents.dqn import Config
from benchmarks.machine import write_result
from envs import UserError

FRAME_BYTES, STACK = 84 * 84, 4

FRAMES_KEPT = {
    "single frames": 1,
    "a stack per transition (Stable-Baselines3, optimised)": STACK,
    "two stacks per transition (Stable-Baselines3)": 2 * STACK,
}

PIECES = 10


@dataclass(frozen=True, kw_only=True)
class Arguments:
    transitions: int = 1_000_000  # Capacity of the replay.
    num_envs: int = 1_000  # Environments that fill it; the memory does not depend on it.


def make_replay(arguments: Arguments) -> Replay:
    """An Atari replay that has not asked for its memory yet."""
    num_envs = arguments.num_envs
    spaces = Spaces(num_envs, (STACK, 84, 84), torch.uint8, STACK, num_actions=6, atari=True)
    config = Config(buffer_size=arguments.transitions, num_envs=num_envs)
    return Replay(config, spaces, torch.device("cpu"))


def measure(replay: Replay) -> dict[str, Any]:
    """Fill a replay in pieces; raises a UserError when it would not fit.

    Returns bytes: the growth of the resident set after each piece, and what others ask for.
    """
    num_envs = replay.num_envs
    generator = np.random.default_rng(0)
    step = Step(
        obs=generator.integers(0, 256, (num_envs, STACK, 84, 84), np.uint8),
        action_N=np.zeros(num_envs, np.int64),
        reward_N=np.zeros(num_envs, np.float32),
        terminated_N=np.zeros(num_envs, bool),
        truncated_N=np.zeros(num_envs, bool),
        life_lost_N=np.zeros(num_envs, bool),
        final_obs=None,
    )
    process = psutil.Process()
    before = process.memory_info().rss
    replay.allocate()
    filled, resident = [0], [process.memory_info().rss - before]
    steps_per_piece = -(-replay.length // PIECES)
    while len(replay) < replay.length * num_envs:
        for _ in range(min(steps_per_piece, replay.length - len(replay) // num_envs)):
            replay.add(step)
        filled.append(len(replay))
        resident.append(process.memory_info().rss - before)
    transitions = filled[-1]
    return {
        "transitions": filled,
        "resident_bytes": resident,
        "bytes_per_transition": round(resident[-1] / transitions, 1),
        "arithmetic_bytes": {
            name: transitions * frames * FRAME_BYTES for name, frames in FRAMES_KEPT.items()
        },
    }


def show(result: dict[str, Any]) -> None:
    """Print the last measurement above the arithmetic, in GB."""
    table = Table("replay", "GB", box=None)
    table.add_row("ours, resident", f"{result['resident_bytes'][-1] / 1e9:.2f}")
    for name, num_bytes in result["arithmetic_bytes"].items():
        table.add_row(f"arithmetic: {name}", f"{num_bytes / 1e9:.2f}")
    console = Console()
    console.print(table)
    console.print(
        f"{result['transitions'][-1]:,} transitions, {result['bytes_per_transition']} bytes each"
    )


def main(args: list[str] | None = None) -> None:
    with one_line_errors():
        arguments = tyro.cli(
            Arguments, args=args, prog="python -m benchmarks.memory", description=__doc__
        )
        require(arguments.num_envs >= 1, "num_envs", arguments.num_envs, "at least 1")
        replay = make_replay(arguments)
        try:
            result = measure(replay)
        except UserError as error:
            print(f"skipped: {error}")
            return
        show(result)
        print(f"wrote {write_result('memory', result)}")


if __name__ == "__main__":
    main()
