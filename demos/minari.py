"""Exports datasets in the format of Minari (https://minari.farama.org), with every observation.

An exported dataset imports again unchanged, because its metadata and the metadata of its episodes
are stored as JSON among Minari's. Only local directories are read and written.
"""

from __future__ import annotations

import copy
import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium import Space
from gymnasium.envs.registration import WrapperSpec
from gymnasium.spaces import Box

from demos.dataset import Dataset, at_least_one
from demos.episode import Episode
from demos.packing import require_numbers
from demos.verification import observations_of
from envs import EnvSpec, UserError, spaces_of
from envs.catalog import atari_ids
from envs.registered import make_env
from envs.tapes import playable_actions

if TYPE_CHECKING:
    from minari.data_collector import EpisodeBuffer

DIRECTORY = "MINARI_DATASETS_PATH"

KEY = "joystick"
"""Key of our metadata within Minari's, for datasets and for episodes."""


def library() -> ModuleType:
    """Imports Minari; raises a UserError if it is not installed."""
    try:
        import h5py  # noqa: F401
        import minari
    except ImportError:
        raise UserError("Minari is not installed: pip install -e '.[minari]'") from None
    return minari


def datasets_directory() -> Path:
    """The directory of Minari's datasets."""
    return Path(os.environ.get(DIRECTORY) or Path.home() / ".minari" / "datasets")


def export(dataset: Dataset, dataset_id: str, directory: Path) -> Path:
    """Writes a dataset in Minari's format without loss; it appears only when it is complete.

    The observations are the environment's own, including stacks of frames. Each episode is replayed
    and compared with its digests.

    Args:
        dataset_id: name of the dataset in Minari, such as "pong/expert-v0".
        directory: directory of Minari's datasets.

    Raises:
        UserError: Minari is missing, the name is invalid or taken, an episode is damaged or differs
            from its recording, or the environment cannot be built here.
    """
    minari = library()
    from minari.dataset.minari_dataset import parse_dataset_id
    from minari.namespace import create_namespace, list_local_namespaces

    try:
        namespace, *_ = parse_dataset_id(dataset_id)
    except (TypeError, ValueError):
        raise UserError(f"--id {dataset_id}: must have the form pong/expert-v0") from None
    target = directory / dataset_id
    if target.exists():
        raise UserError(f"{target} exists already; choose another --id")
    files = at_least_one(dataset, dataset.files())
    about = dataset.metadata
    observation_space, action_space = spaces_of(about.spec)

    def each(make: Callable[[Episode], Any]) -> Any:
        return (make(dataset.read(path)) for path in files)

    try:
        directory.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".tmp-", dir=directory) as aside, told(aside):
            written = minari.create_dataset_from_buffers(
                dataset_id,
                each(lambda episode: buffer(episode, action_space)),
                observation_space=observation_space,
                action_space=action_space,
                algorithm_name=about.policy,
                description=f"{about.spec.protocol}, played by {about.policy}",
                jpeg_encoding=False,
            )
            written.storage.update_metadata({KEY: about.to_json(), **recoverable(about.spec)})
            written.storage.update_episode_metadata(each(note))
            with told(directory):
                if namespace is not None and namespace not in list_local_namespaces():
                    create_namespace(namespace)
            os.rename(Path(aside) / dataset_id, target)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}") from None
    return target


def buffer(episode: Episode, action_space: Space) -> EpisodeBuffer:
    """Converts an episode to Minari's type."""
    from minari.data_collector import EpisodeBuffer

    last = np.arange(len(episode)) == len(episode) - 1
    # Minari's types say lists, but arrays work and preserve their dtypes.
    steps: dict[str, Any] = {
        "observations": emitted(episode),
        "actions": playable_actions(action_space, episode.actions),
        "rewards": episode.rewards,
        "terminations": last & episode.terminated,
        "truncations": last & (not episode.terminated),
    }
    return EpisodeBuffer(seed=episode.seed, infos={}, **steps)


@dataclass(frozen=True)
class Note:
    """Facts about an episode that Minari's format lacks, stored as metadata."""

    policy: str
    digests: list[str]
    action_dtype: str

    def __post_init__(self) -> None:
        require_numbers(self.action_dtype, "actions")


