"""Imports plain `.npz` files of NumPy, without pickle.

A file has the arrays of N steps, one episode after the other. A name in brackets is another name
for the same array:

- `observations` (`obs`), `actions` (`acts`) and `rewards` (`rews`), each (N, ...);
- `terminations` (`terminals`, `dones`) and `truncations` (`timeouts`), bool (N,), one or both;
- `next_observations` (`next_obs`), (N, ...), optional: without them nobody knows the observation
  after an episode's last step, and that step is left out;
- `seeds`, (E,), optional: the seeds of the resets, which make an exact replay possible.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from demos.arrays_import import Arrays, converted, fitting, readable, require_room, spec_of
from demos.foreign import Reading
from envs import UserError, spaces_of
from envs.errors import did_you_mean
from envs.files import open_regular
from envs.text import plain

NAMES = {
    "observations": ("observations", "obs"),
    "actions": ("actions", "acts"),
    "rewards": ("rewards", "rews"),
    "terminations": ("terminations", "terminals", "dones"),
    "truncations": ("truncations", "timeouts"),
    "next_observations": ("next_observations", "next_obs"),
    "seeds": ("seeds",),
}
"""The names that each array may have in a file."""

NEEDED = ("observations", "actions", "rewards")

MOST_FILE_BYTES = 1 << 37


def read(source: str, env_id: str | None, *, replayable_only: bool = False) -> Reading:
    """Reads a file.

    Args:
        env_id: the environment of the episodes, which a file does not name.
        replayable_only: leave out the episodes that do not replay, instead of storing the
            observations of all.

    Raises:
        UserError: there is no such file, an array is missing or does not fit the environment, or
            the arrays do not fit into memory.
    """
    spec = spec_of(env_id, source)
    with readable(source, "an .npz file"):
        arrays = loaded(Path(source))
        fitting(arrays, spaces_of(spec)[0])
    policy = f"npz {Path(source).name}"
    return converted(arrays, spec, source, policy, replayable_only=replayable_only)


def loaded(path: Path) -> Arrays:
    """The arrays of a file that we know, by our names for them."""
    with open_regular(path, MOST_FILE_BYTES) as file:
        require_room(sum(each.file_size for each in zipfile.ZipFile(file).infolist()))
        file.seek(0)
        # NumPy refuses pickles unless it is asked for them.
        found = np.load(file)
        arrays = {ours: found[name] for ours, name in known(list(found.files)).items()}
    missing = [name for name in NEEDED if name not in arrays]
    if "terminations" not in arrays and "truncations" not in arrays:
        missing.append("terminations")
    if missing:
        near = did_you_mean(missing[0], found.files)
        raise UserError(f"has no {' and no '.join(missing)}, only {plain(found.files)}{near}")
    return arrays


def known(names: list[str]) -> Mapping[str, str]:
    """The name in a file of each array that it has."""
    found: dict[str, str] = {}
    for ours, others in NAMES.items():
        there = [each for each in others if each in names]
        if len(there) > 1:
            raise UserError(f"has {' and '.join(there)}, which are names for the same array")
        if there:
            found[ours] = there[0]
    return found
