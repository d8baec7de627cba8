"""`python -m demos filter`, `split` and `merge`: new datasets of old ones."""

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
    """The episodes of a dataset that are good enough."""

    dataset: tyro.conf.Positional[Path]  # Directory of the dataset, or a shipped one's name.
    out: Path  # Directory of the new one.
    min_return: float = -float("inf")  # Least return.
    min_steps: int = 0  # Least length.
    skip_damaged: bool = False  # Leave out the episodes that are damaged.

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
    """Two datasets of one, by whole episodes."""

    dataset: tyro.conf.Positional[Path]  # Directory of the dataset, or a shipped one's name.
    out: tuple[Path, Path]  # Directories of the new ones.
    share: float = 0.9  # Of the episodes, in the first.
    seed: int = 0  # Seed of the choice.

    def run(self) -> int:
        dataset = opened(self.dataset)
        if self.out[0] == self.out[1]:
            raise UserError(f"--out {self.out[0]}: must be two different directories")
        parts = split(dataset.episodes(), self.share, self.seed)
        for path in self.out:
            Dataset.require_absent(path)
        for path, part in zip(self.out, parts, strict=True):
            said(save(path, remade(dataset), part))
        return 0


@dataclass(frozen=True, kw_only=True)
class Merge:
    """One dataset of several of the same environment, each game once."""

    datasets: tyro.conf.Positional[tuple[Path, ...]]  # Directories or shipped names.
    out: Path  # Directory of the new one.

    def run(self) -> int:
        if not self.datasets:
            raise UserError("merge needs the directories of datasets")
        datasets = [opened(path) for path in self.datasets]
        metadata, episodes = merged(datasets, provenance.command_line(), provenance.now())
        return said(save(self.out, metadata, episodes))


@dataclass(frozen=True, kw_only=True)
class Drop:
    """A dataset without some of its episodes; the others keep their order and move up.

    The dataset itself is changed, unless --out names a new one.
    """

    dataset: tyro.conf.Positional[Path]  # Directory of the dataset; with --out also a shipped name.
    episodes: tuple[str, ...]  # Numbers from 0, or ranges such as 7-9, as verify and stats say.
    out: Path | None = None  # Directory of a new dataset; None changes the dataset itself.

    def run(self) -> int:
        path = located(self.dataset)
        dataset = Dataset.open(path)
        count = len(dataset.files())
        numbers = chosen(self.episodes, dataset)
        if len(numbers) == count:
            raise UserError(f"{path} would have no episodes; delete the directory instead")
        if self.out is not None:
            kept = (number for number in range(count) if number not in numbers)
            return said(save(self.out, remade(dataset), dataset.selected(kept)))
        if path in shipped().values():
            raise UserError(
                f"{self.dataset} comes with Joystick and stays as it is: say --out NAME"
            )
        dataset.drop(numbers)
        return said(dataset)


def chosen(words: Collection[str], dataset: Dataset) -> set[int]:
    """The numbers of episodes that a person names, "3" and "7-9"."""
    if not words:
        raise UserError("--episodes needs numbers, such as 3 7-9")
    numbers = set[int]()
    for word in words:
        found = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", word)
        if found is None:
            raise UserError(f"--episodes {word}: must be a number, or a range such as 7-9")
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first:
            raise UserError(f"--episodes {word}: the range ends before it begins")
        require_numbers(dataset, [first, last])
        numbers |= set(range(first, last + 1))
    return numbers


@dataclass(frozen=True, kw_only=True)
class Seal:
    """Accept a dataset as it is, where it was changed by hand or is of format 1.

    Its list of episodes becomes a list of the files that are there. A fault that verify finds
    inside an episode stays.
    """

    dataset: tyro.conf.Positional[Path]  # Directory of the dataset.

    def run(self) -> int:
        dataset = Dataset.as_it_is(self.dataset)
        dataset.seal()
        return said(dataset)


def remade(dataset: Dataset) -> Metadata:
    """The metadata of what this command makes of a dataset."""
    command, created = provenance.command_line(), provenance.now()
    return replace(dataset.metadata, command=command, created=created)


def said(dataset: Dataset) -> int:
    tell(f"{len(dataset.files())} episodes in {dataset.path}")
    return 0
