"""A dataset: a directory of episodes of one environment, each in a Parquet file of its own.

    <dataset>/dataset.json                            what is true of all of them, and their list
    <dataset>/episodes/000017-<digest>.parquet        an episode, as `demos.packing` has it
    <dataset>/.lock                                   held by the process that writes: `envs.locks`

A file's name holds the digest of its bytes, so that damage is found before anything reads it, and
one damaged episode costs no other.

A process may be killed at any moment. A new episode is written aside, then listed, then named; an
episode that is dropped is put aside, then taken off the list, then deleted. So a listed file is
always there, under its name or aside, and what is aside and not listed is of no use to anybody.
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
"""How a directory is opened, where it can be."""

T = TypeVar("T")


@dataclass(frozen=True)
class Damage:
    """An episode that cannot be read, and why."""

    index: int
    """Its number in the dataset, from 0."""
    why: str


class Dataset:
    """The episodes of a directory, in order.

    Attributes:
        path: the directory.
        metadata: what is true of all episodes. A replacement is
            written with the next episode that is appended.
        listed: `dataset.json` lists the episodes; not so in format 1.
    """

    def __init__(self, path: Path, metadata: Metadata, names: list[str] | None):
        self.path = path
        self.metadata = metadata
        self.listed = names is not None
        self._names = self._found() if names is None else names
        self._written: tuple[int, int, int] | None = None
        """The state of `dataset.json` after this object wrote it, None before."""

    @classmethod
    def create(cls, path: Path, metadata: Metadata) -> Dataset:
        """A new, empty dataset; UserError where there is one already, or where none can be."""
        cls.require_absent(path)
        with written(path):
            require_no_link(path / "episodes")
            (path / "episodes").mkdir(parents=True, exist_ok=True)
        dataset = cls(path, metadata, [])
        if stray := dataset._found():
            raise UserError(
                f"{path}/episodes has {len(stray)} episodes already, but {path} has no {FILE};"
                " choose another name"
            )
        write(path / FILE, encode(metadata, []))
        return dataset

    @staticmethod
    def require_absent(path: Path) -> None:
        """Passes where there is no dataset yet; a UserError says where there is one."""
        if os.path.lexists(path / FILE):
            raise UserError(f"{path} is a dataset already; choose another name")

    @classmethod
    def open(cls, path: Path) -> Dataset:
        """Raises UserError where there is no dataset, or its `dataset.json` is damaged."""
        metadata, names = readable(path, metadata_json.read)
        for name in names or []:
            if EPISODE_FILE.fullmatch(name) is None:
                raise Malformed(f"{path}/{FILE}: '{plain(name)}' is no name of an episode's file")
        return cls(path, metadata, names)

    @classmethod
    def as_it_is(cls, path: Path) -> Dataset:
        """As `open`, for `seal`: a digest that differs and a list of episodes do not matter."""
        return cls(path, readable(path, metadata_json.read_unsealed), None)

    def remove_empty(self) -> None:
        """Undo `create`; a dataset with episodes stays."""
        with suppress(OSError):
            (self.path / "episodes").rmdir()
            (self.path / FILE).unlink()
            (self.path / locks.NAME).unlink(missing_ok=True)
            self.path.rmdir()

    def files(self) -> list[Path]:
        """The files of the episodes, in order; of a listed episode also where it is missing."""
        folder = self.path / "episodes"
        missing = [name for name in self._names if not os.path.lexists(folder / name)]
        waiting = self._aside() if missing else {}
        return [waiting.get(name, folder / name) for name in self._names]

    def scan(self) -> Iterator[Episode | Damage]:
        """Each episode, or what is wrong with it."""
        for number, path in enumerate(self.files()):
            try:
                yield self.read(path)
            except UserError as error:
                yield Damage(number, str(error))

    def read(self, path: Path) -> Episode:
        """The episode of one of the files; a UserError says what is wrong with it."""
        kept_aside = ASIDE.fullmatch(path.name)
        name = kept_aside["name"] if kept_aside else path.name
        named = EPISODE_FILE.fullmatch(name)
        if named is None:
            raise UserError(f"'{name}' is no name of an episode")
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
            raise UserError(f"{name} is no episode: {error}") from None
        self._require_kind(episode, name)
        return episode

    def episode(self, number: int) -> Episode:
        """The episode of a number, from 0; a UserError says why there is none."""
        require_numbers(self, [number])
        return self._whole(number, self.files())

    def selected(self, numbers: Iterable[int]) -> Iterator[Episode]:
        """Yields episodes by their numbers, one at a time; raises as `episode`."""
        files = self.files()
        for number in numbers:
            yield self._whole(number, files)

    def episodes(self, *, skip_damaged: bool = False) -> list[Episode]:
        """All of them; a UserError names the first that is damaged, unless they are skipped."""
        scanned = list(self.scan())
        good = [each for each in scanned if isinstance(each, Episode)]
        bad = [each for each in scanned if isinstance(each, Damage)]
        if bad and not skip_damaged:
            keep = f"`python -m demos filter {self.path} --skip-damaged --out NAME` keeps them"
            others = f"; the other {len(good)} are whole, and {keep}" if good else ""
            raise UserError(
                f"episode {bad[0].index} of {self.path} is damaged ({bad[0].why}){others}"
            )
        return good

    def problems(self) -> list[str]:
        """What is wrong with the dataset besides its episodes, a line each; [] for nothing."""
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
                    lines.append(f"{plain(name)} is no episode of the dataset, {FILE} has it not")
            elif self._names[number] in there:
                lines.append(f"{name} is a copy of episode {number}")
            else:
                lines.append(f"{name} is episode {number} under another name")
        return lines

    def append(self, episode: Episode) -> Path:
        """Write one more episode through to the disk.

        Raises:
            UserError: it is of another environment (the field is named), has observations where the
                dataset has none or none where it has them, or cannot be written.
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
        """Write episodes of which none is in the dataset before all are; raises as `append`."""
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
        """Delete episodes by their numbers, from 0; those after them move up.

        Raises:
            UserError: there is no episode of a number, another process is writing, or the dataset
                cannot be written.
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
        """Make the present state the recorded one: `dataset.json` lists the files that are there.

        Raises:
            UserError: another process is writing, or the dataset cannot be written.
        """
        with alone(self.path), written(self.path):
            self._list(self._found())
            self._tidy()

    def _refresh(self) -> None:
        """Before something is written: what another process has listed counts, and half-done work
        of one that was killed is finished."""
        if self._written is not None and self._written == state_of(self.path / FILE):
            return
        self._names = Dataset.open(self.path)._names
        with written(self.path):
            self._tidy()

    def _tidy(self) -> None:
        """Give listed episodes that are aside their names, and delete the others that are aside."""
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
        """Write `dataset.json`, whole or not at all."""
        write_atomically(self.path / FILE, encode(self.metadata, names))
        self._names = names
        self._written = state_of(self.path / FILE)
        self.listed = True

    def _aside(self) -> dict[str, Path]:
        """The files that are aside, by the names that they are to have."""
        found = entries(self.path / "episodes")
        matches = {path: ASIDE.fullmatch(path.name) for path in found}
        return {match["name"]: path for path, match in matches.items() if match}

    def _found(self) -> list[str]:
        """The names of all files that are called like an episode, in order."""
        names = [path.name for path in entries(self.path / "episodes")]
        return sorted((name for name in names if EPISODE_FILE.fullmatch(name)), key=number_in)

    def _gaps(self) -> list[str]:
        """Which numbers of a dataset without a list are missing or there twice."""
        numbers = [number_in(name) for name in self._names]
        lines = []
        for before, after in pairwise([-1, *sorted(set(numbers))]):
            first, last = f"{before + 1:06d}", f"{after - 1:06d}"
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
    """Passes where a dataset has episodes of these numbers; else a UserError names the first."""
    count = len(dataset.files())
    for number in sorted(numbers):
        if not 0 <= number < count:
            allowed = f"allowed are 0 to {count - 1}" if count else "it has none"
            raise UserError(f"there is no episode {number} in {dataset.path}, {allowed}")


def at_least_one(dataset: Dataset, found: list[T]) -> list[T]:
    """The episodes of a dataset, or their files; a UserError where there are none."""
    if not found:
        raise UserError(f"{dataset.path} has no episodes")
    return found


def state_of(path: Path) -> tuple[int, int, int]:
    """What changes with a file."""
    status = path.lstat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def repeated(items: Iterable[T]) -> list[tuple[T, int]]:
    """What is there more than once, and how many times."""
    return [(each, count) for each, count in Counter(items).items() if count > 1]


def number_in(name: str) -> int:
    """The number that a file's name begins with."""
    return int(name.partition("-")[0])


