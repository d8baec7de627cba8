"""Snapshots: files that survive a crash or a full disk.

A snapshot is a directory named by its step. It is complete or absent, because it is written under
another name, flushed to the disk and renamed. Its manifest, `state.json`, records the size and
CRC-32 of every other file, and its own CRC-32.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from agents.core.runs import earlier_names
from envs import files, schema
from envs.errors import first_line
from envs.output import warn
from envs.text import plain

MANIFEST = "state.json"

MOST_MANIFEST_BYTES = 64 << 20
"""Limit of a manifest's size, four times the size with a long replay of a thousand environments."""

SNAPSHOT = re.compile(r"\d{12,18}~?", re.ASCII)
"""Names of snapshots; files with other names belong to the user."""

_FORMER_ASIDE = re.compile(r"\.tmp-\d+", re.ASCII)
"""Names that earlier versions gave a snapshot while they wrote it."""


class DamagedCheckpoint(RuntimeError):
    """A file of a checkpoint is missing, truncated or altered; the message names it."""


@dataclass(frozen=True)
class Proof:
    """The size and checksum of a file, which `read` verifies."""

    bytes: schema.Natural
    crc32: schema.Natural


@dataclass(frozen=True)
class Chunk(Proof):
    """A file that checkpoints share: its path within the run, and its proof."""

    file: str


@dataclass(frozen=True)
class Manifest:
    """The fields of every manifest; a checkpoint's manifest has more fields."""

    step: schema.Natural
    files: dict[str, Proof]
    chunks: list[Chunk] = field(default_factory=list)


def newest_first(directory: Path) -> list[Path]:
    """The snapshots in a directory, newest first, intact or not; links are left out."""
    found = [
        path
        for path in files.entries(directory)
        if SNAPSHOT.fullmatch(path.name) and files.is_directory(path)
    ]
    # "~" marks the former snapshot of a step, which comes after its replacement.
    return sorted(
        found,
        key=lambda path: (int(path.name.rstrip("~")), not path.name.endswith("~")),
        reverse=True,
    )


def save(
    directory: Path,
    step: int,
    tensors: dict[str, dict[str, Tensor]],
    manifest: dict[str, Any],
    keep: int,
) -> None:
    """Writes `<directory>/<step>/`, then deletes all snapshots but it and the `keep - 1` before it.

    Args:
        directory: directory of the snapshots; it is made if it is missing.
        step: names the snapshot. It replaces a snapshot of the same step. Snapshots of later steps
            are deleted: after a resume from an earlier step they are obsolete.
        tensors: safetensors files by name.
        manifest: JSON values; `read_manifest` returns them with `step` added.
        keep: number of snapshots that remain.
    """
    # If someone deleted the run, it is not made again: a checkpoint alone would not be a run.
    files.make_directory(directory)
    remove_temporaries(directory)
    final = directory / f"{step:012d}"
    temporary = files.aside(final)
    temporary.mkdir()
    records = {}
    for name, content in tensors.items():
        data = pack(content)
        files.write(temporary / name, data)
        records[name] = proof(data)
    body = json.dumps({"step": step, **manifest, "files": records}).encode()
    files.write(temporary / MANIFEST, b'{"crc32": %d, "body": %b}' % (zlib.crc32(body), body))
    files.flush_directory(temporary)
    if os.path.lexists(final):
        # A directory cannot replace another in one operation. Between the two operations, the
        # former directory counts.
        former = final.with_name(f"{final.name}~")
        files.remove(former)
        os.replace(final, former)
    os.replace(temporary, final)
    files.flush_directory(directory)
    files.flush_directory(directory.parent)
    found = newest_first(directory)
    past = [path for path in found if not path.name.endswith("~") and int(path.name) <= step]
    for path in set(found) - set(past[:keep]):
        shutil.rmtree(path, ignore_errors=True)


