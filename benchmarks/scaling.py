"""Measures how speed scales with the number of environments, the batch size and the updates.

    python -m benchmarks.scaling --algo ppo --env Pong -- --num-threads 1

At each point, one setting differs from the algorithm's defaults and from the options after `--`. A
point runs in a separate process, which warms up and then trains once with timed phases. The
resident memory includes only the filled part of a replay.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import psutil
import torch
import tyro
from rich.console import Console
from rich.table import Table

from agents.core.training.config import require, to_json
from benchmarks.contenders import Joystick
from benchmarks.isolated_process import in_own_process
from benchmarks.machine import write_result
from benchmarks.phases import Phases, points, settings, warm_up
from benchmarks.throughput import CALIBRATION_STEPS, turn
from benchmarks.workloads import workload
from envs import UserError, command_line, spec
from envs.entry import command as one_line_errors

NUM_ENVS = (1, 2, 4, 8, 16, 32, 64)

AXES: dict[str, dict[str, tuple[float, ...]]] = {
    "dqn": {
        "num_envs": NUM_ENVS,
        "batch_size": (16, 32, 64, 128, 256),
        "samples_per_step": (1.0, 2.0, 4.0, 8.0, 16.0),
    },
    "ppo": {
        "num_envs": NUM_ENVS,
        "batch_size": (64, 128, 256, 512, 1024),
        "epochs": (1, 2, 4, 8),
    },
}

WIDTH = 120
"""Smallest width of the table in columns, also on a narrower terminal."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    algo: Literal["dqn", "ppo"] = "dqn"  # Algorithm.
    env_id: Annotated[str, tyro.conf.arg(name="env")] = "Pong"  # Environment.
    seconds: float = 10.0  # Length of a point's turn; for PPO at least one rollout.
    # If all lists are empty, all axes of the algorithm are measured with default values.
    num_envs: tuple[int, ...] = ()  # Numbers of environments.
    batch_size: tuple[int, ...] = ()  # Samples in an update.
    samples_per_step: tuple[float, ...] = ()  # DQN: transitions trained on per step.
    epochs: tuple[int, ...] = ()  # PPO: passes over a rollout.

    def axes(self) -> dict[str, tuple[float, ...]]:
        """The settings to vary, with their values.

        Raises:
            UserError: the algorithm does not have a given setting.
        """
        known = AXES[self.algo]
        names = {name for axes in AXES.values() for name in axes}
        given = {name: getattr(self, name) for name in names if getattr(self, name)}
        for name in given:
            allowed = f"left out: {self.algo} has {', '.join(known)}"
            require(name in known, name, " ".join(map(str, given[name])), allowed)
        return {name: given[name] for name in known if name in given} or known


def varied(axes: dict[str, tuple[float, ...]], default: Any) -> list[tuple[str, float, Any]]:
    """Triples of an axis, a value and the config with this value; raises if one is invalid."""
    configs = [
        (axis, value, dataclasses.replace(default, **{axis: value}))
        for axis, values in axes.items()
        for value in values
    ]
    for _, _, config in configs:
        config.validate()
    return configs


def measure(algo: str, config: Any, seconds: float) -> dict[str, Any]:
    """Measures speed, shares of the phases and memory of one point, in the current process."""
    contender = Joystick(algo, config)
    warm_up(contender)
    speed, _ = turn(contender, CALIBRATION_STEPS)
    phases = Phases()
    with phases.attached(points(contender)):
        speed, _ = turn(contender, int(seconds * speed) + 1)
    compute = contender.agent.policy.compute
    record = {
        **contender.about,
        "threads": compute.shards * compute.threads_per_shard,
        "steps_per_second": round(speed, 1),
        "samples_per_second": round(speed * workload(algo).samples_per_step(config), 1),
        "shares": {name: round(share, 4) for name, share in phases.shares.items()},
        "resident_bytes": psutil.Process().memory_info().rss,
    }
    if compute.device.type == "cuda":
        record["device_bytes"] = torch.cuda.max_memory_allocated(compute.device)
    return record


def measure_all(arguments: Arguments, default: Any) -> list[dict[str, Any]]:
    """Measures all points; points with the same settings are measured once.

    A point that does not fit into the memory is skipped.

    Raises:
        UserError: all points were skipped.
    """
    known: dict[Any, dict[str, Any]] = {}
    records = []
    for axis, value, config in varied(arguments.axes(), default):
        if config not in known:
            try:
                known[config] = in_own_process(measure, arguments.algo, config, arguments.seconds)
            except UserError as error:
                known[config] = {"skipped": str(error)}
        records.append({"axis": axis, "value": value, **known[config]})
        print(f"{axis} {value:g}: {known[config].get('steps_per_second', 'skipped')}", flush=True)
    if all("skipped" in record for record in records):
        raise UserError(records[0]["skipped"])
    return records


def show(records: list[dict[str, Any]]) -> None:
    """Prints a row for each point, with the share of each phase."""
    phases = list(next(record["shares"] for record in records if "shares" in record))
    columns = ("axis", "value", "steps/s", "samples/s", "GB", *phases)
    table = Table(*columns, box=None, padding=(0, 1, 0, 0))
    for record in records:
        at = record["axis"], f"{record['value']:g}"
        if "skipped" in record:
            table.add_row(*at, "skipped")
            continue
        speeds = (f"{record[name]:,.0f}" for name in ("steps_per_second", "samples_per_second"))
        shares = (f"{record['shares'][name]:.0%}" for name in phases)
        table.add_row(*at, *speeds, f"{record['resident_bytes'] / 1e9:.2f}", *shares)
    console = Console()
    console.width = max(WIDTH, console.width)
    console.print(table)
    for record in records:
        if "skipped" in record:
            print(f"skipped {record['axis']} {record['value']:g}: {record['skipped']}")


def main(args: list[str] | None = None) -> None:
    args = sys.argv[1:] if args is None else args
    split = args.index("--") if "--" in args else len(args)
    with one_line_errors():
        prog = "python -m benchmarks.scaling"
        arguments = command_line.parse(Arguments, args=args[:split], prog=prog, description=__doc__)
        require(arguments.seconds > 0, "seconds", arguments.seconds, "above 0")
        default = settings(arguments.algo, arguments.env_id, args[split + 1 :])
        varied(arguments.axes(), default)
        records = measure_all(arguments, default)
        show(records)
        about = {"protocol": spec(default.env_id).protocol, "config": to_json(default)}
        result = {**about, "seconds_per_turn": arguments.seconds, "points": records}
        game = arguments.env_id.replace("/", "-")
        print(f"wrote {write_result(f'scaling-{arguments.algo}-{game}', result)}")


if __name__ == "__main__":
    main()
