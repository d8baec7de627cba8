"""New datasets from old ones: whole episodes, with the seeds and the policies they came with."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from demos.dataset import Dataset, Metadata, written
from demos.episode import Episode
from envs import UserError
from envs.files import aside, remove


def save(path: Path, metadata: Metadata, episodes: Iterable[Episode]) -> Dataset:
    """A new dataset of these episodes, which appears when it is whole.

    Raises:
        UserError: there would be no episodes in it, there is something at `path` already, or it
            cannot be written.
    """
    Dataset.require_absent(path)
    if os.path.lexists(path) and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{path} is there already; choose another name")
    # Where links lead in a circle, `Path.resolve` raises what is no error of the system.
    place = Path(os.path.realpath(path))
    building = aside(place)
    with written(path):
        # What the disk refuses is said of the name that a person gave.
        building.parent.mkdir(parents=True, exist_ok=True)
        building.mkdir()
    try:
        dataset = Dataset.create(building, metadata)
        dataset.extend(episodes)
        if not dataset.files():
            raise UserError(f"{path} would have no episodes")
        with written(path):
            os.rename(building, place)
    finally:
        remove(building)
    return Dataset.open(path)


def split(episodes: list[Episode], share: float, seed: int) -> tuple[list[Episode], list[Episode]]:
    """Two parts of whole episodes, chosen at random, each in the order it was in.

    Args:
        share: of the episodes, in the first part; neither part is left empty.

    Raises:
        UserError: fewer than 2 episodes, or a share that is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise UserError(f"--share {share:g}: must be between 0 and 1")
    if len(episodes) < 2:
        raise UserError(f"{len(episodes)} episodes cannot be split in two")
    count = min(max(round(share * len(episodes)), 1), len(episodes) - 1)
    chosen = set(np.random.default_rng(seed).permutation(len(episodes))[:count].tolist())
    first = [each for i, each in enumerate(episodes) if i in chosen]
    return first, [each for i, each in enumerate(episodes) if i not in chosen]


def merged(datasets: list[Dataset], command: str, created: str) -> tuple[Metadata, list[Episode]]:
    """All episodes of several datasets, each game once, and what is true of all of them.

    Raises:
        UserError: their environments or licenses differ (the field is named), or only some of them
            have stored observations.
    """
    first = datasets[0]
    for other in datasets[1:]:
        first.metadata.spec.require_same(other.metadata.spec, f"{other.path} is")
        if other.metadata.license != first.metadata.license:
            raise UserError(
                f"{other.path} has the license {other.metadata.license}, but {first.path}"
                f" {first.metadata.license}"
            )
        if other.metadata.replayable != first.metadata.replayable:
            stored, bare = (first, other) if other.metadata.replayable else (other, first)
            raise UserError(
                f"{stored.path} has stored observations, but {bare.path} replays without any:"
                " they cannot be merged"
            )
    policies = dict.fromkeys(each.metadata.policy for each in datasets)
    metadata = dataclasses.replace(
        first.metadata, policy="; ".join(policies), command=command, created=created
    )
    games = {
        (each.seed, each.digests[-1].tobytes()): each
        for dataset in datasets
        for each in dataset.episodes()
    }
    return metadata, list(games.values())