def unless_disk_full(what: str, root: Path, write_all: Callable[[], None]) -> bool:
    """Calls `write_all`; returns False, after a warning, if the disk fails.

    Then incomplete files in the directories of `root` are removed. The warning names `what` and the
    reason: a full disk, a quota, a file too large, a read-only disk, or a missing directory.
    """
    try:
        write_all()
    except OSError as error:
        for directory in files.entries(root):
            with suppress(OSError):
                remove_temporaries(directory)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "disk full" if full else (error.strerror or first_line(error))
        warn(f"{reason}: {what} not saved, the former is kept and training goes on")
        return False
    return True


def remove_temporaries(directory: Path) -> None:
    """Deletes the files that an interrupted `save` or `files.write_atomically` left behind."""
    for path in files.entries(directory):
        if files.is_aside(path) or _FORMER_ASIDE.fullmatch(path.name):
            files.remove(path)


def read_manifest(snapshot: Path) -> dict[str, Any]:
    """Reads the manifest of a snapshot, which has at least the fields of `Manifest`.

    Raises:
        DamagedCheckpoint: the manifest is missing, altered or malformed.
    """
    path = snapshot / MANIFEST
    try:
        record = json.loads(files.read_regular(path, MOST_MANIFEST_BYTES))
        same = record["crc32"] == zlib.crc32(json.dumps(record["body"]).encode())
    except FileNotFoundError:
        raise DamagedCheckpoint(f"{path} is missing") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        why = getattr(error, "strerror", None) or plain(error)
        raise DamagedCheckpoint(f"{path} cannot be read: {why}") from None
    if not same:
        raise DamagedCheckpoint(f"{path} does not match its checksum")
    body = record["body"]
    try:
        schema.convert(body, Manifest, str(path))
    except schema.Malformed as error:
        raise DamagedCheckpoint(str(error)) from None
    if body["step"] != int(snapshot.name.rstrip("~")):
        raise DamagedCheckpoint(f"{path} names another step than its directory")
    return body


def read_tensors(snapshot: Path, manifest: dict[str, Any], name: str) -> dict[str, Tensor]:
    """Reads the tensors of one file of a snapshot, on the CPU; DamagedCheckpoint names the file."""
    if name not in manifest["files"]:
        raise DamagedCheckpoint(f"{snapshot / MANIFEST} does not name {name}")
    return unpack(read(snapshot / name, manifest["files"][name]), snapshot / name)


def unpack(data: bytes, path: Path) -> dict[str, Tensor]:
    """The tensors in the bytes of `pack`; DamagedCheckpoint names the file."""
    try:
        return earlier_names.tensors(safetensors.torch.load(data))
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DamagedCheckpoint(f"{path} holds no tensors: {plain(error)}") from None


def proof(data: bytes) -> dict[str, int]:
    """The proof of a file with these bytes."""
    return {"bytes": len(data), "crc32": zlib.crc32(data)}


def read(path: Path, record: dict[str, Any]) -> bytes:
    """Reads a file and verifies its size and checksum; DamagedCheckpoint names the file."""
    most_bytes = min(record["bytes"], psutil.virtual_memory().available)
    try:
        data = files.read_regular(path, most_bytes)
    except FileNotFoundError:
        raise DamagedCheckpoint(f"{path} is missing") from None
    except OSError as error:
        raise DamagedCheckpoint(f"{path} cannot be read: {error.strerror}") from None
    if len(data) != record["bytes"]:
        raise DamagedCheckpoint(f"{path} has {len(data):,} bytes of {record['bytes']:,}")
    if zlib.crc32(data) != record["crc32"]:
        raise DamagedCheckpoint(f"{path} does not match its checksum")
    return data


def pack(tensors: dict[str, Tensor]) -> bytes:
    """Packs tensors into the bytes of a safetensors file."""
    return safetensors.torch.save({name: _copy(tensor) for name, tensor in tensors.items()})


def _copy(tensor: Tensor) -> Tensor:
    # safetensors refuses tensors that share memory, such as tied weights, or are not contiguous.
    copy = torch.empty_like(tensor, device="cpu", memory_format=torch.contiguous_format)
    return copy.copy_(tensor.detach())
