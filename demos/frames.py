"""Decodes the frames of demonstrations: replays each episode once and caches its frames.

The cache is `~/.cache/joystick/frames`, or `$XDG_CACHE_HOME/joystick/frames`. Each episode has a
file; a digest of everything that decides its frames is the file's name. A file holds the XOR of
each frame with the frame before, which is mostly zero, compressed by zstandard. The cache can be
deleted at any time: a missing or damaged file is written again.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zstandard

from demos.episode import Episode, newest
from demos.verification import frames_of
from envs import EnvSpec, UserError, signals, spaces_of
from envs.batched_replay import replay_batched
from envs.files import TEMPORARY, entries, open_regular, remove, write_atomically
from envs.machine import available_cores
from envs.tapes import playable_actions

PREPROCESSING = ("frame_stack", "screen_size", "grayscale", "maxpool")
"""Fields of an EnvSpec that change the observations, but not the course of an episode."""

MARGIN_BYTES = 1 << 16
"""A cached file may be larger than twice its frames by this much."""

DAY_S = 86_400


@dataclass(frozen=True, eq=False)
class Frames:
    """The newest frame of every observation of some episodes, one episode after the other.

    Before each episode stand `frame_stack - 1` frames of zeros. Observation t of episode e is
    `data[first[e] + t : first[e] + t + frame_stack]`; the last observation is the final one.
    """

    spec: EnvSpec
    data: np.ndarray
    """(F, ...) in the observations' dtype, mapped from an unnamed file."""
    first: np.ndarray
    """int64 (E,), the index at which each episode's frames of zeros begin."""

    def split(self, count: int) -> tuple[Frames, Frames]:
        """The frames of the first `count` episodes and of the others; views, not copies."""
        end = int(np.append(self.first, len(self.data))[count])
        return (
            Frames(self.spec, self.data[:end], self.first[:count]),
            Frames(self.spec, self.data[end:], self.first[count:] - end),
        )


def decode(
    episodes: list[Episode],
    spec: EnvSpec,
    cache: Path | None = None,
    done: Callable[[], None] = lambda: None,
) -> Frames:
    """Decodes the frames of episodes under the preprocessing of `spec`.

    Args:
        spec: may differ from the episodes' specs in the fields `PREPROCESSING`.
        cache: directory of the cached frames; by default `cache_directory()`.
        done: called after each episode.

    Raises:
        UserError: an episode is of another environment, or its replay differs from the recording.
    """
    if not episodes:
        raise UserError("there are no episodes to decode")
    for episode in episodes:
        ours = {name: getattr(spec, name) for name in PREPROCESSING}
        spec.require_same(dataclasses.replace(episode.spec, **ours), "the episodes are")
    cache = cache or cache_directory()
    padding = spec.frame_stack - 1
    remove_abandoned(cache)
    sizes = [padding + len(episode) + 1 for episode in episodes]
    first = np.cumsum([0, *sizes[:-1]], dtype=np.int64)
    shape, dtype = frame_format(episodes[0], spec)
    for episode in episodes:
        require_format(episode, shape, dtype)
    data = unnamed_array(cache, (sum(sizes), *shape), dtype)

    def rows(index: int) -> np.ndarray:
        begin = int(first[index]) + padding
        return data[begin : begin + len(episodes[index]) + 1]

    def kept(index: int) -> Path:
        return cache / f"{name_of(episodes[index], spec)}.zst"

    with ThreadPoolExecutor(available_cores()) as pool:
        # Leaving the block waits for every job, so after a signal each job does nothing.
        reading = lambda i: not signals.received() and read_kept(kept(i), rows(i))  # noqa: E731
        found = list(pool.map(reading, range(len(episodes))))
        missing = [index for index, there in enumerate(found) if not there]
        for _ in range(len(episodes) - len(missing)):
            done()
        keeping: list[Future[None]] = []
        empty = {index: iter(rows(index)) for index in missing}
        for index, frame in seen({index: episodes[index] for index in missing}, spec):
            if frame is not None:
                next(empty[index])[...] = frame
                continue
            if episodes[index].observations is None:
                keeping.append(pool.submit(keep, kept(index), rows(index)))
            done()
        for each in keeping:
            each.result()
    return Frames(spec, data, first)


def frame_format(episode: Episode, spec: EnvSpec) -> tuple[tuple[int, ...], np.dtype]:
    """The shape and dtype of one frame under the preprocessing of `spec`."""
    if episode.observations is not None:
        # A file may hold numbers in the other byte order, which torch cannot read.
        return episode.observations.shape[1:], episode.observations.dtype.newbyteorder("=")
    space, _ = spaces_of(spec)
    assert space.shape is not None and space.dtype is not None
    return space.shape[1:] if spec.frame_stack > 1 else space.shape, space.dtype


