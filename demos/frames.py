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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zstandard

from demos.episode import Episode, Witness
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
        seen = {name: getattr(spec, name) for name in PREPROCESSING}
        spec.require_same(dataclasses.replace(episode.spec, **seen), "the episodes are")
    cache, padding = cache or cache_directory(), spec.frame_stack - 1
    sizes = [padding + len(episode) + 1 for episode in episodes]
    first = np.cumsum([0, *sizes[:-1]], dtype=np.int64)
    example = next(replay(dataclasses.replace(episodes[0].tape, spec=spec)))[0]
    frame = newest_frame(example, spec)
    data = unnamed_array(cache, (sum(sizes), *frame.shape), frame.dtype)

    def fill(index: int) -> None:
        episode, begin = episodes[index], int(first[index]) + padding
        rows = data[begin : begin + len(episode) + 1]
        path = cache / f"{name_of(episode, spec)}.zst"
        if not read_kept(path, rows):
            relive(episode, spec, rows)
            keep(path, rows)
        done(episode)

    with ThreadPoolExecutor(num_threads or os.cpu_count()) as pool:
        for _ in pool.map(fill, range(len(episodes))):
            pass
    return Frames(spec, data, first)


def relive(episode: Episode, spec: EnvSpec, rows: np.ndarray) -> None:
    """Write the frames of an episode's life to `rows` (T + 1, ...).

    Raises:
        UserError: its rewards, its end or, seen as it was, its frames are not as recorded.
    """
    life = replay(dataclasses.replace(episode.tape, spec=spec))
    first_obs = next(life)[0]
    rows[0], ended = newest_frame(first_obs, spec), (False, False)
    witness = Witness(spec, first_obs)
    rewards = np.empty_like(episode.rewards)
    for t, (obs, reward, terminated, truncated) in enumerate(life):
        if ended != (False, False):
            raise UserError(f"the episode of seed {episode.seed} ends early; `verify` says where")
        rows[t + 1], rewards[t], ended = newest_frame(obs, spec), reward, (terminated, truncated)
        witness.step(obs, reward, terminated, truncated)
    same = np.array_equal(rewards, episode.rewards) and ended[0] == episode.terminated
    if spec == episode.spec:
        same = same and np.array_equal(witness.digests(), episode.digests)
    if not same:
        raise UserError(f"the episode of seed {episode.seed} is not as recorded; run `verify`")


def newest_frame(obs: np.ndarray, spec: EnvSpec) -> np.ndarray:
    """The last of an observation's stacked frames, or all of an observation that has no stack."""
    return obs[-1] if spec.frame_stack > 1 else obs


def cache_directory() -> Path:
    """Where frames are kept between runs."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "joystick" / "frames"


def name_of(episode: Episode, spec: EnvSpec) -> str:
    """A digest of all that decides the frames of an episode, as `spec` sees it."""
    parts = (json.dumps(spec.to_json()), episode.seed, episode.actions.dtype.str)
    text = repr(parts).encode() + episode.actions.tobytes() + episode.digests.tobytes()
    return hashlib.blake2b(text, digest_size=16).hexdigest()


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
