"""A dataset: a directory of episodes of one environment, with one Parquet file per episode.

    <dataset>/dataset.json                            metadata and the list of the episodes
    <dataset>/episodes/000017-<digest>.parquet        an episode, see `demos.packing`
    <dataset>/.lock                                   lock of the writing process, see `envs.locks`

The name of an episode's file holds the digest of its bytes. So damage is found before a parser
reads the file, and a damaged episode affects no other.

A process may be killed at any moment. A new episode gets a temporary name first; then it is listed;
then it gets its name. A dropped episode gets a temporary name first; then it leaves the list; then
it is deleted. So each listed episode has a file, under its own or its temporary name. A temporary
file that is not listed is useless.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from demos import metadata as metadata_json
from demos.episode import Episode
from demos.metadata import FILE, Metadata, Session, encode
from demos.packing import MOST_FILE_BYTES, pack, unpack
from envs import UserError, locks
from envs.files import (
    TEMPORARY,
    aside,
    entries,
    flush_directory,
    read_regular,
    remove,
    require_no_link,
    settle,
    within,
    write_atomically,
)
from envs.files import write as write_through
from envs.schema import Malformed
from envs.text import plain

__all__ = ["Damage", "Dataset", "Metadata", "Session", "at_least_one", "digest", "write"]

EPISODE_FILE = re.compile(r"([0-9]{6,9})-([0-9a-f]{16})\.parquet")
ASIDE = re.compile(re.escape(TEMPORARY) + r"[0-9a-f]{8}-(?P<name>" + EPISODE_FILE.pattern + ")")

_DIRECTORY = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
"""Flags for opening a directory, on systems that allow it."""

T = TypeVar("T")


@dataclass(frozen=True)
class Damage:
    """An episode that cannot be read."""

    index: int
    """Number of the episode in the dataset, from 0."""
    why: str
    """The error that reading it raised."""


class Dataset:
    """The episodes of a directory, in order.

    Attributes:
        path: the directory.
        metadata: facts about all episodes. A replacement is written with the next append.
        listed: `dataset.json` lists the episodes; false in format 1.
    """

    def __init__(self, path: Path, metadata: Metadata, names: list[str] | None):
        self.path = path
        self.metadata = metadata
        self.listed = names is not None
        self._names = self._found() if names is None else names
        self._written: tuple[int, int, int] | None = None
        """The state of `dataset.json` after this object wrote it; None before."""

    @classmethod
    def create(cls, path: Path, metadata: Metadata) -> Dataset:
        """Makes a new, empty dataset.

        Raises:
            UserError: there is a dataset already, or the directory cannot be written.
        """
        cls.require_absent(path)
        with written(path):
            require_no_link(path / "episodes")
            (path / "episodes").mkdir(parents=True, exist_ok=True)
        dataset = cls(path, metadata, [])
        stray = dataset._found()
        if stray:
            raise UserError(
                f"{path}/episodes has {len(stray)} episodes already, but {path} has no {FILE};"
                " choose another name"
            )
        write(path / FILE, encode(metadata, []))
        return dataset

    @staticmethod
    def require_absent(path: Path) -> None:
        """Raises a UserError if there is a dataset at `path` already."""
        if os.path.lexists(path / FILE):
            raise UserError(f"{path} is a dataset already; choose another name")

    @classmethod
    def open(cls, path: Path) -> Dataset:
        """Opens a dataset; raises a UserError if it is missing or its `dataset.json` is damaged."""
        metadata, names = readable(path, metadata_json.read)
        for name in names or []:
            if EPISODE_FILE.fullmatch(name) is None:
                raise Malformed(
                    f"{path}/{FILE}: '{plain(name)}' is not the name of an episode's file"
                )
        return cls(path, metadata, names)

    @classmethod
    def as_it_is(cls, path: Path) -> Dataset:
        """As `open`, for `seal`: ignores the digest and the list of the episodes."""
        return cls(path, readable(path, metadata_json.read_unsealed), None)

    def remove_empty(self) -> None:
        """Undoes `create`; a dataset with episodes stays."""
        with suppress(OSError):
            (self.path / "episodes").rmdir()
            (self.path / FILE).unlink()
            (self.path / locks.NAME).unlink(missing_ok=True)
            self.path.rmdir()

    def files(self) -> list[Path]:
        """The files of the episodes, in order, including missing files of listed episodes."""
        folder = self.path / "episodes"
        missing = [name for name in self._names if not os.path.lexists(folder / name)]
        waiting = self._aside() if missing else {}
        return [waiting.get(name, folder / name) for name in self._names]

    def scan(self) -> Iterator[Episode | Damage]:
        """Yields each episode, or its `Damage` if it cannot be read."""
        for number, path in enumerate(self.files()):
            try:
                yield self.read(path)
            except UserError as error:
                yield Damage(number, str(error))

    def read(self, path: Path) -> Episode:
        """Reads the episode in one of the files; raises a UserError if it is damaged."""
        kept_aside = ASIDE.fullmatch(path.name)
        name = kept_aside["name"] if kept_aside else path.name
        named = EPISODE_FILE.fullmatch(name)
        if named is None:
            raise UserError(f"'{name}' is not the name of an episode")
        try:
            data = read_regular(within(self.path, f"episodes/{path.name}"), MOST_FILE_BYTES)
        except FileNotFoundError:
            raise UserError(f"{name} is missing") from None
        except OSError as error:
            raise UserError(f"{name} cannot be read: {error.strerror}") from None
        if digest(data) != named[2]:
            raise UserError(f"{name} was truncated or changed since it was written")
        try:
            episode = unpack(data, self.metadata.spec)
        except UserError as error:
            raise UserError(f"{name} is not a valid episode: {error}") from None
        self._require_kind(episode, name)
        return episode

    def episode(self, number: int) -> Episode:
        """Reads the episode with a number, from 0; raises a UserError if there is none."""
        require_numbers(self, [number])
        return self._whole(number, self.files())

    def selected(self, numbers: Iterable[int]) -> Iterator[Episode]:
        """Yields the episodes with these numbers, one at a time; raises as `episode`."""
        files = self.files()
        for number in numbers:
            yield self._whole(number, files)

    def episodes(self, *, skip_damaged: bool = False) -> list[Episode]:
        """Reads all episodes; raises a UserError for a damaged one, unless it skips them."""
        scanned = list(self.scan())
        good = [each for each in scanned if isinstance(each, Episode)]
        bad = [each for each in scanned if isinstance(each, Damage)]
        if bad and not skip_damaged:
            keep = f"`python -m demos filter {self.path} --skip-damaged --out NAME` keeps them"
            others = f"; the other {len(good)} are intact, and {keep}" if good else ""
            raise UserError(
                f"episode {bad[0].index} of {self.path} is damaged ({bad[0].why}){others}"
            )
        return good

    def problems(self) -> list[str]:
        """The faults of the dataset outside its episodes, one line each."""
        names = [path.name for path in entries(self.path / "episodes")]
        names = [name for name in names if not name.startswith(TEMPORARY)]
        if not self.listed:
            return self._gaps()
        there = set(self._names) & set(names)
        numbers = {digest_in(name): number for number, name in enumerate(self._names)}
        lines = [f"{FILE} lists {name} {n} times" for name, n in repeated(self._names)]
        for name in sorted(set(names) - there):
            number = numbers.get(digest_in(name))
            if number is None:
                if name.endswith(".parquet"):
                    lines.append(f"{plain(name)} is not listed in {FILE}")
            elif self._names[number] in there:
                lines.append(f"{name} is a copy of episode {number}")
            else:
                lines.append(f"{name} is episode {number} under another name")
        return lines

    def append(self, episode: Episode) -> Path:
        """Writes one more episode and flushes it to the disk.

        Raises:
            UserError: the episode is of another environment (the message names the field), or
                cannot be written. Or only one of episode and dataset has stored observations.
        """
        self._require_fitting(episode)
        data = pack(episode)
        self._refresh()
        path = self.path / "episodes" / f"{self._next_number():06d}-{digest(data)}.parquet"
        temporary = aside(path)
        with written(path):
            require_no_link(path.parent)
            try:
                write_through(temporary, data)
                flush_directory(path.parent)
                self._list([*self._names, path.name])
            except BaseException:
                with suppress(OSError):
                    temporary.unlink()
                raise
            settle(temporary, path)
        return path

    def extend(self, episodes: Iterable[Episode]) -> None:
        """Adds all episodes at once: either all of them are listed, or none; raises as `append`."""
        names = list(self._names)
        for number, episode in enumerate(episodes, start=self._next_number()):
            self._require_fitting(episode)
            data = pack(episode)
            names.append(f"{number:06d}-{digest(data)}.parquet")
            path = self.path / "episodes" / names[-1]
            with written(path):
                require_no_link(path.parent)
                write_through(path, data)
        with written(self.path):
            flush_directory(self.path / "episodes")
            self._list(names)

    def drop(self, numbers: Collection[int]) -> None:
        """Deletes the episodes with these numbers, from 0, and renumbers the later episodes.

        Raises:
            UserError: a number has no episode, another process is writing, or the dataset cannot be
                written.
        """
        with alone(self.path):
            self._drop(numbers)

    def _drop(self, numbers: Collection[int]) -> None:
        self._refresh()
        require_numbers(self, numbers)
        dropped = [path for number, path in enumerate(self.files()) if number in numbers]
        kept = [name for number, name in enumerate(self._names) if number not in numbers]
        with written(self.path):
            require_no_link(self.path / "episodes")
            for path in dropped:
                if EPISODE_FILE.fullmatch(path.name) and os.path.lexists(path):
                    os.rename(path, aside(path))
            flush_directory(self.path / "episodes")
            self._list(kept)
            self._tidy()

    def seal(self) -> None:
        """Lists the files that exist now in `dataset.json`, with a new digest.

        Raises:
            UserError: another process is writing, or the dataset cannot be written.
        """
        with alone(self.path), written(self.path):
            self._list(self._found())
            self._tidy()

    def _refresh(self) -> None:
        """Prepares a write: reads the list that another process may have written.

        It also finishes the work of a killed process.
        """
        if self._written is not None and self._written == state_of(self.path / FILE):
            return
        self._names = Dataset.open(self.path)._names
        with written(self.path):
            self._tidy()

    def _tidy(self) -> None:
        """Renames listed episodes from their temporary names, and deletes other temporary files."""
        folder = self.path / "episodes"
        require_no_link(folder)
        for path in entries(folder):
            kept_aside = ASIDE.fullmatch(path.name)
            if kept_aside is None:
                continue
            name = folder / kept_aside["name"]
            if name.name in self._names and not os.path.lexists(name):
                settle(path, name)
            else:
                remove(path)

    def _list(self, names: list[str]) -> None:
        """Writes `dataset.json`, whole or not at all."""
        write_atomically(self.path / FILE, encode(self.metadata, names))
        self._names = names
        self._written = state_of(self.path / FILE)
        self.listed = True

    def _aside(self) -> dict[str, Path]:
        """The files with temporary names, by their final names."""
        found = entries(self.path / "episodes")
        matches = {path: ASIDE.fullmatch(path.name) for path in found}
        return {match["name"]: path for path, match in matches.items() if match}

    def _found(self) -> list[str]:
        """The names of all files with an episode's name, in order."""
        names = [path.name for path in entries(self.path / "episodes")]
        return sorted((name for name in names if EPISODE_FILE.fullmatch(name)), key=number_in)

    def _gaps(self) -> list[str]:
        """Descriptions of missing and of duplicate numbers, in a dataset without a list."""
        numbers = [number_in(name) for name in self._names]
        lines = []
        for before, after in pairwise([-1, *sorted(set(numbers))]):
            first = f"{before + 1:06d}"
            last = f"{after - 1:06d}"
            if after == before + 2:
                lines.append(f"the file of number {first} is missing")
            elif after > before + 2:
                lines.append(f"the files of numbers {first} to {last} are missing")
        return lines + [
            f"{n} files have the number {number:06d}" for number, n in repeated(numbers)
        ]

    def _next_number(self) -> int:
        return max(map(number_in, self._names), default=-1) + 1

    def _whole(self, number: int, files: list[Path]) -> Episode:
        try:
            return self.read(files[number])
        except UserError as error:
            raise UserError(f"episode {number} of {self.path} is damaged: {error}") from None

    def _require_fitting(self, episode: Episode) -> None:
        episode.spec.require_same(self.metadata.spec, f"{self.path} is")
        self._require_kind(episode, "the episode")

    def _require_kind(self, episode: Episode, who: str) -> None:
        has = "no" if episode.observations is None else "stored"
        needs = "no" if self.metadata.replayable else "stored"
        if has != needs:
            raise UserError(f"{who} has {has} observations, but {self.path} has {needs} ones")


