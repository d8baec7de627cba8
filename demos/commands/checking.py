"""`python -m demos verify`, `stats`, `list` and `card`."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tyro
from rich.console import Console

from demos.dataset import Dataset, write
from demos.describing import at_least_one, card, listing, statistics
from demos.picturing import picture
from demos.verification import verify
from envs import UserError


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Live every episode again; exit 1 where one is not what was recorded.

    Episodes with stored observations are not lived again, but held against their digests.
    """

    dataset: tyro.conf.Positional[Path]  # Directory of the dataset.

    def run(self) -> int:
        dataset = Dataset.open(self.dataset)
        if dataset.metadata.replayable:
            dataset.metadata.spec.check_reproducible()
        start, files, failures, steps = time.perf_counter(), dataset.files(), 0, 0
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for index, (count, wrong) in enumerate(pool.map(partial(check, dataset), files)):
                steps += count
                if wrong is not None:
                    failures += 1
                    print(f"episode {index}: {wrong}")
        rate = steps / (time.perf_counter() - start)
        good, speed = len(files) - failures, f"{steps:,} steps, {rate:,.0f} steps/s"
        how = "" if dataset.metadata.replayable else "; stored observations, not re-emulated"
        print(f"{good} of {len(files)} episodes are as recorded ({speed}{how})")
        return 1 if failures or not files else 0


def check(dataset: Dataset, path: Path) -> tuple[int, str | None]:
    """The steps of a file's episode, and what is wrong with it, None for nothing."""
    try:
        episode = dataset.read(path)
    except UserError as error:
        return 0, str(error)
    difference = verify(episode)
    what = None if difference is None else f"step {difference.step}: {difference.what}"
    return len(episode), what


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
