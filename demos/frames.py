"""The frames of demonstrations: lived again once, kept compressed, mapped into memory.

What was decoded is kept in `~/.cache/joystick/frames` (or `$XDG_CACHE_HOME`), an episode in a
file of its own, named by all that makes its frames: zstandard over the XOR with the frame before,
of which little is not zero. All of it can be deleted: it is made again where it is missing or
damaged.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import zstandard

from demos.episode import Episode, newest
from demos.verification import observations_of
from envs import EnvSpec, UserError, replay
from envs.files import write_atomically

PREPROCESSING = ("frame_stack", "screen_size", "grayscale", "maxpool")
"""Fields of an EnvSpec that change what is seen of a life, and not the life."""


@dataclass(frozen=True, eq=False)
class Frames:
    """The newest frame of every observation of some episodes, one episode after the other.

    Before each episode stand `frame_stack - 1` frames of zeros, so that the observation t of
    episode e is `data[first[e] + t : first[e] + t + frame_stack]`, of which the last is final.
    """

    spec: EnvSpec
    data: np.ndarray
    """(F, ...) in the observations' dtype, mapped from a file without a name."""
    first: np.ndarray
    """int64 (E,)"""


def decode(
    episodes: list[Episode],
    spec: EnvSpec,
    cache: Path | None = None,
    num_threads: int | None = None,
    done: Callable[[Episode], None] = lambda episode: None,
) -> Frames:
    """The frames of episodes as `spec` sees them, which may preprocess in another way than theirs.

    Args:
        cache: directory of what was decoded before; by default the person's.
        num_threads: episodes at a time; by default one per core.
        done: called after each episode.

    Raises:
        UserError: an episode is of another environment, or is not lived again as it was recorded.
    """
    if not episodes:
        raise UserError("there are no episodes to decode")
    for episode in episodes:
        ours = {name: getattr(spec, name) for name in PREPROCESSING}
        spec.require_same(dataclasses.replace(episode.spec, **ours), "the episodes are")
    cache, padding = cache or cache_directory(), spec.frame_stack - 1
    sizes = [padding + len(episode) + 1 for episode in episodes]
    first = np.cumsum([0, *sizes[:-1]], dtype=np.int64)
    frame = next(seen(episodes[0], spec))
    data = unnamed_array(cache, (sum(sizes), *frame.shape), frame.dtype)

    def fill(index: int) -> None:
        episode, begin = episodes[index], int(first[index]) + padding
        rows = data[begin : begin + len(episode) + 1]
        path = cache / f"{name_of(episode, spec)}.zst"
        if not read_kept(path, rows):
            for t, frame in enumerate(seen(episode, spec)):
                rows[t] = frame
            if episode.observations is None:
                keep(path, rows)
        done(episode)

    with ThreadPoolExecutor(num_threads or os.cpu_count()) as pool:
        for _ in pool.map(fill, range(len(episodes))):
            pass
    return Frames(spec, data, first)


def seen(episode: Episode, spec: EnvSpec) -> Iterator[np.ndarray]:
    """Yields the newest frames (T + 1) of an episode, as `spec` sees it.

    Raises:
        UserError: the life is not what was recorded: under another preprocessing by its rewards
            and its end, else by its frames too.
    """
    if spec == episode.spec:
        yield from observations_of(episode)
        return
    life = replay(dataclasses.replace(episode.tape, spec=spec))
    yield newest(spec, next(life)[0])
    rewards, ended = [], False
    for obs, reward, terminated, _ in islice(life, len(episode)):
        rewards.append(reward)
        ended = terminated
        yield newest(spec, obs)
    if not np.array_equal(rewards, episode.rewards) or ended != episode.terminated:
        raise UserError(f"the episode of seed {episode.seed} is not as recorded; `verify` it")


def cache_directory() -> Path:
    """Where frames are kept between runs."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "joystick" / "frames"


def name_of(episode: Episode, spec: EnvSpec) -> str:
    """A digest of all that decides the frames of an episode, as `spec` sees it."""
    parts = (json.dumps(spec.to_json()), episode.seed, episode.actions.dtype.str)
    text = hashlib.blake2b(repr(parts).encode(), digest_size=16)
    for array in (episode.actions, episode.rewards, episode.digests):
        text.update(array.tobytes())
    return text.hexdigest()


def unnamed_array(directory: Path, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Zeros on the disk, that are gone with the process, however it ends.

    Raises:
        UserError: the disk does not hold them.
    """
    num_bytes = int(np.prod(shape)) * dtype.itemsize
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as file:
            os.posix_fallocate(file.fileno(), 0, num_bytes)
            return np.memmap(file, dtype, "r+", shape=shape)
    except OSError as error:
        gigabytes = f"{num_bytes / 1e9:.1f} GB of frames"
        raise UserError(f"{directory} cannot hold {gigabytes}: {error.strerror}") from None


def read_kept(path: Path, rows: np.ndarray) -> bool:
    """Fill `rows` (T + 1, ...) with what `keep` wrote; False where that is missing or damaged."""
    flat = rows.reshape(len(rows), -1).view(np.uint8)
    try:
        with open(path, "rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
            delta = np.frombuffer(reader.read(flat.size + 1), np.uint8)
    except (OSError, zstandard.ZstdError):
        return False
    if delta.size != flat.size:
        return False
    np.bitwise_xor.accumulate(delta.reshape(flat.shape), axis=0, out=flat)
    return True


def keep(path: Path, rows: np.ndarray) -> None:
    """Compress the frames (T + 1, ...) of an episode to a file, unless the disk is full."""
    flat = rows.reshape(len(rows), -1).view(np.uint8)
    delta = flat.copy()
    delta[1:] ^= flat[:-1]
    compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)
    with suppress(OSError):
        write_atomically(path, compressor.compress(delta))
