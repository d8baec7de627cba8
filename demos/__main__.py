"""`python -m demos` records, verifies and describes demonstrations.

python -m demos record --env Pong --policy runs/<run> --episodes 20 --out pong-expert
python -m demos verify pong-expert
python -m demos stats pong-expert
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import cpu_count
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import envs
from demos.dataset import Damage, Dataset, Metadata
from demos.episode import Episode
from demos.policies import resolve
from demos.recording import record
from demos.verification import verify
from envs import UserError
from envs.errors import at_least

CONSOLE = Console()


@dataclass(frozen=True, kw_only=True)
class Record:
    """Let a policy play, and keep whole episodes."""

    out: Path  # Directory of the dataset, a new one.
    env_id: Annotated[str, tyro.conf.arg(name="env")] = "Pong"  # Environment.
    policy: str = "random"  # Who plays: random, script:module:function or a run's directory.
    episodes: int = 20  # Episodes to keep.
    min_return: float = -float("inf")  # Episodes of a lower return are not kept.
    max_played: int = 10_000  # Episodes to play at most, kept or not.
    exploration: float | None = None  # ε or temperature of a run's agent; None is its own.
    num_envs: int = 8  # Games at a time.
    seed: int = 0  # Seed of the games.


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Live every episode again; exit 1 where one is not what was recorded."""

    dataset: tyro.conf.Positional[Path]  # Directory of the dataset.


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Returns, lengths and actions."""

    dataset: tyro.conf.Positional[Path]  # Directory of the dataset.
    skip_damaged: bool = False  # Describe the episodes that are whole.


@dataclass(frozen=True, kw_only=True)
class List:
    """The datasets of a directory."""

    directory: tyro.conf.Positional[Path] = Path(".")  # Where to look, folders in it included.


def record_dataset(arguments: Record) -> int:
    at_least(1, "episodes", arguments.episodes)
    at_least(1, "num_envs", arguments.num_envs)
    at_least(0, "seed", arguments.seed)
    spec = envs.spec(arguments.env_id)
    policy = resolve(arguments.policy, spec, arguments.seed, arguments.exploration)
    about = Metadata(
        spec=spec,
        policy=policy.name,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        command="python -m demos " + shlex.join(sys.argv[1:]),
        commit=commit(),
    )
    dataset, kept, refused = Dataset.create(arguments.out, about), 0, 0
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = [TextColumn(c) if isinstance(c, str) else c for c in columns]
    with Progress(*shown, console=CONSOLE) as progress:
        task = progress.add_task("recording", total=arguments.episodes)
        played = record(spec, policy, arguments.max_played, arguments.seed, arguments.num_envs)
        for episode in played:
            if episode.score < arguments.min_return:
                refused += 1
                continue
            dataset.append(episode)
            kept += 1
            progress.update(task, advance=1, description=f"last return {episode.score:g}")
            if kept == arguments.episodes:
                break
    below = f", {refused} below --min-return {arguments.min_return:g}" if refused else ""
    print(f"{kept} episodes in {arguments.out}{below}")
    return 0 if kept == arguments.episodes else 1


def verify_dataset(arguments: Verify) -> int:
    dataset, failures, steps, start = Dataset.open(arguments.dataset), 0, 0, time.perf_counter()
    dataset.metadata.spec.check_reproducible()

    def outcome(each: Episode | Damage) -> str | None:
        if isinstance(each, Damage):
            return each.why
        difference = verify(each)
        return None if difference is None else f"step {difference.step}: {difference.what}"

    scanned = list(dataset.scan())
    with ThreadPoolExecutor(cpu_count()) as pool:
        for index, (each, wrong) in enumerate(
            zip(scanned, pool.map(outcome, scanned), strict=True)
        ):
            steps += len(each) if isinstance(each, Episode) else 0
            if wrong is not None:
                failures += 1
                print(f"episode {index}: {wrong}")
    rate = steps / (time.perf_counter() - start)
    good = len(scanned) - failures
    print(
        f"{good} of {len(scanned)} episodes are as recorded ({steps:,} steps, {rate:,.0f} steps/s)"
    )
    return 1 if failures or not scanned else 0


def describe_dataset(arguments: Stats) -> int:
    dataset = Dataset.open(arguments.dataset)
    episodes = dataset.episodes(skip_damaged=arguments.skip_damaged)
    if not episodes:
        raise UserError(f"{arguments.dataset} has no episodes")
    scores, lengths = np.array([e.score for e in episodes]), np.array([len(e) for e in episodes])
    table = Table(box=None, show_header=False)
    size = sum(path.stat().st_size for path in dataset.files())
    duplicates = len(episodes) - len({e.digests[-1].tobytes() for e in episodes})
    rows = {
        "environment": dataset.metadata.spec.protocol,
        "policy": dataset.metadata.policy,
        "episodes": f"{len(episodes)} ({duplicates} twice)",
        "return": f"{scores.mean():.2f} on average, {scores.min():g} to {scores.max():g}",
        "steps": f"{lengths.sum():,} ({lengths.min()} to {lengths.max()} an episode)",
        "terminated": f"{sum(e.terminated for e in episodes)}",
        "on disk": f"{size:,} bytes, {size / lengths.sum():.2f} a step",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    actions = np.concatenate([e.actions for e in episodes])
    if actions.ndim == 1 and actions.dtype.kind in "iu":
        values, counts = np.unique(actions, return_counts=True)
        for value, count in zip(values, counts, strict=True):
            share = count / len(actions)
            table.add_row(f"action {value}", f"{'█' * round(40 * share)} {share:.1%}")
    CONSOLE.print(table)
    return 0


def list_datasets(arguments: List) -> int:
    table = Table("dataset", "environment", "policy", "episodes", box=None)
    for path in datasets_in(arguments.directory):
        name = str(path.relative_to(arguments.directory))
        try:
            dataset = Dataset.open(path)
        except UserError as error:
            table.add_row(name, str(error), "", "")
            continue
        about = dataset.metadata
        table.add_row(name, about.spec.protocol, about.policy, str(len(dataset.files())))
    CONSOLE.print(table)
    return 0


def datasets_in(directory: Path) -> Iterator[Path]:
    """The directories at or below this one that are datasets."""
    yield from sorted(path.parent for path in directory.rglob("dataset.json"))


def commit() -> str:
    """The commit of the code, "" outside Git."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


COMMANDS = {
    Record: record_dataset,
    Verify: verify_dataset,
    Stats: describe_dataset,
    List: list_datasets,
}


def main(args: list[str] | None = None) -> None:
    try:
        arguments = tyro.cli(
            Record | Verify | Stats | List, args=args, prog="python -m demos", description=__doc__
        )
        sys.exit(COMMANDS[type(arguments)](arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