def digest_in(name: str) -> str:
    """The digest in an episode's file name; the name itself where it is none."""
    found = EPISODE_FILE.fullmatch(name)
    return found[2] if found else name


def digest(data: bytes) -> str:
    """The digest of a file's bytes, as its name holds it."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def readable(path: Path, read: Callable[[Path], T]) -> T:
    """What `read` makes of a dataset's `dataset.json`; a UserError says why it cannot."""
    try:
        return read(path / FILE)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} is no dataset: it has no {FILE}") from None
    except OSError as error:
        raise UserError(f"{path}/{FILE} cannot be read: {error.strerror}") from None


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """No other process that asks for it writes into a dataset meanwhile; readers do not ask.

    Raises:
        UserError: another process does, and the process is named; or the dataset cannot be written.
    """
    with locks.alone(path), _older_versions_kept_out(path):
        yield


@contextmanager
def _older_versions_kept_out(path: Path) -> Iterator[None]:
    """Hold the lock that older versions of Joystick take: it is on the directory itself.

    They ran only where a directory can be locked, which Windows cannot.
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
    """What the disk refuses becomes one line that names `path`."""
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None


def write(path: Path, data: bytes) -> None:
    """Write a file so that it is whole or absent; UserError where it cannot be written."""
    with written(path):
        write_atomically(path, data)
