"""The metadata of a dataset, and the file `dataset.json` that holds it.

Since format 2, `dataset.json` also lists the files of the episodes in order, and holds a digest of
its content. The two reveal missing, added, renamed or exchanged episodes and changed text.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envs import EnvSpec, UserError, schema
from envs.schema import Malformed
from envs.text import plain

FORMAT = 2
FORMATS = (1, 2)
"""The formats that can be read. Format 1 has neither a list of the episodes nor a digest."""

FILE = "dataset.json"
MOST_BYTES = 64 << 20
"""Largest `dataset.json`, enough for a million episodes."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """A recording that added episodes to a dataset."""

    policy: str
    """The player, as `record --policy` names it."""
    created: str
    """Start of the recording, ISO 8601."""
    command: str
    """The command line of the recording."""
    commit: str = ""
    """The git commit of the code that recorded."""
    seed: int
    """Seed of the games, as `record --seed`."""
    episodes: int
    """Number of episodes that the recording added."""


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """Facts about all episodes of a dataset; plain JSON on disk."""

    spec: EnvSpec
    policy: str
    """The player, as `record --policy` names it; several players are separated by "; "."""
    created: str
    """Time at which the dataset was made, ISO 8601."""
    command: str
    """The command line that made the dataset."""
    commit: str = ""
    """The git commit of the code that made the dataset."""
    license: str = "CC0-1.0"
    """SPDX identifier of the license."""
    replayable: bool = True
    """Episodes replay from seed and actions; if false, their observations are stored."""
    reference_scores: dict[str, float] = field(default_factory=dict)
    """Mean returns to compare with, "random" and "human", if they are known."""
    sessions: tuple[Session, ...] = ()
    """The recordings that the episodes come from, if they are known."""

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as plain JSON, with the number of the format."""
        fields = {**dataclasses.asdict(self), "spec": self.spec.to_json()}
        return {"joystick_demos": FORMAT, **fields}

    @classmethod
    def from_json(cls, values: Any, what: str = "the metadata") -> Metadata:
        """Rebuilds metadata from `to_json`.

        Args:
            what: the first words of the error, such as the file's path.

        Raises:
            Malformed: a field is missing, unknown or of another type.
        """
        if not isinstance(values, dict) or values.get("joystick_demos") not in FORMATS:
            formats = " or ".join(map(str, FORMATS))
            raise Malformed(f"{what}: not a dataset of format {formats}")
        known = {each.name: each for each in dataclasses.fields(cls)}
        if unknown := sorted(values.keys() - known.keys() - {"joystick_demos"}):
            raise Malformed(f"{what}: unknown field '{plain(unknown[0])}'")
        kinds = typing.get_type_hints(cls) | {"spec": dict[str, Any]}
        parts = {}
        for name, each in known.items():
            if name in values:
                parts[name] = schema.convert(values[name], kinds[name], f"{what}: {name}")
            elif each.default is each.default_factory is dataclasses.MISSING:
                raise Malformed(f"{what}: the field '{name}' is missing")
        try:
            parts["spec"] = EnvSpec.from_json(parts["spec"])
        except UserError as error:
            raise Malformed(f"{what}: {plain(error)}") from None
        return cls(**parts)


def encode(metadata: Metadata, episodes: Sequence[str]) -> bytes:
    """The text of `dataset.json`.

    Args:
        episodes: the names of the episodes' files, in order.
    """
    values = {**metadata.to_json(), "episodes": list(episodes)}
    return (json.dumps({**values, "digest": digest_of(values)}, indent=2) + "\n").encode()


def read(path: Path) -> tuple[Metadata, list[str] | None]:
    """Reads `dataset.json`: the metadata and the names of the episodes' files, in order.

    The names are None in format 1, which does not list them.

    Raises:
        Malformed: the file is damaged, was changed since it was written, or is not a dataset's.
        OSError: the file cannot be read, or must not be read (`envs.files.Unreadable`).
    """
    what = str(path)
    values = schema.read(path, dict[str, Any], MOST_BYTES)
    if values.get("joystick_demos") != FORMAT:
        return Metadata.from_json(values, what), None
    digest = schema.convert(values.pop("digest", None), str, f"{what}: digest")
    try:
        changed = digest != digest_of(values)
    except RecursionError:
        raise Malformed(f"{what} is nested too deeply") from None
    if changed:
        raise Malformed(
            f"{what} was changed since it was written, so its digest differs;"
            f" `python -m demos seal {path.parent}` accepts it as it is"
        )
    episodes = schema.convert(values.pop("episodes", None), list[str], f"{what}: episodes")
    return Metadata.from_json(values, what), episodes


def read_unsealed(path: Path) -> Metadata:
    """Reads the metadata of a `dataset.json`, also after a change by hand; raises as `read`."""
    values = schema.read(path, dict[str, Any], MOST_BYTES)
    if values.get("joystick_demos") == FORMAT:
        values = {k: v for k, v in values.items() if k not in ("digest", "episodes")}
    return Metadata.from_json(values, str(path))


def digest_of(values: dict[str, Any]) -> str:
    """The digest of the content of `dataset.json`, without the digest itself; ignores spaces."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
