"""A dataset: a directory of episodes of one environment, each in a Parquet file of its own.

    <dataset>/dataset.json                            what is true of all of them
    <dataset>/episodes/000017-<digest>.parquet        an episode, as `demos.packing` has it

A file's name holds the digest of its bytes, so that damage is found before anything reads it, and
one damaged episode costs no other. Files are written aside, flushed and renamed: a recording that
is killed loses the episode it was in.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from demos.episode import Episode
from demos.packing import pack, unpack
from envs import EnvSpec, UserError
from envs.files import write_atomically

FORMAT = 1
EPISODE_FILE = re.compile(r"(\d{6})-([0-9a-f]{16})\.parquet")

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What is true of all episodes of a dataset; plain JSON on disk."""

    spec: EnvSpec
    policy: str
    """Who played, as `record --policy` names it; of merged datasets, each of them."""
    created: str
    """When, ISO 8601."""
    command: str
    """The command line that made it."""
    commit: str = ""
    """The git commit that it was made with."""
    license: str = "CC0-1.0"
    """SPDX identifier."""
    replayable: bool = True
    """Episodes replay from seed and actions; where not, their observations are stored."""
    reference_scores: dict[str, float] = field(default_factory=dict)
    """Mean returns to compare with: "random" and "human" where they are known."""

    def to_json(self) -> dict[str, Any]:
        fields = {**vars(self), "spec": self.spec.to_json()}
        return {"joystick_demos": FORMAT, **fields}

    @classmethod
    def from_json(cls, values: Any) -> Metadata:
        """Raises UserError where a field is missing, unknown or of another type."""
        if not isinstance(values, dict) or values.get("joystick_demos") != FORMAT:
            raise UserError(f"not a dataset of format {FORMAT}")
        values = {name: value for name, value in values.items() if name != "joystick_demos"}
        known = {each.name: each for each in dataclasses.fields(cls)}
        if unknown := sorted(values.keys() - known.keys()):
            raise UserError(f"unknown field '{unknown[0]}'")
        for name, each in known.items():
            kind = {"spec": dict, "replayable": bool, "reference_scores": dict}.get(name, str)
            missing = each.default is each.default_factory is dataclasses.MISSING
            if name not in values and missing:
                raise UserError(f"the field '{name}' is missing")
            if name in values and not isinstance(values[name], kind):
                raise UserError(f"{name} is {values[name]!r}, but must be of type {kind.__name__}")
        return cls(**{**values, "spec": EnvSpec.from_json(values["spec"])})


@dataclass(frozen=True)
class Damage:
    """An episode that cannot be read, and why."""

    index: int
    why: str


class Dataset:
    """The episodes of a directory, in order; `append` adds one and leaves the others alone."""

    def __init__(self, path: Path, metadata: Metadata):
        self.path, self.metadata = path, metadata

    @classmethod
    def create(cls, path: Path, metadata: Metadata) -> Dataset:
        """A new, empty dataset; UserError where there is one already."""
        cls.require_absent(path)
        (path / "episodes").mkdir(parents=True, exist_ok=True)
        write(path / "dataset.json", (json.dumps(metadata.to_json(), indent=2) + "\n").encode())
        return cls(path, metadata)

    @staticmethod
    def require_absent(path: Path) -> None:
        """Passes where there is no dataset yet; a UserError says where there is one."""
        if (path / "dataset.json").exists():
            raise UserError(f"{path} is a dataset already; choose another name")

    @classmethod
    def open(cls, path: Path) -> Dataset:
        """Raises UserError where there is no dataset, or its `dataset.json` is damaged."""
        try:
            values = json.loads((path / "dataset.json").read_bytes())
            return cls(path, Metadata.from_json(values))
        except FileNotFoundError:
            raise UserError(f"{path} is no dataset: it has no dataset.json") from None
        except OSError as error:
            raise UserError(f"{path}/dataset.json cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise UserError(f"{path}/dataset.json is damaged: {error}") from None

    def remove_empty(self) -> None:
        """Undo `create`; a dataset with episodes stays."""
        with suppress(OSError):
            (self.path / "episodes").rmdir()
            (self.path / "dataset.json").unlink()
            self.path.rmdir()

    def files(self) -> list[Path]:
        """The files of the episodes, in order."""
        found = (self.path / "episodes").glob("*.parquet")
        return sorted(path for path in found if EPISODE_FILE.fullmatch(path.name))

    def scan(self) -> Iterator[Episode | Damage]:
        """Each episode, or what is wrong with it."""
        for path in self.files():
            try:
                yield self.read(path)
            except UserError as error:
                yield Damage(int(path.name[:6]), str(error))

    def read(self, path: Path) -> Episode:
        """The episode of one of the files; a UserError says what is wrong with it."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path.name} cannot be read: {error.strerror}") from None
        if digest(data) != path.stem[7:]:
            raise UserError(f"{path.name} was truncated or changed since it was written")
        try:
            episode = unpack(data, self.metadata.spec)
        except UserError as error:
            raise UserError(f"{path.name} is no episode: {error}") from None
        self._require_kind(episode, path.name)
        return episode

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

    def append(self, episode: Episode) -> Path:
        """Write one more episode through to the disk.

        Raises:
            UserError: it is of another environment (the field is named), has observations where the
                dataset has none or none where it has them, or cannot be written.
        """
        episode.spec.require_same(self.metadata.spec, f"{self.path} is")
        self._require_kind(episode, "the episode")
        files = self.files()
        index = int(files[-1].name[:6]) + 1 if files else 0
        data = pack(episode)
        path = self.path / "episodes" / f"{index:06d}-{digest(data)}.parquet"
        write(path, data)
        return path

    def _require_kind(self, episode: Episode, who: str) -> None:
        has = "no" if episode.observations is None else "stored"
        needs = "no" if self.metadata.replayable else "stored"
        if has != needs:
            raise UserError(
                f"{who} has {has} observations, but those of {self.path} have {needs} ones"
            )


def at_least_one(dataset: Dataset, found: list[T]) -> list[T]:
    """The episodes of a dataset, or their files; a UserError where there are none."""
    if not found:
        raise UserError(f"{dataset.path} has no episodes")
    return found


def digest(data: bytes) -> str:
    """What a file's name says of its bytes."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def write(path: Path, data: bytes) -> None:
    """Write a file so that it is whole or absent; UserError where it cannot be written."""
    try:
        write_atomically(path, data)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None