def require_format(episode: Episode, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Checks the shape and dtype of an episode's stored observations, if it has any.

    Raises:
        UserError: the shape or the dtype is another one.
    """
    found = episode.observations
    if found is None:
        return
    if found.shape[1:] != shape or found.dtype.newbyteorder("=") != dtype:
        raise UserError(
            f"the observations of an episode are {found.dtype} {found.shape[1:]}, but must be"
            f" {dtype} {shape}"
        )


def require_learnable(episodes: Iterable[Episode], spec: EnvSpec) -> None:
    """Checks that actions and stored observations fit the environment.

    An episode with stored observations is never replayed, so nothing else would notice.

    Raises:
        UserError: an episode has another action, or observations of another shape or dtype.
    """
    emitted, actions = spaces_of(spec)
    assert emitted.shape is not None
    assert emitted.dtype is not None
    shape = emitted.shape[1:] if spec.frame_stack > 1 else emitted.shape
    for episode in episodes:
        playable_actions(actions, episode.actions)
        require_format(episode, shape, emitted.dtype)


def seen(episodes: Mapping[int, Episode], spec: EnvSpec) -> Iterator[tuple[int, np.ndarray | None]]:
    """Yields as `frames_of`, under the preprocessing of `spec`.

    Raises:
        UserError: a replay differs from its recording in a reward or in the end. Frames are
            compared too if the preprocessing is the recording's own.
    """
    if all(spec.same_life(episode.spec) for episode in episodes.values()):
        yield from frames_of(episodes)
        return
    tapes = {k: dataclasses.replace(each.tape, spec=spec) for k, each in episodes.items()}
    for replayed in replay_batched(tapes):
        episode = episodes[replayed.tape]
        last = replayed.step == len(episode)
        if replayed.step and (
            replayed.reward != episode.rewards[replayed.step - 1]
            or (replayed.terminated, replayed.truncated)
            != (last and episode.terminated, last and not episode.terminated)
        ):
            raise UserError(
                f"the episode of seed {episode.seed} differs from its recording; `verify` it"
            )
        yield replayed.tape, newest(spec, replayed.obs)
        if last:
            yield replayed.tape, None


def cache_directory() -> Path:
    """The default directory of cached frames."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "joystick" / "frames"


def name_of(episode: Episode, spec: EnvSpec) -> str:
    """A digest of everything that decides the frames of an episode under `spec`."""
    parts = (json.dumps(spec.to_json()), episode.seed, episode.actions.dtype.str)
    text = hashlib.blake2b(repr(parts).encode(), digest_size=16)
    for array in (episode.actions, episode.rewards, episode.digests):
        text.update(array.tobytes())
    return text.hexdigest()


def unnamed_array(directory: Path, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array of zeros in an unnamed file, which disappears with the process.

    Raises:
        UserError: the disk has too little room.
    """
    num_bytes = int(np.prod(shape)) * dtype.itemsize
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as file:
            take_room(file.fileno(), num_bytes, directory)
            return np.memmap(file, dtype, "r+", shape=shape)
    except OSError as error:
        gigabytes = f"{num_bytes / 1e9:.1f} GB of frames"
        raise UserError(f"{directory} cannot hold {gigabytes}: {error.strerror}") from None


def take_room(descriptor: int, num_bytes: int, directory: Path) -> None:
    """Reserves the bytes of an empty file, so that a full disk is noticed before writing.

    macOS and Windows cannot reserve; there the disk's free bytes must be enough.

    Raises:
        OSError: the disk has too little room.
    """
    fallocate = getattr(os, "posix_fallocate", None)
    if fallocate is not None:
        fallocate(descriptor, 0, num_bytes)
        return
    if shutil.disk_usage(directory).free < num_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory))
    os.ftruncate(descriptor, num_bytes)


def read_kept(path: Path, rows: np.ndarray) -> bool:
    """Reads the frames that `keep` wrote to a file into `rows` (T + 1, ...).

    Returns:
        False if the file is missing, damaged, not regular, or holds another episode's frames.
    """
    flat = rows.reshape(len(rows), -1).view(np.uint8)
    mark = mark_of(path)
    decompressor = zstandard.ZstdDecompressor()
    try:
        with (
            open_regular(path, 2 * flat.size + MARGIN_BYTES) as file,
            decompressor.stream_reader(file) as reader,
        ):
            if reader.read(len(mark)) != mark:
                return False
            # Reading one byte past the end makes zstandard compare the checksum.
            delta = np.frombuffer(reader.read(flat.size + 1), np.uint8)
    except (OSError, zstandard.ZstdError, MemoryError):
        return False
    if delta.size != flat.size:
        return False
    np.bitwise_xor.accumulate(delta.reshape(flat.shape), axis=0, out=flat)
    return True


def keep(path: Path, rows: np.ndarray) -> None:
    """Compresses the frames (T + 1, ...) of an episode to a file, unless the disk is full.

    The file begins with a digest of its name, so that a renamed file is not used.
    """
    flat = rows.reshape(len(rows), -1).view(np.uint8)
    delta = flat.copy()
    delta[1:] ^= flat[:-1]
    compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)
    mark = mark_of(path)
    frame = compressor.compressobj(size=len(mark) + delta.size)
    parts = [frame.compress(mark), frame.compress(delta), frame.flush()]
    with suppress(OSError):
        write_atomically(path, b"".join(parts))


def mark_of(path: Path) -> bytes:
    """The digest of a file's name, with which the file begins."""
    return hashlib.blake2b(path.name.encode(), digest_size=16).digest()


def remove_abandoned(cache: Path) -> None:
    """Deletes temporary files that killed processes left a day ago or earlier."""
    for path in entries(cache):
        with suppress(OSError):
            if path.name.startswith(TEMPORARY) and time.time() - path.lstat().st_mtime > DAY_S:
                remove(path)
