"""Makes new datasets from the episodes of others; episodes keep their seeds and policies."""

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
    """Writes a new dataset of these episodes; it appears only when it is complete.

    Raises:
        UserError: there are no episodes, `path` exists already, or it cannot be written.
    """
    Dataset.require_absent(path)
    if os.path.lexists(path) and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{path} exists already; choose another name")
    # For a circle of links, `Path.resolve` raises an error that is not an OSError.
    place = Path(os.path.realpath(path))
    building = aside(place)
    with written(path):
        # Errors name the path that the user gave, not the temporary one.
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
    """Splits episodes at random into two parts; each part keeps the order.

    Args:
        share: share of the episodes in the first part; both parts get at least one episode.

    Raises:
        UserError: there are fewer than 2 episodes, or the share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise UserError(f"--share {share:g}: must be between 0 and 1")
    if len(episodes) < 2:
        raise UserError(f"the dataset has {len(episodes)} episodes, but split needs at least 2")
    count = min(max(round(share * len(episodes)), 1), len(episodes) - 1)
    chosen = set(np.random.default_rng(seed).permutation(len(episodes))[:count].tolist())
    first = [each for i, each in enumerate(episodes) if i in chosen]
    return first, [each for i, each in enumerate(episodes) if i not in chosen]


def merged(datasets: list[Dataset], command: str, created: str) -> tuple[Metadata, list[Episode]]:
    """Returns the common metadata and all episodes of several datasets, without duplicates.

    Raises:
        UserError: the environments or licenses differ (the message names the field), or only some
            of the datasets have stored observations.
    """
    first = datasets[0]
    for other in datasets[1:]:
        first.metadata.spec.require_same(other.metadata.spec, f"{other.path} is")
        if other.metadata.license != first.metadata.license:
            raise UserError(
                f"{other.path} has the license {other.metadata.license}, but {first.path} has"
                f" {first.metadata.license}"
            )
        if other.metadata.replayable != first.metadata.replayable:
            stored, bare = (first, other) if other.metadata.replayable else (other, first)
            raise UserError(
                f"{stored.path} has stored observations, but {bare.path} has none:"
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
