"""Imports Minari datasets: our exports unchanged, other datasets by `demos.minari_foreign`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from demos.dataset import Metadata
from demos.episode import Episode
from demos.foreign import Reading
from demos.minari import KEY, Note, datasets_directory, library
from demos.minari_files import METADATA_FILE, metadata_of, require_safe
from demos.minari_foreign import others, readable, rows
from envs import UserError, schema
from envs.errors import did_you_mean
from envs.files import is_regular

if TYPE_CHECKING:
    from minari import MinariDataset


def read(source: str, env_id: str | None = None, *, replayable_only: bool = False) -> Reading:
    """Reads a Minari dataset.

    Args:
        source: directory of the dataset, or its name in Minari's directory.
        env_id: the environment, if the dataset names none or one in a module.
        replayable_only: leave out the episodes that do not replay, instead of storing the
            observations of all.

    Raises:
        UserError: Minari is missing, there is no such dataset, it cannot be read, its environment
            is unknown, or its spaces are unsupported.
    """
    minari = library()
    path = located(source)
    with readable(source):
        raw = metadata_of(path)
        if not {"observation_space", "action_space"} <= raw.keys():
            # Without the spaces, Minari would build the environment from code that the file names.
            raise UserError(f"{source} does not declare its observation_space and action_space")
        require_safe(path, raw)
        theirs = minari.MinariDataset(path)
    if KEY in raw:
        return ours(theirs, Metadata.from_json(raw[KEY], source), source)
    return others(theirs, raw, source, env_id, replayable_only=replayable_only)


def located(source: str) -> Path:
    """The directory of a dataset's data; raises a UserError if there is no such dataset."""
    directory = datasets_directory()
    for path in (Path(source), directory / source):
        for data in (path / "data", path):
            if is_regular(data / METADATA_FILE):
                return data
    known = [each.parents[1] for each in directory.rglob("data/metadata.json")]
    raise UserError(
        f"'{source}' is not a Minari dataset, neither here nor in {directory}"
        + did_you_mean(source, [str(each.relative_to(directory)) for each in known])
    )


def ours(theirs: MinariDataset, metadata: Metadata, source: str) -> Reading:
    """Converts a dataset that `demos.minari.export` wrote."""
    spec = metadata.spec

    def episodes() -> Iterator[Episode]:
        with readable(source):
            for data, about in rows(theirs):
                note = schema.parse(about[KEY], Note, KEY)
                seen = data["observations"]
                if spec.frame_stack > 1:
                    seen = seen[:, -1]
                digests = [list(bytes.fromhex(each)) for each in note.digests]
                yield Episode(
                    spec=spec,
                    seed=about.get("seed"),
                    actions=data["actions"].astype(note.action_dtype),
                    rewards=data["rewards"],
                    terminated=bool(data["terminations"][-1]),
                    digests=np.array(digests, np.uint8),
                    policy=note.policy,
                    observations=None if metadata.replayable else seen,
                )

    return Reading(metadata, episodes())
