"""`python -m demos filter`, `split`, `merge`, `drop` and `seal`: commands that change datasets."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from demos import provenance
from demos.dataset import Dataset, Metadata, require_numbers
from demos.editing import merged, save, split
from demos.shipped import located, opened, shipped
from envs import UserError
from envs.output import tell


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Make a dataset of the good episodes of another one."""

    dataset: tyro.conf.Positional[Path]  # Directory of the dataset, or a shipped one's name.
    out: Path  # Directory of the new dataset.
    min_return: float = -float("inf")  # Smallest return of an episode.
    min_steps: int = 0  # Smallest number of steps of an episode.
    skip_damaged: bool = False  # Leave damaged episodes out instead of stopping with an error.

    def run(self) -> int:
        dataset = opened(self.dataset)
        kept = [
            each
            for each in dataset.episodes(skip_damaged=self.skip_damaged)
            if each.score >= self.min_return and len(each) >= self.min_steps
        ]
        return said(save(self.out, remade(dataset), kept))


@dataclass(frozen=True, kw_only=True)
class Split:
    """Split the episodes of a dataset into two new datasets."""

    dataset: tyro.conf.Positional[Path]  # Directory of the dataset, or a shipped one's name.
    out: tuple[Path, Path]  # Directories of the two new datasets.
    share: float = 0.9  # Share of the episodes that the first new dataset gets.
    seed: int = 0  # Seed of the random split.

    def run(self) -> int:
        dataset = opened(self.dataset)
        if self.out[0] == self.out[1]:
            raise UserError(f"--out {self.out[0]} twice: name two different directories")
        parts = split(dataset.episodes(), self.share, self.seed)
        for path in self.out:
            Dataset.require_absent(path)
        for path, part in zip(self.out, parts, strict=True):
            said(save(path, remade(dataset), part))
        return 0


@dataclass(frozen=True, kw_only=True)
class Merge:
    """Merge datasets of the same environment into a new one; an episode appears only once."""

    datasets: tyro.conf.Positional[tuple[Path, ...]]  # Directories, or names of shipped datasets.
    out: Path  # Directory of the new dataset.

    def run(self) -> int:
        if not self.datasets:
            raise UserError("merge needs at least one dataset: name its directory")
        datasets = [opened(path) for path in self.datasets]
        metadata, episodes = merged(datasets, provenance.command_line(), provenance.now())
        return said(save(self.out, metadata, episodes))


@dataclass(frozen=True, kw_only=True)
class Drop:
    """Remove episodes from a dataset; the others keep their order and are renumbered.

    The command changes the dataset itself, unless --out names a new one.
    """

    dataset: tyro.conf.Positional[Path]  # Directory of the dataset; with --out also a shipped name.
    episodes: tuple[str, ...]  # Numbers from 0, as verify and stats print them, or ranges: 7-9.
    out: Path | None = None  # Directory of a new dataset; None changes the dataset itself.

    def run(self) -> int:
        path = located(self.dataset)
        dataset = Dataset.open(path)
        count = len(dataset.files())
        numbers = chosen(self.episodes, dataset)
        if len(numbers) == count:
            raise UserError(f"{path} would have no episodes left; delete the directory instead")
        if self.out is not None:
            kept = (number for number in range(count) if number not in numbers)
            return said(save(self.out, remade(dataset), dataset.selected(kept)))
        if path in shipped().values():
            raise UserError(
                f"{self.dataset} comes with Joystick and cannot be changed: give --out NAME"
            )
        dataset.drop(numbers)
        return said(dataset)


def chosen(words: Collection[str], dataset: Dataset) -> set[int]:
    """The episode numbers that words such as "3" and "7-9" name."""
    if not words:
        raise UserError("--episodes needs numbers, such as 3 7-9")
    numbers = set[int]()
    for word in words:
        found = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", word)
        if found is None:
            raise UserError(f"--episodes {word}: must be a number, or a range such as 7-9")
        first = int(found[1])
        last = int(found[2] or found[1])
        if last < first:
            raise UserError(f"--episodes {word}: the range ends before it begins")
        require_numbers(dataset, [first, last])
        numbers |= set(range(first, last + 1))
    return numbers


@dataclass(frozen=True, kw_only=True)
class Seal:
    """Accept a dataset as it is: for a dataset of format 1, or after a change by hand.

    The list of episodes becomes the list of the existing files. Faults inside episodes stay;
    verify finds them.
    """

    dataset: tyro.conf.Positional[Path]  # Directory of the dataset.

    def run(self) -> int:
        dataset = Dataset.as_it_is(self.dataset)
        dataset.seal()
        return said(dataset)


def remade(dataset: Dataset) -> Metadata:
    """The metadata of a new dataset that this command makes from `dataset`."""
    return replace(dataset.metadata, command=provenance.command_line(), created=provenance.now())


def said(dataset: Dataset) -> int:
    """Prints how many episodes a written dataset has; returns the exit code 0."""
    tell(f"{len(dataset.files())} episodes in {dataset.path}")
    return 0
