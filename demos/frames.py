"""The frames of demonstrations: lived again once, kept compressed, mapped into memory.

What was decoded is kept in `~/.cache/joystick/frames` (or `$XDG_CACHE_HOME`), an episode in a
file of its own, named by all that makes its frames: zstandard over the XOR with the frame before,
of which little is not zero. All of it can be deleted: it is made again where it is missing or
damaged.
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
from envs.batched_replay import replay_together
from envs.files import TEMPORARY, entries, open_regular, remove, write_atomically
from envs.machine import available_cores
from envs.tapes import playable_actions

PREPROCESSING = ("frame_stack", "screen_size", "grayscale", "maxpool")
"""Fields of an EnvSpec that change what is seen of a life, and not the life."""


MARGIN_BYTES, DAY_S = 1 << 16, 86_400


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

    def split(self, count: int) -> tuple[Frames, Frames]:
        """Those of the first `count` episodes and those of the others; views, not copies."""
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
    """The frames of episodes as `spec` sees them, which may preprocess in another way than theirs.

    Args:
        cache: directory of what was decoded before; by default the person's.
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
        # The pool waits for what it was given: after a signal that is nothing more.
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
    """The shape and dtype of a frame, as `spec` sees it."""
    if episode.observations is not None:
        # A file may have the bytes of a number in the other order, and nothing learns from that.
        return episode.observations.shape[1:], episode.observations.dtype.newbyteorder("=")
    space, _ = spaces_of(spec)
    assert space.shape is not None and space.dtype is not None
    return space.shape[1:] if spec.frame_stack > 1 else space.shape, space.dtype


def require_format(episode: Episode, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Passes where an episode's stored observations have this shape and dtype, or it has none.

    Raises:
        UserError: they have another.
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
    """Passes where episodes have the actions and the observations of their environment.

    An episode with stored observations is not lived again, which would find that out.

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
    """Yields with each episode's number its T + 1 newest frames, as `spec` sees them, then None.

    Raises:
        UserError: a life is not what was recorded: under another preprocessing by its rewards and
            its end, else by its frames too.
    """
    if all(spec.same_life(episode.spec) for episode in episodes.values()):
        yield from frames_of(episodes)
        return
    tapes = {k: dataclasses.replace(each.tape, spec=spec) for k, each in episodes.items()}
    for lived in replay_together(tapes):
        episode = episodes[lived.tape]
        last = lived.step == len(episode)
        if lived.step and (
            lived.reward != episode.rewards[lived.step - 1]
            or (lived.terminated, lived.truncated)
            != (last and episode.terminated, last and not episode.terminated)
        ):
            raise UserError(f"the episode of seed {episode.seed} is not as recorded; `verify` it")
        yield lived.tape, newest(spec, lived.obs)
        if last:
            yield lived.tape, None


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
            take_room(file.fileno(), num_bytes, directory)
            return np.memmap(file, dtype, "r+", shape=shape)
    except OSError as error:
        gigabytes = f"{num_bytes / 1e9:.1f} GB of frames"
        raise UserError(f"{directory} cannot hold {gigabytes}: {error.strerror}") from None


def take_room(descriptor: int, num_bytes: int, directory: Path) -> None:
    """Reserve the bytes of an empty file, so that a full disk is noticed before they are written.

    macOS and Windows reserve nothing: there the free bytes of the disk must be enough.

    Raises:
        OSError: the disk does not hold them.
    """
    fallocate = getattr(os, "posix_fallocate", None)
    if fallocate is not None:
        fallocate(descriptor, 0, num_bytes)
        return
    if shutil.disk_usage(directory).free < num_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory))
    os.ftruncate(descriptor, num_bytes)


def read_kept(path: Path, rows: np.ndarray) -> bool:
    """Fill `rows` (T + 1, ...) with what `keep` wrote for this path.

    Returns:
        False where that is missing or damaged, or where the file is another's or no regular one.
    """
    flat = rows.reshape(len(rows), -1).view(np.uint8)
    mark, decompressor = mark_of(path), zstandard.ZstdDecompressor()
    try:
        with (
            open_regular(path, 2 * flat.size + MARGIN_BYTES) as file,
            decompressor.stream_reader(file) as reader,
        ):
            if reader.read(len(mark)) != mark:
                return False
            # The byte too many has the checksum compared.
            delta = np.frombuffer(reader.read(flat.size + 1), np.uint8)
    except (OSError, zstandard.ZstdError, MemoryError):
        return False
    if delta.size != flat.size:
        return False
    np.bitwise_xor.accumulate(delta.reshape(flat.shape), axis=0, out=flat)
    return True


def keep(path: Path, rows: np.ndarray) -> None:
    """Compress the frames (T + 1, ...) of an episode to a file, unless the disk is full.

    They begin with a mark of the file's name, so that a file under another name is not believed.
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
    """What the frames in a file begin with."""
    return hashlib.blake2b(path.name.encode(), digest_size=16).digest()


def remove_abandoned(cache: Path) -> None:
    """Delete what processes that were killed had begun to write, a day ago or longer."""
    for path in entries(cache):
        with suppress(OSError):
            if path.name.startswith(TEMPORARY) and time.time() - path.lstat().st_mtime > DAY_S:
                remove(path)
