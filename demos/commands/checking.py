"""`python -m demos verify`, `stats`, `list` and `card`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from rich.console import Console

from demos.dataset import Damage, Dataset, at_least_one, write
from demos.describing import add_states, card, listing, statistics
from demos.episode import Episode
from demos.picturing import picture
from demos.shipped import FOLDER, located, opened
from demos.verification import Difference, verify, verify_batched
from envs import EnvSpec, UserError
from envs.output import tell

if TYPE_CHECKING:
    from demos.states import States

WITHOUT_A_LIST = (
    "the dataset has format 1, without a digest of the whole: a missing last episode or changed"
    " metadata cannot be detected; `python -m demos seal {}` adds the digest"
)


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Replay every episode; exit 1 if one is missing or differs from its recording.

    Episodes with stored observations are not replayed; their digests are compared.
    """

    dataset: tyro.conf.Positional[Path]  # Directory of the dataset, or a shipped one's name.

    def run(self) -> int:
        path = located(self.dataset)
        try:
            dataset = Dataset.open(path)
        except UserError as error:
            tell(error)
            return 1
        if dataset.metadata.replayable:
            dataset.metadata.spec.check_reproducible()
        start = time.perf_counter()
        steps = 0
        wrong: dict[int, str] = {}
        for number, length, what in outcomes(dataset):
            steps += length
            if what is not None:
                wrong[number] = what
        for number in sorted(wrong):
            tell(f"episode {number}: {wrong[number]}")
        problems = dataset.problems()
        for line in problems:
            tell(line)
        if not dataset.listed:
            tell(WITHOUT_A_LIST.format(path))
        rate = steps / (time.perf_counter() - start)
        files = len(dataset.files())
        speed = f"{steps:,} steps, {rate:,.0f} steps/s"
        how = "" if dataset.metadata.replayable else "; stored observations, not re-emulated"
        tell(f"{files - len(wrong)} of {files} episodes are as recorded ({speed}{how})")
        return 1 if wrong or problems or not files else 0


def outcomes(dataset: Dataset) -> Iterator[tuple[int, int, str | None]]:
    """Yields each episode's number, its number of steps and its fault, or None."""
    batched: dict[int, Episode] = {}
    for number, each in enumerate(dataset.scan()):
        if isinstance(each, Damage):
            yield number, 0, each.why
        elif dataset.metadata.replayable:
            batched[number] = each
        else:
            # One at a time, because the observations of all may not fit into memory.
            yield number, len(each), in_words(verify(each))
    numbers = list(batched)
    for k, difference in verify_batched(list(batched.values())):
        yield numbers[k], len(batched[numbers[k]]), in_words(difference)


def in_words(difference: Difference | None) -> str | None:
    """A difference as text, or None if there is none."""
    return difference and f"step {difference.step}: {difference.what}"


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Show the returns, lengths, actions and states of a dataset."""

    dataset: tyro.conf.Positional[Path]  # Directory of the dataset, or a shipped one's name.
    skip_damaged: bool = False  # Ignore damaged episodes instead of stopping with an error.
    picture: Path | None = None  # Also draw histograms into this file: .png, .svg or .pdf.
    states: bool = False  # Also replay the episodes, and describe their states.

    def run(self) -> int:
        dataset = opened(self.dataset)
        episodes = at_least_one(dataset, dataset.episodes(skip_damaged=self.skip_damaged))
        states = states_of(episodes, dataset.metadata.spec) if self.states else None
        if self.picture is not None:
            picture(self.picture, dataset, episodes, states)
        table = statistics(dataset, episodes, skip_damaged=self.skip_damaged)
        if states is not None:
            add_states(table, states)
        Console().print(table)
        return 0


def states_of(episodes: list[Episode], spec: EnvSpec) -> States:
    """The statistics of the states of episodes."""
    # SciPy takes long to import, and no other command needs it.
    from demos.states import explored

    return explored(episodes, spec)


@dataclass(frozen=True, kw_only=True)
class List:
    """List datasets: of a directory, or of the working directory and the shipped ones."""

    directory: tyro.conf.Positional[Path | None] = None
    """Directory to search, with its subdirectories; or the name of a shipped dataset."""

    def run(self) -> int:
        if self.directory is None:
            Console().print(listing(Path(".")))
            Console().print(listing(FOLDER))
            return 0
        directory = self.directory if self.directory.is_dir() else located(self.directory)
        Console().print(listing(directory))
        return 0


@dataclass(frozen=True, kw_only=True)
class Card:
    """Write a dataset card in Markdown."""

    dataset: tyro.conf.Positional[Path]  # Directory of the dataset, or a shipped one's name.
    out: Path | None = None  # File to write the card to; None prints the card.

    def run(self) -> int:
        text = card(opened(self.dataset))
        if self.out is None:
            tell(text.rstrip("\n"))
        else:
            write(self.out, text.encode())
        return 0
