"""Archives of Stable-Baselines3: their text and tensors are read, and no pickle in them is.

A zip of `data`, JSON with a description in plain text beside each pickle, and of `policy.pth`, the
tensors. Whatever else an archive holds, reading it runs nothing and fills no memory.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from envs import UserError
from envs.errors import did_you_mean

MOST_BYTES, MOST_JSON_BYTES = 2**30, 2**26


@dataclass(frozen=True)
class Archive:
    """What is read of a file."""

    settings: dict[str, Any]
    tensors: dict[str, Tensor]
    digest: str
    """Of the file's bytes, 16 hexadecimal digits."""


def read_archive(path: Path) -> Archive:
    """The text and the tensors of a file.

    Raises:
        UserError: it cannot be read, it is damaged, or it holds something else; the message goes on
            after the file's name.
    """
    data = bytes_of(path)
    archive = opened(data, "is no zip archive, or only a part of one")
    settings = parsed(member(archive, "data", MOST_JSON_BYTES))
    tensors = loaded(member(archive, "policy.pth", MOST_BYTES))
    return Archive(settings, tensors, hashlib.blake2b(data, digest_size=8).hexdigest())


def text(settings: Any, *keys: str) -> str:
    """A setting as text, "" where there is none."""
    for key in keys:
        settings = settings.get(key) if isinstance(settings, dict) else None
    return "" if settings is None else str(settings)


def usable(tensors: dict[str, Tensor], name: str) -> Tensor:
    """A tensor; a UserError says that it is missing or no plain one."""
    if name not in tensors:
        raise UserError(f"has no tensor '{name}'")
    tensor = tensors[name].detach()
    plain = tensor.device.type == "cpu" and tensor.layout == torch.strided
    # What is not contiguous may be a single number that claims to be a matrix larger than memory.
    if not (plain and tensor.dtype == torch.float32 and tensor.is_contiguous()):
        raise UserError(f"has a tensor '{name}' that is not of plain float32 numbers")
    if not tensor.isfinite().all():
        raise UserError(f"has a tensor '{name}' that is not finite")
    return tensor


def in_words(space: Any) -> str:
    """A space by its attributes: "Discrete 6", "Box [3]", "image [4, 84, 84]"."""
    kind = text(space, ":type:").rpartition(".")[2].removesuffix("'>")
    if kind == "Discrete":
        start = text(space, "start") or "0"
        return f"Discrete {text(space, 'n')}" + (f" from {start}" if start != "0" else "")
    # Gym had the shape as a plain attribute at first.
    shape = space.get("_shape", space.get("shape")) if kind == "Box" else None
    if isinstance(shape, list | tuple):
        is_image = len(shape) == 3 and text(space, "dtype") == "uint8"
        return f"{'image' if is_image else 'Box'} {list(shape)}"
    return kind or "that it does not tell"


def bytes_of(path: Path) -> bytes:
    try:
        if not path.is_file():
            near = did_you_mean(path.name, [each.name for each in path.parent.glob("*.zip")])
            raise UserError(f"is no file{near}")
        if (size := path.stat().st_size) > MOST_BYTES:
            raise UserError(f"has {size:,} bytes, at most {MOST_BYTES:,} are read")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}") from None


def opened(data: bytes, otherwise: str) -> zipfile.ZipFile:
    # For damage, zipfile has no error of its own: struct's, zlib's and others come through.
    try:
        return zipfile.ZipFile(io.BytesIO(data))
    except Exception:
        raise UserError(otherwise) from None


def member(archive: zipfile.ZipFile, name: str, most_bytes: int) -> bytes:
    """The bytes of a file in an archive, unless they would be too many."""
    if name not in archive.namelist():
        raise UserError(f"is no checkpoint of Stable-Baselines3: it has no {name}")
    info = archive.getinfo(name)
    # Of the other methods, zipfile unpacks more than the size that a file claims to have.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(f"has a {name} that is compressed in another way than zip's own")
    if info.file_size > most_bytes:
        raise UserError(f"has {info.file_size:,} bytes of {name}, at most {most_bytes:,} are read")
    try:
        return archive.read(info)
    except Exception:
        raise UserError(f"is damaged: its {name} cannot be unpacked") from None


def parsed(data: bytes) -> dict[str, Any]:
    try:
        settings = json.loads(data)
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise UserError("is damaged: its data is not the JSON of settings")
    return settings


def loaded(data: bytes) -> dict[str, Tensor]:
    refused = "has a policy.pth that is damaged or holds more than tensors; none of it was run"
    unpacked = sum(each.file_size for each in opened(data, refused).infolist())
    if unpacked > MOST_BYTES:
        raise UserError(f"has {unpacked:,} bytes of tensors, at most {MOST_BYTES:,} are read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tensors = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    # Its unpickler's error, or whatever damage leads to.
    except Exception:
        raise UserError(refused) from None
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()
    ):
        raise UserError(refused)
    return dict(tensors)