def note(episode: Episode) -> dict[str, str]:
    """Our metadata of an episode, for Minari to store."""
    digests = [bytes(each).hex() for each in episode.digests]
    about = Note(episode.policy, digests, episode.actions.dtype.str)
    return {KEY: json.dumps(asdict(about))}


def emitted(episode: Episode) -> np.ndarray:
    """The observations (T + 1, ...) that the environment emits, including stacks of frames."""
    frames = np.stack(list(observations_of(episode)))
    depth = episode.spec.frame_stack
    if depth == 1:
        return frames
    # The emulator begins an episode with a stack of black frames.
    black = np.zeros((depth - 1, *frames.shape[1:]), frames.dtype)
    stacks = np.lib.stride_tricks.sliding_window_view(np.concatenate([black, frames]), depth, 0)
    return np.moveaxis(stacks, -1, 1)


def recoverable(spec: EnvSpec) -> dict[str, str]:
    """The metadata from which Minari's `recover_environment` builds the environment.

    The environment is Gymnasium's, with Gymnasium's wrappers. The wrappers preprocess an Atari game
    as we do, and flatten observations that are not arrays. Returns {} if the registration of the
    environment holds code, which JSON cannot store.
    """
    game = spec.game
    env_id = spec.env_id.rpartition(":")[2] if game is None else gymnasium_id(game)
    registered = copy.deepcopy(gymnasium.spec(env_id))
    if game is None:
        registered.kwargs |= spec.env_kwargs
        if spec.max_episode_frames:
            registered.max_episode_steps = spec.max_episode_frames
        registered.additional_wrappers = flattening(spec)
    else:
        registered.kwargs |= {
            "repeat_action_probability": spec.repeat_action_probability,
            "full_action_space": spec.full_action_space,
            "frameskip": 1,
            "max_num_frames_per_episode": spec.max_episode_frames,
        }
        chosen = {"mode": spec.mode, "difficulty": spec.difficulty}
        registered.kwargs |= {name: value for name, value in chosen.items() if value is not None}
        registered.additional_wrappers = atari_wrappers(spec)
    try:
        return {"env_spec": registered.to_json()}
    except (TypeError, ValueError):
        return {}


def gymnasium_id(game: str) -> str:
    """The id under which Gymnasium registers an Atari game."""
    ids = (env_id for env_id, rom in atari_ids().items() if rom == game)
    return next(env_id for env_id in ids if env_id.startswith("ALE/"))


def flattening(spec: EnvSpec) -> tuple[WrapperSpec, ...]:
    """Gymnasium's wrapper that flattens observations, or () if they are arrays already."""
    env = make_env(spec, {})
    env.close()
    if isinstance(env.observation_space, Box):
        return ()
    return (WrapperSpec("FlattenObservation", "gymnasium.wrappers:FlattenObservation", {}),)


def atari_wrappers(spec: EnvSpec) -> tuple[WrapperSpec, ...]:
    """Gymnasium's wrappers that preprocess an Atari game as its spec says."""
    wrappers = {
        "AtariPreprocessing": {
            "noop_max": spec.noop_max,
            "frame_skip": spec.frameskip,
            "screen_size": spec.screen_size,
            "grayscale_obs": spec.grayscale,
        },
        "FrameStackObservation": {"stack_size": spec.frame_stack, "padding_type": "zero"},
    }
    if spec.frame_stack == 1:
        del wrappers["FrameStackObservation"]
    return tuple(
        WrapperSpec(name, f"gymnasium.wrappers:{name}", options)
        for name, options in wrappers.items()
    )


@contextmanager
def told(directory: str | Path) -> Iterator[None]:
    """Makes Minari use this directory, and silences its warnings about fields without a value."""
    before = os.environ.get(DIRECTORY)
    # With a relative directory, Minari looks for its files in the wrong place.
    os.environ[DIRECTORY] = os.path.realpath(directory)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        os.environ.pop(DIRECTORY)
        if before is not None:
            os.environ[DIRECTORY] = before
