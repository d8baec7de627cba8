"""Imports Minari datasets that others made, after a replay of each episode (`demos.foreign`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import pyarrow as pa
from PIL import Image

import envs
from demos.episode import Episode
from demos.foreign import About, Reading, episode, reading
from demos.minari_files import at, length
from envs import EnvSpec, UserError, kwargs, spaces_of
from envs.observations import Unfit, reader
from envs.schema import Malformed
from envs.text import plain as plain_text

if TYPE_CHECKING:
    from minari import MinariDataset


ATARI_ARGUMENTS = ("repeat_action_probability", "full_action_space", "mode", "difficulty")
"""Arguments of ALE's environments that a spec has too; Gymnasium's wrappers do the rest."""


@contextmanager
def readable(source: str) -> Iterator[None]:
    """Turns any error of Minari and HDF5 on foreign files into a one-line UserError."""
    refused = f"{source} cannot be read as a Minari dataset"
    try:
        yield
    except Malformed as error:
        raise UserError(f"{refused}: {error}") from None
    except UserError:
        raise
    except (
        *(OSError, ValueError, KeyError, TypeError, IndexError, AttributeError),
        *(AssertionError, NotImplementedError, RuntimeError, MemoryError, OverflowError),
        *(SyntaxError, Image.DecompressionBombError, pa.ArrowException),
    ) as error:
        why = plain_text(" ".join(f"{type(error).__name__}: {error}".split()))
        raise UserError(f"{refused}: {why}") from None


def rows(theirs: MinariDataset) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Pairs of each episode and its metadata."""
    storage = theirs.storage
    indices = theirs.episode_indices.tolist()
    data = storage.get_episodes(indices)
    about = storage.get_episode_metadata(indices)
    return zip(data, about, strict=True)


def others(
    theirs: MinariDataset,
    raw: dict[str, Any],
    source: str,
    env_id: str | None,
    *,
    replayable_only: bool,
) -> Reading:
    """Converts a Minari dataset that others made.

    Args:
        raw: metadata of the dataset.
        source: name of the dataset in errors.
        env_id: the environment; None takes the one in the metadata.
        replayable_only: leave out the episodes that do not replay, instead of storing the
            observations of all.

    Raises:
        UserError: the dataset cannot be read, its environment is unknown or has options that a spec
            lacks, or its spaces are unsupported.
    """
    from minari.dataset.minari_storage import is_image_space

    with readable(source):
        spec, variant = environment(raw, source, env_id)
    emitted_space, action_space = spaces_of(spec)
    policy = f"minari {raw['dataset_id']}, {raw.get('algorithm_name', 'unknown algorithm')}"

    def episodes() -> Iterator[Episode]:
        with readable(source):
            for index, (data, about) in enumerate(rows(theirs)):
                try:
                    seen = plain(data["observations"], theirs.observation_space, emitted_space)
                    require_whole(data, about)
                    yield episode(spec, seen, data, about.get("seed"), action_space, policy)
                except UserError as error:
                    raise UserError(f"episode {index} of {source}: {error}") from None

    pictures = raw.get("jpeg_encoding", True) and is_image_space(theirs.observation_space)
    changed = "they are pictures, which Minari changed by storing them as JPEG" if pictures else ""
    about = About(spec, policy, source, variant, changed)
    return reading(about, episodes, replayable_only=replayable_only)


def require_whole(data: dict[str, Any], about: dict[str, Any]) -> None:
    """Raises a UserError if an episode has another number of steps than its metadata claims."""
    steps = len(data["rewards"])
    counted = about.get("total_steps")
    if counted is not None and steps != counted:
        claimed = plain_text(counted, 40)
        raise UserError(f"it has {steps} steps, but its metadata claims {claimed}")


def environment(raw: dict[str, Any], source: str, env_id: str | None) -> tuple[EnvSpec, str]:
    """Returns the spec of a dataset's environment, and what of it the spec cannot hold, or ""."""
    declared = json.loads(raw.get("env_spec", "{}"))
    name = env_id or declared.get("id")
    if name is None:
        raise UserError(f"{source} does not name its environment: give --env")
    if env_id is None and ":" in name:
        raise UserError(f"{source} names '{name}', whose module is imported only with --env {name}")
    spec = envs.spec(name)
    registered = gymnasium.spec(spec.env_id.rpartition(":")[2])
    steps = declared.get("max_episode_steps")
    if spec.family == "gymnasium" and steps not in (None, registered.max_episode_steps):
        spec = replace(spec, max_episode_frames=int(steps))
    given = {k: v for k, v in declared.get("kwargs", {}).items() if k != "render_mode"}
    usual = json.loads(json.dumps(registered.kwargs, default=str))
    if declared.get("id") == registered.id:
        spec, given = with_arguments(spec, given, usual)
    wrappers = [each["name"] for each in declared.get("additional_wrappers", [])]
    if declared and given != usual:
        return spec, f"the arguments {given}"
    return spec, f"the wrappers {', '.join(wrappers)}" if wrappers else ""


def with_arguments(
    spec: EnvSpec, given: dict[str, Any], usual: dict[str, Any]
) -> tuple[EnvSpec, dict[str, Any]]:
    """Returns the spec with the constructor's unusual arguments, and the arguments that it lacks.

    Args:
        given: all arguments that a file names. `envs.kwargs` checks them again when the environment
            is built.
        usual: the arguments in the environment's registration.

    Raises:
        UserError: an argument has the wrong type, or is not for the constructor.
    """
    unusual = {k: v for k, v in given.items() if k not in usual or usual[k] != v}
    if spec.family == "atari":
        unusual = {k: v for k, v in unusual.items() if k in ATARI_ARGUMENTS}
        spec = envs.spec(spec.env_id, env_kwargs=unusual)
    else:
        spec = replace(spec, env_kwargs=kwargs.checked(unusual))
    rest = {k: v for k, v in given.items() if k not in unusual}
    return spec, rest | {k: usual[k] for k in unusual if k in usual}


def plain(seen: Any, theirs: gymnasium.Space, ours: gymnasium.Space) -> np.ndarray:
    """Converts observations to the form of our environment, (T + 1, ...).

    Args:
        seen: Minari's observations, one array for each part of `theirs`.

    Raises:
        UserError: the observations are unsupported, or have another shape or dtype than ours.
    """
    try:
        read = reader(theirs)
        for what, its, wanted in (
            ("shape", read.space.shape, ours.shape),
            ("dtype", read.space.dtype, ours.dtype),
        ):
            if its != wanted:
                raise UserError(
                    f"observations have the {what} {its}, but the environment has {wanted}"
                )
        count = length(theirs, seen)
        rows: np.ndarray = np.empty((count, *read.space.shape), read.space.dtype)
        for step in range(count):
            read.write(at(theirs, seen, step), rows[step])
    except Unfit as unfit:
        raise UserError(f"observations cannot be read: {unfit}") from None
    return rows
