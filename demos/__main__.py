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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from os import cpu_count
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import envs
from demos.dataset import Damage, Dataset, Metadata
from demos.describing import card, listing, statistics
from demos.editing import merged, save, split
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


@dataclass(frozen=True, kw_only=True)
class Filter:
    """The episodes of a dataset that are good enough."""

    dataset: tyro.conf.Positional[Path]  # Directory of the dataset.
    out: Path  # Directory of the new one.
    min_return: float = -float("inf")  # Least return.
    min_steps: int = 0  # Least length.
    skip_damaged: bool = False  # Leave out the episodes that are damaged.


@dataclass(frozen=True, kw_only=True)
class Split:
    """Two datasets of one, by whole episodes."""

    dataset: tyro.conf.Positional[Path]  # Directory of the dataset.
    out: tuple[Path, Path]  # Directories of the new ones.
    share: float = 0.9  # Of the episodes, in the first.
    seed: int = 0  # Seed of the choice.


@dataclass(frozen=True, kw_only=True)
class Merge:
    """One dataset of several of the same environment, each game once."""

    datasets: tyro.conf.Positional[tuple[Path, ...]]  # Directories of the datasets.
    out: Path  # Directory of the new one.


@dataclass(frozen=True, kw_only=True)
class Card:
    """A dataset card in Markdown, on the terminal."""

    dataset: tyro.conf.Positional[Path]  # Directory of the dataset.


def filter_dataset(arguments: Filter) -> int:
    dataset = Dataset.open(arguments.dataset)
    kept = [
        each
        for each in dataset.episodes(skip_damaged=arguments.skip_damaged)
        if each.score >= arguments.min_return and len(each) >= arguments.min_steps
    ]
    return said(save(arguments.out, remade(dataset), kept))


def split_dataset(arguments: Split) -> int:
    dataset = Dataset.open(arguments.dataset)
    if arguments.out[0] == arguments.out[1]:
        raise UserError(f"--out {arguments.out[0]}: must be two different directories")
    parts = split(dataset.episodes(), arguments.share, arguments.seed)
    for path in arguments.out:
        if (path / "dataset.json").exists():
            raise UserError(f"{path} is a dataset already; choose another name")
    for path, part in zip(arguments.out, parts, strict=True):
        said(save(path, remade(dataset), part))
    return 0


def merge_datasets(arguments: Merge) -> int:
    if not arguments.datasets:
        raise UserError("merge needs the directories of datasets")
    metadata, episodes = merged(
        [Dataset.open(path) for path in arguments.datasets], command_line(), now()
    )
    return said(save(arguments.out, metadata, episodes))


def print_card(arguments: Card) -> int:
    print(card(Dataset.open(arguments.dataset)), end="")
    return 0


def remade(dataset: Dataset) -> Metadata:
    """The metadata of what this command makes of a dataset."""
    return replace(dataset.metadata, command=command_line(), created=now())


def said(dataset: Dataset) -> int:
    print(f"{len(dataset.files())} episodes in {dataset.path}")
    return 0


def command_line() -> str:
    return "python -m demos " + shlex.join(sys.argv[1:])


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def record_dataset(arguments: Record) -> int:
    at_least(1, "episodes", arguments.episodes)
    at_least(1, "num_envs", arguments.num_envs)
    at_least(0, "seed", arguments.seed)
    spec = envs.spec(arguments.env_id)
    policy = resolve(arguments.policy, spec, arguments.seed, arguments.exploration)
    about = Metadata(
        spec=spec,
        policy=policy.name,
        created=now(),
        command=command_line(),
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
    CONSOLE.print(statistics(dataset, skip_damaged=arguments.skip_damaged))
    return 0


def list_datasets(arguments: List) -> int:
    CONSOLE.print(listing(arguments.directory))
    return 0


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
    Filter: filter_dataset,
    Split: split_dataset,
    Merge: merge_datasets,
    Card: print_card,
}


def main(args: list[str] | None = None) -> None:
    try:
        arguments = tyro.cli(
            Record | Verify | Stats | List | Filter | Split | Merge | Card,
            args=args,
            prog="python -m demos",
            description=__doc__,
        )
        sys.exit(COMMANDS[type(arguments)](arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
