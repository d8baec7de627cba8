"""Imports the arrays of N steps, one episode after the other, that files of others hold."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import gymnasium
import numpy as np
import psutil
import pyarrow as pa

import envs
from demos.episode import Episode
from demos.foreign import About, Reading, episode, reading
from envs import EnvSpec, UserError
from envs.errors import first_line
from envs.text import plain

MEMORY_SHARE = 0.5
"""The arrays may fill this share of the free memory; stored episodes are about as large again."""

Arrays = dict[str, np.ndarray]
"""Arrays of N steps by name: observations, actions, rewards, terminations and truncations.

There may also be next_observations (N, ...), and seeds (E,) of the episodes' resets.
"""


@contextmanager
def readable(source: str, kind: str) -> Iterator[None]:
    """Turns any error of NumPy and Arrow on foreign files into a one-line UserError.

    Args:
        kind: what `source` should be, such as "an .npz file".
    """
    try:
        yield
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    except OSError as error:
        raise UserError(f"{source}: {error.strerror or plain(first_line(error))}") from None
    except (
        *(ValueError, KeyError, TypeError, EOFError, MemoryError, RuntimeError),
        *(zipfile.BadZipFile, zlib.error, pa.ArrowException),
    ) as error:
        why = plain(first_line(error))
        raise UserError(f"{source} cannot be read as {kind}: {why}") from None


def spec_of(env_id: str | None, source: str) -> EnvSpec:
    """The spec of the environment, which such files do not name."""
    if env_id is None:
        raise UserError(f"{source} does not name its environment: give --env")
    return envs.spec(env_id)


def converted(
    arrays: Arrays, spec: EnvSpec, source: str, policy: str, *, replayable_only: bool
) -> Reading:
    """The episodes of arrays that are `fitting`.

    Args:
        source: name of the files in errors.
        policy: who played.
        replayable_only: leave out the episodes that do not replay, instead of storing the
            observations of all.
    """
    _, action_space = envs.spaces_of(spec)
    spans = list(episodes_of(arrays))

    def episodes() -> Iterator[Episode]:
        for number, first, end in spans:
            try:
                yield made(arrays, first, end, number, spec, action_space, policy)
            except UserError as error:
                raise UserError(f"episode {number} of {source}: {error}") from None

    found = reading(About(spec, policy, source), episodes, replayable_only=replayable_only)
    if "next_observations" in arrays:
        return found
    left_out = f"without next_observations, the last step of each of {len(spans)} is left out"
    return replace(found, remark="; ".join(filter(None, [found.remark, left_out])))


def require_room(num_bytes: int) -> None:
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
