"""Datasets of Minari's that others made: an episode is lived again before it is believed.

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
from gymnasium import spaces
from PIL import Image

import envs
from demos import provenance
from demos.dataset import Metadata
from demos.episode import Episode, Witness
from demos.minari_files import flat
from demos.verification import verify
from envs import EnvSpec, UserError, spaces_of
from envs.schema import Malformed
from envs.tapes import action_dtype, playable_actions, seeds_end
from envs.text import plain as plain_text

if TYPE_CHECKING:
    from minari import MinariDataset


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
    wrappers = [each["name"] for each in declared.get("additional_wrappers", [])]
    if declared and given != json.loads(json.dumps(registered.kwargs, default=str)):
        return spec, f"the arguments {given}"
    return spec, f"the wrappers {', '.join(wrappers)}" if wrappers else ""


def plain(seen: Any, theirs: gymnasium.Space, ours: gymnasium.Space) -> np.ndarray:
    """Observations (T + 1, ...) as our environment emits them."""
    if not isinstance(theirs, spaces.Box):
        require_shape(flat_shape(theirs), ours)
        vectors = flat(theirs, seen)
        require_shape(vectors.shape[1:], ours)
        return vectors.astype(ours.dtype)
    seen = np.asarray(seen)
    if seen.dtype.kind not in "buif":
        raise UserError(f"observations are {seen.dtype}, which are no numbers")
    if seen.ndim == 4 and seen.shape[1:] != ours.shape:
        # Pictures come with their channels last.
        seen = seen.transpose(0, 3, 1, 2)
    require_shape(seen.shape[1:], ours)
    return seen.astype(ours.dtype)


def flat_shape(space: gymnasium.Space) -> tuple[int, ...]:
    """The shape of a space's observations end to end; a UserError where they have no such."""
    try:
        return (spaces.flatdim(space),)
    except (NotImplementedError, ValueError):
        kind = type(space).__name__
        raise UserError(f"observations of the kind {kind} cannot be kept") from None


def require_shape(shape: tuple[int, ...], ours: gymnasium.Space) -> None:
    """Passes where observations have the shape that our environment's have."""
    if shape != ours.shape:
        raise UserError(f"observations have the shape {shape}, but the environment's {ours.shape}")


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
    """How an episode with observations differs when it is lived again, "" for not at all."""
    if episode.seed is None:
        return "no seed was kept"
    difference = verify(replace(episode, observations=None))
    return "" if difference is None else f"step {difference.step}: {difference.what}"
