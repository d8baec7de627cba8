"""`python -m demos verify`, `stats`, `list` and `card`."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from demos.dataset import Damage, Dataset, write
from demos.describing import at_least_one, card, listing, statistics
from demos.episode import Episode
from demos.picturing import picture
from demos.verification import verify


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Live every episode again; exit 1 where one is not what was recorded."""

    dataset: tyro.conf.Positional[Path]  # Directory of the dataset.

    def run(self) -> int:
        dataset, failures, steps = Dataset.open(self.dataset), 0, 0
        dataset.metadata.spec.check_reproducible()
        start, scanned = time.perf_counter(), list(dataset.scan())
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            wrongs = pool.map(wrong, scanned)
            for index, (each, what) in enumerate(zip(scanned, wrongs, strict=True)):
                steps += len(each) if isinstance(each, Episode) else 0
                if what is not None:
                    failures += 1
                    print(f"episode {index}: {what}")
        rate = steps / (time.perf_counter() - start)
        good, speed = len(scanned) - failures, f"{steps:,} steps, {rate:,.0f} steps/s"
        print(f"{good} of {len(scanned)} episodes are as recorded ({speed})")
        return 1 if failures or not scanned else 0


def wrong(each: Episode | Damage) -> str | None:
    """What is wrong with an episode, None for nothing."""
    if isinstance(each, Damage):
        return each.why
    difference = verify(each)
    return None if difference is None else f"step {difference.step}: {difference.what}"


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Returns, lengths and actions."""

    dataset: tyro.conf.Positional[Path]  # Directory of the dataset.
    skip_damaged: bool = False  # Describe the episodes that are whole.
    picture: Path | None = None  # Also draw histograms into a file, FILE.png, .svg or .pdf.

    def run(self) -> int:
        dataset = Dataset.open(self.dataset)
        episodes = dataset.episodes(skip_damaged=self.skip_damaged)
        at_least_one(dataset, episodes)
        if self.picture is not None:
            picture(self.picture, dataset, episodes)
        Console().print(statistics(dataset, episodes, skip_damaged=self.skip_damaged))
        return 0


@dataclass(frozen=True, kw_only=True)
class List:
    """The datasets of a directory."""

    directory: tyro.conf.Positional[Path] = Path(".")  # Where to look, folders in it included.

    def run(self) -> int:
        Console().print(listing(self.directory))
        return 0


@dataclass(frozen=True, kw_only=True)
class Card:
    """A dataset card in Markdown."""

    dataset: tyro.conf.Positional[Path]  # Directory of the dataset.
    out: Path | None = None  # File to write it to; None prints it.

    def run(self) -> int:
        text = card(Dataset.open(self.dataset))
        if self.out is None:
            print(text, end="")
        else:
            write(self.out, text.encode())
        return 0
