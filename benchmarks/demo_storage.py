"""Compares the disk space of demonstrations with Minari: seeds and actions against observations.

    python -m benchmarks.demo_storage --env Pong

Both write the same random episodes, Minari with its default settings. Minari writes them twice: as
the stacks of frames that the environment emits, and as only the newest frame of each stack, which
it stores as JPEG. The ratio compares with the smaller of the two.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import tyro
from gymnasium import spaces
from rich.console import Console

import envs
from agents.core.training.config import require
from benchmarks.machine import version, write_result
from demos import minari, provenance
from demos.dataset import Dataset, Metadata
from demos.editing import save
from demos.episode import Episode
from demos.frames import decode
from demos.policies import resolve
from demos.recording import record
from demos.verification import observations_of, verify_batched
from envs import command_line
from envs.entry import command as one_line_errors
from envs.machine import available_cores


@dataclass(frozen=True, kw_only=True)
class Arguments:
    env_id: Annotated[str, tyro.conf.arg(name="env")] = "Pong"  # Environment.
    episodes: int = 16  # Episodes of a random policy.
    seed: int = 0  # Seed of the episodes.


def measure(arguments: Arguments, folder: Path) -> dict[str, Any]:
    """Returns bytes per step of both, and steps per second of verifying and decoding."""
    cache = folder / "cache"
    dataset = recorded(arguments, folder / "ours")
    episodes = dataset.episodes()
    spec = dataset.metadata.spec
    steps = sum(len(each) for each in episodes)
    written = {"joystick": dataset.path, "minari": write(episodes, folder / "minari")}
    if spec.frame_stack > 1:
        written["minari_newest_frame"] = write(episodes, folder / "newest", newest_frames)
    bytes_per_step = {name: size(path) / steps for name, path in written.items()}
    ours = bytes_per_step["joystick"]
    ratios = {name: round(value / ours) for name, value in bytes_per_step.items()}
    ratios.pop("joystick")
    return {
        "protocol": spec.protocol,
        "episodes": len(episodes),
        "steps": steps,
        "replayable": dataset.metadata.replayable,
        "minari_version": version("minari"),
        "bytes_per_step": {name: round(value, 3) for name, value in bytes_per_step.items()},
        "ratio": min(ratios.values()),
        "ratio_to": ratios,
        "verify_steps_per_second": rate(steps, lambda: list(verify_batched(episodes))),
        "decode_steps_per_second": rate(steps, lambda: decode(episodes, spec, cache)),
        "decode_kept_steps_per_second": rate(steps, lambda: decode(episodes, spec, cache)),
        "threads": available_cores(),
    }


def recorded(arguments: Arguments, path: Path) -> Dataset:
    """Records a dataset of random episodes."""
    spec = envs.spec(arguments.env_id)
    policy = resolve("random", spec, arguments.seed, None)
    episodes = list(record(spec, policy, arguments.episodes, arguments.seed))
    about = Metadata(
        spec=spec,
        policy=policy.name,
        created=provenance.now(),
        command=provenance.command_line(),
        replayable=episodes[0].observations is None,
    )
    return save(path, about, episodes)


def newest_frames(episode: Episode) -> np.ndarray:
    """The newest frame of each observation, (T + 1, ...)."""
    return np.stack(list(observations_of(episode)))


def write(
    episodes: list[Episode],
    folder: Path,
    observations: Callable[[Episode], np.ndarray] = minari.emitted,
) -> Path:
    """Writes the episodes as a Minari dataset with default settings; returns its folder."""
    space, action_space = envs.spaces_of(episodes[0].spec)
    if observations is newest_frames:
        assert space.shape is not None
        space = spaces.Box(0, 255, space.shape[1:], np.uint8)
    buffers = (
        dataclasses.replace(
            minari.buffer(each, action_space),
            observations=observations(each),  # pyright: ignore[reportArgumentType]
        )
        for each in episodes
    )
    with minari.told(folder):
        minari.library().create_dataset_from_buffers(
            "benchmark-v0", buffers, observation_space=space, action_space=action_space
        )
    return folder


def size(folder: Path) -> int:
    """The bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def rate(steps: int, work: Callable[[], object]) -> int:
    """Does some work on all episodes; returns its steps per second."""
    start = time.perf_counter()
    work()
    return round(steps / (time.perf_counter() - start))


def main(args: list[str] | None = None) -> None:
    with one_line_errors():
        arguments = command_line.parse(
            Arguments, args=args, prog="python -m benchmarks.demo_storage", description=__doc__
        )
        require(arguments.episodes >= 1, "episodes", arguments.episodes, "at least 1")
        minari.library()
        with TemporaryDirectory() as folder:
            result = measure(arguments, Path(folder))
        Console().print(result)
        print(f"wrote {write_result('demo-storage', result)}")


if __name__ == "__main__":
    main()
