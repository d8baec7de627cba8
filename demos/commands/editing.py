"""`python -m demos filter`, `split` and `merge`: new datasets of old ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from demos import provenance
from demos.dataset import Dataset, Metadata
from demos.editing import merged, save, split
from envs import UserError


@dataclass(frozen=True, kw_only=True)
class Filter:
    """The episodes of a dataset that are good enough."""

    dataset: tyro.conf.Positional[Path]  # Directory of the dataset.
    out: Path  # Directory of the new one.
    min_return: float = -float("inf")  # Least return.
    min_steps: int = 0  # Least length.
    skip_damaged: bool = False  # Leave out the episodes that are damaged.

    def run(self) -> int:
        dataset = Dataset.open(self.dataset)
        kept = [
            each
            for each in dataset.episodes(skip_damaged=self.skip_damaged)
            if each.score >= self.min_return and len(each) >= self.min_steps
        ]
        return said(save(self.out, remade(dataset), kept))


@dataclass(frozen=True, kw_only=True)
class Split:
    """Two datasets of one, by whole episodes."""

    dataset: tyro.conf.Positional[Path]  # Directory of the dataset.
    out: tuple[Path, Path]  # Directories of the new ones.
    share: float = 0.9  # Of the episodes, in the first.
    seed: int = 0  # Seed of the choice.

    def run(self) -> int:
        dataset = Dataset.open(self.dataset)
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

    datasets: tyro.conf.Positional[tuple[Path, ...]]  # Directories of the datasets.
    out: Path  # Directory of the new one.

    def run(self) -> int:
        if not self.datasets:
            raise UserError("merge needs the directories of datasets")
        opened = [Dataset.open(path) for path in self.datasets]
        metadata, episodes = merged(opened, provenance.command_line(), provenance.now())
        return said(save(self.out, metadata, episodes))


def remade(dataset: Dataset) -> Metadata:
    """The metadata of what this command makes of a dataset."""
    command, created = provenance.command_line(), provenance.now()
    return replace(dataset.metadata, command=command, created=created)


def said(dataset: Dataset) -> int:
    print(f"{len(dataset.files())} episodes in {dataset.path}")
    return 0