def require_numbers(dataset: Dataset, numbers: Collection[int]) -> None:
    """Raises a UserError for the first of these numbers that has no episode in the dataset."""
    count = len(dataset.files())
    for number in sorted(numbers):
        if not 0 <= number < count:
            allowed = f"allowed are 0 to {count - 1}" if count else "it has none"
            raise UserError(f"there is no episode {number} in {dataset.path}, {allowed}")


def at_least_one(dataset: Dataset, found: list[T]) -> list[T]:
    """Returns the found episodes or files of a dataset; raises a UserError if there are none."""
    if not found:
        raise UserError(f"{dataset.path} has no episodes")
    return found


def state_of(path: Path) -> tuple[int, int, int]:
    """The inode, the time of change and the size of a file, which reveal another write."""
    status = path.lstat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def repeated(items: Iterable[T]) -> list[tuple[T, int]]:
    """The items that occur more than once, each with its count."""
    return [(each, count) for each, count in Counter(items).items() if count > 1]


def number_in(name: str) -> int:
    """The number at the beginning of an episode's file name."""
    return int(name.partition("-")[0])


def digest_in(name: str) -> str:
    """The digest in an episode's file name; any other name itself."""
    found = EPISODE_FILE.fullmatch(name)
    return found[2] if found else name


def digest(data: bytes) -> str:
    """The digest of a file's bytes, as its name holds it."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def readable(path: Path, read: Callable[[Path], T]) -> T:
    """Calls `read` on a dataset's `dataset.json`; raises a UserError if it cannot be read."""
    try:
        return read(path / FILE)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} is not a dataset: it has no {FILE}") from None
    except OSError as error:
        raise UserError(f"{path}/{FILE} cannot be read: {error.strerror}") from None


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Holds the lock of a dataset, so that only this process writes into it; readers need no lock.

    Raises:
        UserError: another process holds the lock (the message names it), or the dataset cannot be
            written.
    """
    with locks.alone(path), _older_versions_kept_out(path):
        yield


@contextmanager
def _older_versions_kept_out(path: Path) -> Iterator[None]:
    """Holds the lock that older versions of Joystick take, which is on the directory itself.

    Windows cannot lock a directory; there, older versions did not run.
    """
    try:
        import fcntl
    except ModuleNotFoundError:
        fcntl = None
    if fcntl is None:
        yield
        return
    with written(path):
        descriptor = os.open(path, os.O_RDONLY | _DIRECTORY)
    try:
        # Some network file systems have no locks.
        with suppress(OSError):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # pyright: ignore
            except BlockingIOError:
                raise UserError(
                    f"an older version of Joystick is at work in {path}; wait until it ends"
                ) from None
        yield
    finally:
        os.close(descriptor)


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Turns an OSError into a UserError that names `path`."""
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None


def write(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all; raises a UserError if it cannot be written."""
    with written(path):
        write_atomically(path, data)
