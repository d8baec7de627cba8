"""Datasets of Minari's that others made: an episode is replayed before it is believed.

It becomes its seed and its actions if these lead to exactly what Minari has of it, bit for bit.
Where one of a dataset does not, all of them keep Minari's observations.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import pyarrow as pa
from PIL import Image

import envs
from demos import provenance
from demos.dataset import Metadata
from demos.episode import Episode, Witness
from demos.minari_files import at, length
from demos.verification import verify
from envs import EnvSpec, UserError, kwargs, spaces_of
from envs.observations import Unfit, reader
from envs.schema import Malformed
from envs.tapes import action_dtype, playable_actions, seeds_end
from envs.text import plain as plain_text

if TYPE_CHECKING:
    from minari import MinariDataset


ATARI_ARGUMENTS = ("repeat_action_probability", "full_action_space", "mode", "difficulty")
"""Arguments of ALE's environments that a spec has; its preprocessing is in Gymnasium's wrappers."""


@dataclass(frozen=True)
class Reading:
    """What a dataset of Minari's is as one of ours."""

    metadata: Metadata
    episodes: Iterator[Episode]
    """Read one at a time; a UserError says what is wrong with the next."""
    remark: str = ""
    """What a person should know, "" for nothing."""


@contextmanager
def readable(source: str) -> Iterator[None]:
    """What Minari and HDF5 raise on files that they did not write becomes one line."""
    refused = f"{source} cannot be read as a dataset of Minari's"
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
    """Each episode and its metadata."""
    storage, indices = theirs.storage, theirs.episode_indices.tolist()
    data, about = storage.get_episodes(indices), storage.get_episode_metadata(indices)
    return zip(data, about, strict=True)


def others(
    theirs: MinariDataset,
    raw: dict[str, Any],
    source: str,
    env_id: str | None,
    *,
    replayable_only: bool,
) -> Reading:
    """What a dataset is as one of ours.

    Args:
        raw: its metadata.
        source: what a person calls it.
        env_id: its environment, where the metadata is not to be asked.
        replayable_only: leave out the episodes that do not live again, instead of storing all.

    Raises:
        UserError: it cannot be read; its environment is unknown here, was made in a way that no
            spec has, or its spaces cannot be kept.
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

    wrong = {i: why for i, each in enumerate(episodes()) if (why := why_not_replayable(each))}
    count = f"{len(wrong)} of {theirs.total_episodes} episodes"
    first = next((f"episode {i}, {why}" for i, why in wrong.items()), "")
    remark = f"{count} do not live again from seed and actions ({first})" if wrong else ""
    all_wrong = len(wrong) == theirs.total_episodes
    if replayable_only and all_wrong:
        raise UserError(f"{source}: {remark}")
    if wrong and variant and not replayable_only:
        raise UserError(f"{source} was made with {variant}, which no spec has: {remark}")
    replayable = replayable_only or not wrong
    metadata = Metadata(
        spec=spec,
        policy=policy,
        created=provenance.now(),
        command=provenance.command_line(),
        commit=provenance.commit(),
        license="NOASSERTION",
        replayable=replayable,
    )
    kept = (
        replace(each, observations=None) if replayable else each
        for i, each in enumerate(episodes())
        if not (replayable and i in wrong)
    )
    if wrong:
        remark += ": they are left out" if replayable else ": all observations are stored"
        remark += "" if replayable or all_wrong else ", --replayable-only leaves those out"
        if raw.get("jpeg_encoding", True) and is_image_space(theirs.observation_space):
            remark += " (they are pictures, which Minari changed when it kept them as JPEG)"
    return Reading(metadata, kept, remark)


def require_whole(data: dict[str, Any], about: dict[str, Any]) -> None:
    """Passes where an episode has as many steps as Minari counted."""
    steps, counted = len(data["rewards"]), about.get("total_steps")
    if counted is not None and steps != counted:
        raise UserError(f"it has {steps} steps, but is said to have {plain_text(counted, 40)}")


def environment(raw: dict[str, Any], source: str, env_id: str | None) -> tuple[EnvSpec, str]:
    """The environment that Minari names, and how theirs was made in another way, "" for not."""
    declared = json.loads(raw.get("env_spec", "{}"))
    name = env_id or declared.get("id")
    if name is None:
        raise UserError(f"{source} does not name its environment: say --env")
    if env_id is None and ":" in name:
        raise UserError(f"{source} is of '{name}', whose module is imported only if you say --env")
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
    """The spec with the arguments of a constructor that are unusual, and those that it has not.

    Args:
        given: all arguments that a file names; what is passed on of them is checked where the
            environment is built (`envs.kwargs`).
        usual: the arguments of the environment's registration.

    Raises:
        UserError: an argument is of another type than the spec's, or is none of a constructor.
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
    """Observations (T + 1, ...) as our environment emits them.

    Args:
        seen: as Minari keeps them, an array for each part of `theirs`.

    Raises:
        UserError: they cannot be kept, or are not of our environment's shape and kind.
    """
    try:
        read = reader(theirs)
        for what, its, wanted in (
            ("shape", read.space.shape, ours.shape),
            ("dtype", read.space.dtype, ours.dtype),
        ):
            if its != wanted:
                raise UserError(
                    f"observations have the {what} {its}, but the environment's {wanted}"
                )
        count = length(theirs, seen)
        rows: np.ndarray = np.empty((count, *read.space.shape), read.space.dtype)
        for step in range(count):
            read.write(at(theirs, seen, step), rows[step])
    except Unfit as unfit:
        raise UserError(f"observations cannot be kept: {unfit}") from None
    return rows


def episode(
    spec: EnvSpec,
    seen: np.ndarray,
    data: dict[str, Any],
    seed: int | None,
    action_space: gymnasium.Space,
    policy: str,
) -> Episode:
    """An episode with its observations; a UserError where it is not one whole episode."""
    rewards = np.asarray(data["rewards"], np.float32)
    ends, steps = data["terminations"] | data["truncations"], len(rewards)
    if len(seen) != steps + 1:
        raise UserError(f"{len(seen)} observations of {steps} steps, must be {steps + 1}")
    if ends[:-1].any():
        raise UserError(f"it ends at step {int(ends.argmax()) + 1} of {steps}")
    terminated = bool(data["terminations"][-1])
    witness = Witness(spec, seen[0])
    for step, obs in enumerate(seen[1:], start=1):
        last = step == steps
        witness.step(obs, float(rewards[step - 1]), last and terminated, last and not terminated)
    return Episode(
        spec=spec,
        seed=seed if seed is not None and 0 <= seed < seeds_end(spec) else None,
        actions=playable_actions(action_space, data["actions"]).astype(action_dtype(action_space)),
        rewards=rewards,
        terminated=terminated,
        digests=witness.digests(),
        policy=policy,
        observations=seen[:, -1] if spec.frame_stack > 1 else seen,
    )


def why_not_replayable(episode: Episode) -> str:
    """How the replay of an episode with observations differs from it; "" if it does not differ."""
    if episode.seed is None:
        return "no seed was kept"
    difference = verify(replace(episode, observations=None))
    return "" if difference is None else f"step {difference.step}: {difference.what}"
