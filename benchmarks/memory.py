"""Compares the memory of a full Atari replay with Stable-Baselines3's and with the arithmetic.

    python -m benchmarks.memory

The replays are really filled, because reserved memory costs nothing until it is written.
Stable-Baselines3's replay holds as many transitions as fit into a share of the free memory; its
bytes per transition are scaled to the size of ours. Each replay is filled in a separate process.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import torch
from gymnasium import spaces
from rich.console import Console
from rich.table import Table

from agents.core.data.replay import Replay
from agents.core.math.schedules import constant
from agents.core.training.config import require
from agents.core.types.spaces import Spaces
from agents.core.types.step import Step
from agents.dqn import Config
from benchmarks.isolated_process import in_own_process
from benchmarks.machine import write_result
from envs import UserError, command_line
from envs.entry import command as one_line_errors
from envs.errors import DoesNotFit

FRAME_BYTES = 84 * 84

STACK = 4

PEERS = {
    "Stable-Baselines3, optimized": STACK,
    "Stable-Baselines3": 2 * STACK,
}
"""Frames that each set-up of a peer stores per transition."""

FRAMES_KEPT = {
    "single frames": 1,
    "a stack per transition": STACK,
    "two stacks per transition": 2 * STACK,
}

PEER_ENVS = 8
"""Number of environments that fill a peer's replay; more would add larger temporary copies."""

PIECES = 10


@dataclass(frozen=True, kw_only=True)
class Arguments:
    transitions: int = 1_000_000  # Capacity of the replay.
    num_envs: int = 1_000  # Environments that fill it; they do not change the memory.
    memory_share: float = 0.25  # Share of the free memory that a peer's replay may fill.


def make_replay(arguments: Arguments) -> Replay:
    """Makes an empty Atari replay; raises a UserError if it does not fit into the memory."""
    num_envs = arguments.num_envs
    spaces = Spaces(num_envs, (STACK, 84, 84), torch.uint8, STACK, num_actions=6, atari=True)
    config = Config(buffer_size=arguments.transitions, num_envs=num_envs, n_step=constant(1))
    return Replay(config, spaces, torch.device("cpu"))


def fill(arguments: Arguments) -> dict[str, Any]:
    """Fills a replay in pieces; raises a UserError if it does not fit into the memory.

    Returns the growth of the resident set after each piece, and the bytes of other layouts.
    """
    num_envs = arguments.num_envs
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
    replay = make_replay(arguments)
    filled = [0]
    resident = [process.memory_info().rss - before]
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


def fill_peer(transitions: int, optimized: bool) -> dict[str, Any]:
    """Fills Stable-Baselines3's replay; returns its number of transitions and its bytes."""
    from stable_baselines3.common.buffers import (  # pyright: ignore[reportMissingImports]
        ReplayBuffer,
    )

    obs = np.random.default_rng(0).integers(0, 256, (PEER_ENVS, STACK, 84, 84), np.uint8)
    zeros = np.zeros(PEER_ENVS)
    infos = [{} for _ in range(PEER_ENVS)]
    process = psutil.Process()
    before = process.memory_info().rss
    replay = ReplayBuffer(
        transitions,
        spaces.Box(0, 255, (STACK, 84, 84), np.uint8),
        spaces.Discrete(6),
        device="cpu",
        n_envs=PEER_ENVS,
        optimize_memory_usage=optimized,
        # Stable-Baselines3 refuses both options together.
        handle_timeout_termination=not optimized,
    )
    while not replay.full:
        replay.add(obs, obs, zeros, zeros, zeros, infos)
    resident = process.memory_info().rss - before
    filled = replay.buffer_size * PEER_ENVS
    return {
        "transitions": filled,
        "resident_bytes": resident,
        "bytes_per_transition": round(resident / filled, 1),
    }


def measure_peers(arguments: Arguments) -> dict[str, dict[str, Any]]:
    """The result of `fill_peer` for each peer, or the reason why the peer was skipped."""
    if importlib.util.find_spec("stable_baselines3") is None:
        why = "stable-baselines3 is not installed: pip install -e '.[bench]'"
        return {name: {"skipped": why} for name in PEERS}
    measured: dict[str, dict[str, Any]] = {}
    for name, frames in PEERS.items():
        # The memory of an ended process is free again for the next one.
        share = arguments.memory_share * psutil.virtual_memory().available
        transitions = min(arguments.transitions, int(share / (frames * FRAME_BYTES)))
        try:
            measured[name] = in_own_process(fill_peer, transitions, frames == STACK)
        except UserError as error:
            measured[name] = {"skipped": str(error)}
    return measured


def show(result: dict[str, Any]) -> None:
    """Prints bytes per transition, and the GB of a replay as large as ours."""
    held = result["transitions"][-1]
    table = Table("replay", "filled with", "bytes each", f"GB of {held:,}", box=None)
    rows = {"ours": result | {"transitions": held}, **result["peers"]}
    for name, row in rows.items():
        if "skipped" in row:
            table.add_row(name, "skipped")
            continue
        each = row["bytes_per_transition"]
        filled = row["transitions"]
        scaled = "" if filled == held else ", scaled"
        table.add_row(name, f"{filled:,}", f"{each:,.0f}", f"{each * held / 1e9:.2f}{scaled}")
    for name, num_bytes in result["arithmetic_bytes"].items():
        table.add_row(
            f"arithmetic: {name}", "", f"{num_bytes / held:,.0f}", f"{num_bytes / 1e9:.2f}"
        )
    Console().print(table)
    for why in {row["skipped"] for row in rows.values() if "skipped" in row}:
        print(f"skipped: {why}")


def main(args: list[str] | None = None) -> None:
    with one_line_errors():
        arguments = command_line.parse(
            Arguments, args=args, prog="python -m benchmarks.memory", description=__doc__
        )
        require(arguments.num_envs >= 1, "num_envs", arguments.num_envs, "at least 1")
        share = arguments.memory_share
        require(0 < share <= 0.9, "memory_share", share, "above 0 and at most 0.9")
        try:
            result = in_own_process(fill, arguments)
        except DoesNotFit as error:
            print(f"skipped: {error}")
            return
        result["peers"] = measure_peers(arguments)
        show(result)
        print(f"wrote {write_result('memory', result)}")


if __name__ == "__main__":
    main()
