"""Archives of Stable-Baselines3: their text and tensors are read, and no pickle in them is run.

A zip of `data`, JSON with a description in plain text beside each pickle, and of `policy.pth`, the
tensors. Whatever else an archive holds, reading it runs nothing and fills no memory.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import itertools
import os
import pickletools
import re
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from demos.sb3_zip import MOST_TENSOR_BYTES, foreign, member, opened
from envs import UserError, schema
from envs.errors import did_you_mean
from envs.files import Unreadable, open_regular

MOST_FILE_BYTES = 2**30
MOST_JSON_BYTES = 2**24
MOST_PICKLE_BYTES = 2**18
"""The pickle of a thousand tensors' names and shapes; their numbers are beside it."""

HARMLESS = re.compile(
    r"collections OrderedDict"
    r"|torch\._utils _rebuild_(tensor_v2|parameter)"
    r"|torch \w+Storage"
)
"""What the pickle of a dictionary of tensors may ask for, by module and name."""
CALLED_BY_OTHER_WAYS = {"STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4"}
"""Instructions of a pickle that import something; torch writes none of them."""

NO_TENSORS = "has a policy.pth that is damaged or holds more than tensors; none of it was run"


@dataclass(frozen=True)
class Archive:
    """What is read of a file."""

    settings: dict[str, Any]
    tensors: dict[str, Tensor]
    digest: str
    """Of the file's bytes, 16 hexadecimal digits."""


def read_archive(path: Path) -> Archive:
    """The text and the tensors of a file.

    Args:
        path: a link is followed, since a person typed it.

    Raises:
        UserError: it cannot be read, it is damaged, or it holds something else; the message goes on
            after the file's name.
    """
    with opened_file(path) as file:
        archive = opened(file, "is")
        if what := foreign(archive.namelist()):
            raise UserError(f"is {what}, no checkpoint of Stable-Baselines3")
        settings = parsed(member(archive, "data", MOST_JSON_BYTES))
        tensors = loaded(member(archive, "policy.pth", MOST_TENSOR_BYTES))
        return Archive(settings, tensors, digest_of(file))


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
    # What is not contiguous may be a single number that claims to be a matrix larger than memory.
    if not (tensor.dtype == torch.float32 and tensor.is_contiguous()):
        raise UserError(f"has a tensor '{name}' that is not of plain float32 numbers")
    if not tensor.isfinite().all():
        raise UserError(f"has a tensor '{name}' that is not finite")
    return tensor


def in_words(space: Any) -> str:
    """A space by its attributes: "Discrete 6", "Box [3]", "image [4, 84, 84]"."""
    kind = text(space, ":type:").rpartition(".")[2].removesuffix("'>")
    if kind in ("Discrete", "MultiDiscrete", "MultiBinary"):
        count = " ".join(text(space, "nvec" if kind == "MultiDiscrete" else "n").split())
        start = text(space, "start")
        return f"{kind} {count}" + (f" from {start}" if start.strip("[ 0.]") else "")
    # Gym had the shape as a plain attribute at first.
    shape = space.get("_shape", space.get("shape")) if kind == "Box" else None
    if isinstance(shape, list | tuple):
        is_image = len(shape) == 3 and text(space, "dtype") == "uint8"
        return f"{'image' if is_image else 'Box'} {list(shape)}"
    return kind or "that it does not tell"


def array_in(setting: Any) -> np.ndarray | None:
    """The numbers of a pickled array, flat; its pickle is looked through and not run.

    None where the setting is anything else than an array of a few thousand numbers.
    """
    try:
        pickled = base64.b64decode(text(setting, ":serialized:")[:MOST_PICKLE_BYTES])
        # An array's pickle has some 40 instructions; a stranger's may have millions.
        found = [argument for _, argument, _ in itertools.islice(pickletools.genops(pickled), 100)]
        (dtype,) = (each for each in found if isinstance(each, str) and re.fullmatch("f[48]", each))
        numbers = max((each for each in found if isinstance(each, bytes | bytearray)), key=len)
        return np.frombuffer(numbers, np.dtype(dtype))
    except (ValueError, binascii.Error):
        return None


def opened_file(path: Path) -> BinaryIO:
    try:
        return open_regular(Path(os.path.realpath(path)), MOST_FILE_BYTES)
    except FileNotFoundError:
        near = did_you_mean(path.name, [each.name for each in path.parent.glob("*.zip")])
        raise UserError(f"is no file{near}") from None
    except Unreadable as error:
        raise UserError(str(error.strerror).removeprefix("it ")) from None
    # A name with a zero byte is a ValueError.
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"cannot be read: {why}") from None


def digest_of(file: BinaryIO) -> str:
    digest = hashlib.blake2b(digest_size=8)
    file.seek(0)
    while part := file.read(2**20):
        digest.update(part)
    return digest.hexdigest()


def parsed(data: bytes) -> dict[str, Any]:
    # Python writes infinity where a person set no limit, so numbers need not be finite.
    return schema.parse(data, dict[str, Any], "is damaged: its data", finite=False)


def loaded(data: bytes) -> dict[str, Tensor]:
    """The tensors of a `policy.pth`."""
    inner = opened(io.BytesIO(data), "has a policy.pth that is")
    unpacked = sum(each.file_size for each in inner.infolist())
    if unpacked > MOST_TENSOR_BYTES:
        allowed = f"at most {MOST_TENSOR_BYTES:,} are read"
        raise UserError(f"has {unpacked:,} bytes of tensors, {allowed}")
    require_tensors_alone(pickle_of(inner))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tensors = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    # Its unpickler's error, or whatever damage leads to.
    except Exception:
        raise UserError(NO_TENSORS) from None
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()
    ):
        raise UserError(NO_TENSORS)
    return dict(tensors)


def pickle_of(inner: zipfile.ZipFile) -> bytes:
    """The pickle that names the tensors of a file of torch."""
    names = [name for name in inner.namelist() if name.rpartition("/")[2] == "data.pkl"]
    if len(names) != 1:
        raise UserError(NO_TENSORS)
    return member(inner, names[0], MOST_PICKLE_BYTES)


def require_tensors_alone(pickled: bytes) -> None:
    """Pass when a pickle asks for nothing but tensors and their dictionary.

    torch's own unpickler, which is asked next, runs no foreign code either; but it allows types
    that fill the memory.
    """
    try:
        for operation, argument, _ in pickletools.genops(pickled):
            asks = operation.name == "GLOBAL" and not HARMLESS.fullmatch(str(argument))
            if asks or operation.name in CALLED_BY_OTHER_WAYS:
                raise UserError(NO_TENSORS)
    except UserError:
        raise
    except Exception:
        raise UserError(NO_TENSORS) from None
