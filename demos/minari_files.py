"""Checks the files of a Minari dataset before Minari reads them.

A hostile folder may hold links. A hostile HDF5 file may name other files of the reader, whose bytes
would become observations. Arrays may claim more bytes than the memory holds.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
from gymnasium import spaces

from demos.packing import MOST_BYTES, MOST_FILE_BYTES
from envs import schema
from envs.files import is_directory, is_regular, open_regular
from envs.schema import Malformed
from envs.text import plain

if TYPE_CHECKING:
    import h5py

MAIN_FILE = "main_data.hdf5"
METADATA_FILE = "metadata.json"

MOST_EPISODES = 10_000_000
DEEPEST = 32
"""Deepest nesting of groups in an HDF5 file."""


def metadata_of(data: Path) -> dict[str, Any]:
    """Reads the metadata of a dataset; raises as `envs.schema.read`."""
    # Minari writes NaN and infinities as the bounds of spaces.
    with open_regular(data / METADATA_FILE, schema.MOST_BYTES) as file:
        return schema.parse(file.read(), dict[str, Any], METADATA_FILE, finite=False)


def require_safe(data: Path, raw: dict[str, Any]) -> None:
    """Checks that a dataset consists of its own regular files, of a bounded size.

    Args:
        data: directory of the dataset's data.
        raw: metadata of the dataset.

    Raises:
        Malformed: the dataset has a link, a special file, too large an episode, or fewer episodes
            than its metadata claims.
    """
    require_own_files(data)
    claimed = schema.convert(raw.get("total_episodes"), int, "total_episodes")
    if raw.get("data_format") == "hdf5":
        found = require_safe_hdf5(data / MAIN_FILE)
    else:
        found = sum(each.name.isdigit() for each in data.iterdir() if is_directory(each))
    if not 0 <= claimed <= min(found, MOST_EPISODES):
        raise Malformed(f"its metadata claims {claimed:,} episodes, but it has {found:,}")


def require_own_files(data: Path) -> None:
    """Raises Malformed unless everything below a directory is a regular file or a directory."""
    for folder, folders, files in os.walk(data):
        for name in folders + files:
            path = Path(folder, name)
            if path.is_symlink():
                raise Malformed(f"{plain(path)} is a symbolic link, which is not followed")
            if name in files and not is_regular(path):
                raise Malformed(f"{plain(path)} is not a regular file")
            if name.endswith((".arrow", ".parquet")) and path.stat().st_size > MOST_FILE_BYTES:
                raise Malformed(f"{plain(path)} has more than {MOST_FILE_BYTES:,} bytes")


def require_safe_hdf5(path: Path) -> int:
    """Checks that an HDF5 file holds all its arrays itself; returns the number of its episodes."""
    import h5py

    with h5py.File(path, "r") as file:
        seen = set[int]()
        for name in list(file.keys()):
            if sum(array_bytes(file, name, seen)) > MOST_BYTES:
                raise Malformed(f"{plain(name)} has more than {MOST_BYTES:,} bytes")
        return len(file)


def array_bytes(group: h5py.Group, name: str, seen: set[int], depth: int = 0) -> Iterator[int]:
    """Yields the bytes of each array under a name in a group.

    Args:
        seen: the visited groups, because a group may contain itself.

    Raises:
        Malformed: an array is in another file.
    """
    import h5py
    from h5py.h5o import get_info

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise Malformed(f"{plain(name)} is a link in an HDF5 file, which is not followed")
    item = group[name]
    if isinstance(item, h5py.Dataset):
        if item.external or item.is_virtual:
            raise Malformed(f"{plain(name)} is an array in another file, which is not read")
        yield math.prod(item.shape or ()) * item.dtype.itemsize
        return
    if depth > DEEPEST or not isinstance(item, h5py.Group):
        raise Malformed(f"{plain(name)} is not an array")
    place = get_info(item.id).addr
    if place not in seen:
        seen.add(place)
        for each in list(item.keys()):
            yield from array_bytes(item, each, seen, depth + 1)


def at(space: gymnasium.Space, values: Any, step: int) -> Any:
    """The value at a step, from Minari's values of a space, which are one array for each part."""
    if isinstance(space, spaces.Dict):
        return {key: at(part, values[key], step) for key, part in space.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(at(part, values[i], step) for i, part in enumerate(space.spaces))
    return values[step]


def length(space: gymnasium.Space, values: Any) -> int:
    """The number of steps in Minari's values of a space; raises Malformed if its parts differ."""
    parts: list[tuple[gymnasium.Space, Any]] = []
    if isinstance(space, spaces.Dict):
        parts = [(part, values[key]) for key, part in space.items()]
    elif isinstance(space, spaces.Tuple):
        parts = [(part, values[i]) for i, part in enumerate(space.spaces)]
    else:
        return len(values)
    lengths = sorted({length(*each) for each in parts})
    if len(lengths) != 1:
        raise Malformed(f"its parts have {' and '.join(map(str, lengths)) or 'no'} observations")
    return lengths[0]
