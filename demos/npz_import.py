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
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import gymnasium
import numpy as np
import psutil

import envs
from demos.episode import Episode
from demos.foreign import About, Reading, episode, reading
from envs import EnvSpec, UserError
from envs.errors import did_you_mean, first_line
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

MEMORY_SHARE = 0.5
"""The arrays may fill this share of the free memory; stored episodes are about as large again."""

Arrays = dict[str, np.ndarray]


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
    if env_id is None:
        raise UserError(f"{source} does not name its environment: give --env")
    spec = envs.spec(env_id)
    space, action_space = envs.spaces_of(spec)
    with readable(source):
        arrays = loaded(Path(source))
        fitting(arrays, space)
        spans = list(episodes_of(arrays))
    name = Path(source).name

    def episodes() -> Iterator[Episode]:
        for number, first, end in spans:
            try:
                yield made(arrays, first, end, number, spec, action_space, f"npz {name}")
            except UserError as error:
                raise UserError(f"episode {number} of {source}: {error}") from None

    found = reading(About(spec, f"npz {name}", source), episodes, replayable_only=replayable_only)
    if "next_observations" in arrays:
        return found
    left_out = f"without next_observations, the last step of each of {len(spans)} is left out"
    remark = f"{found.remark}; {left_out}" if found.remark else left_out
    return Reading(found.metadata, found.episodes, remark)


@contextmanager
def readable(source: str) -> Iterator[None]:
    """Turns any error of NumPy on foreign files into a one-line UserError."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    except OSError as error:
        raise UserError(f"{source}: {error.strerror or plain(first_line(error))}") from None
    except (
        *(ValueError, KeyError, TypeError, EOFError, MemoryError, RuntimeError),
        *(zipfile.BadZipFile, zlib.error),
    ) as error:
        why = plain(first_line(error))
        raise UserError(f"{source} cannot be read as an .npz file: {why}") from None


def loaded(path: Path) -> Arrays:
    """The arrays of a file that we know, by our names for them."""
    with open_regular(path, MOST_FILE_BYTES) as file:
        require_room(file.name, sum(each.file_size for each in zipfile.ZipFile(file).infolist()))
        file.seek(0)
        found = np.load(file, allow_pickle=False)
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


def require_room(name: str, num_bytes: int) -> None:
    """Raises a UserError if the decompressed arrays do not fit into the free memory."""
    room = int(MEMORY_SHARE * psutil.virtual_memory().available)
    if num_bytes > room:
        raise UserError(f"its arrays have {num_bytes:,} bytes, and {room:,} can be used")


def fitting(arrays: Arrays, space: gymnasium.Space) -> None:
    """Checks the arrays, and brings observations and ends to the dtypes of an environment."""
    steps = len(arrays["rewards"])
    if steps == 0:
        raise UserError("has no steps")
    for name, array in arrays.items():
        if name != "seeds" and len(array) != steps:
            raise UserError(f"{name} have {len(array)} steps, but rewards have {steps}")
        if array.dtype.kind not in "buif":
            raise UserError(f"{name} are {array.dtype}, but must be numbers")
    for name in ("rewards", "terminations", "truncations", "seeds"):
        if name in arrays and arrays[name].ndim != 1:
            raise UserError(f"{name} have the shape {arrays[name].shape}, but need one dimension")
    for name in ("terminations", "truncations"):
        arrays[name] = arrays.get(name, np.zeros(steps, bool)).astype(bool)
    for name in ("observations", "next_observations"):
        if name in arrays:
            arrays[name] = as_observed(arrays[name], name, space)


def as_observed(obs: np.ndarray, name: str, space: gymnasium.Space) -> np.ndarray:
    """Observations in the dtype of an environment, whose shape they must have."""
    if obs.shape[1:] != space.shape:
        raise UserError(
            f"{name} have the shape {obs.shape[1:]}, but the environment has {space.shape}"
        )
    assert space.dtype is not None
    if not np.can_cast(obs.dtype, space.dtype, "same_kind"):
        raise UserError(f"{name} are {obs.dtype}, but the environment has {space.dtype}")
    return obs.astype(space.dtype, copy=False)


def episodes_of(arrays: Arrays) -> Iterator[tuple[int, int, int]]:
    """The number of each episode, its first step, and the one after its last.

    The last episode may lack its end; it counts as truncated.
    """
    steps = len(arrays["rewards"])
    ends = np.flatnonzero(arrays["terminations"] | arrays["truncations"]) + 1
    first = 0
    # Without the observation after it, an episode's last step is left out.
    least = 1 if "next_observations" in arrays else 2
    for number, end in enumerate([*ends.tolist(), steps]):
        if end - first >= least:
            yield number, first, end
        first = end


def made(
    arrays: Arrays,
    first: int,
    end: int,
    number: int,
    spec: EnvSpec,
    action_space: gymnasium.Space,
    policy: str,
) -> Episode:
    """Makes the episode of steps `first` to `end`, with its observations."""
    seen = arrays["observations"][first:end]
    if "next_observations" in arrays:
        seen = np.concatenate([seen, arrays["next_observations"][end - 1 : end]])
    else:
        end -= 1
    data = {
        name: arrays[name][first:end]
        for name in ("actions", "rewards", "terminations", "truncations")
    }
    seeds = arrays.get("seeds", np.empty(0))
    seed = int(seeds[number]) if number < len(seeds) else None
    return episode(spec, seen, data, seed, action_space, policy)
