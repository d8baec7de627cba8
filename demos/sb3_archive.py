"""Reads the text and the tensors of Stable-Baselines3 archives, and runs none of their pickles.

An archive is a zip of `data` and `policy.pth`. `data` is JSON; it describes each pickle in plain
text. `policy.pth` holds the tensors. Reading a hostile archive runs no code and cannot fill the
memory.
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
"""Enough for the names and shapes of a thousand tensors; other members hold the numbers."""

HARMLESS = re.compile(
    r"collections OrderedDict"
    r"|torch\._utils _rebuild_(tensor_v2|parameter)"
    r"|torch \w+Storage"
)
"""The globals, by module and name, that the pickle of a dictionary of tensors may import."""
CALLED_BY_OTHER_WAYS = {"STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4"}
"""Other pickle instructions that import something; torch never writes them."""

NO_TENSORS = "has a policy.pth that is damaged or holds more than tensors; none of it was run"


@dataclass(frozen=True)
class Archive:
    """The contents of a checkpoint file that are used."""

    settings: dict[str, Any]
    tensors: dict[str, Tensor]
    digest: str
    """Digest of the file's bytes, 16 hexadecimal digits."""


def read_archive(path: Path) -> Archive:
    """Reads the settings and the tensors of a file.

    Args:
        path: a link is followed, because the user typed the path.

    Raises:
        UserError: the file cannot be read, is damaged, or is not a checkpoint. The message lacks
            its subject, the file's name.
    """
    with opened_file(path) as file:
        archive = opened(file, "is")
        what = foreign(archive.namelist())
        if what:
            raise UserError(f"is {what}, not a checkpoint of Stable-Baselines3")
        settings = parsed(member(archive, "data", MOST_JSON_BYTES))
        tensors = loaded(member(archive, "policy.pth", MOST_TENSOR_BYTES))
        return Archive(settings, tensors, digest_of(file))


def text(settings: Any, *keys: str) -> str:
    """The setting under nested keys as text, or "" if there is none."""
    for key in keys:
        settings = settings.get(key) if isinstance(settings, dict) else None
    return "" if settings is None else str(settings)


def usable(tensors: dict[str, Tensor], name: str) -> Tensor:
    """Returns a tensor of finite float32 numbers; raises a UserError if there is none."""
    if name not in tensors:
        raise UserError(f"has no tensor '{name}'")
    tensor = tensors[name].detach()
    # A tensor that is not contiguous may repeat one number as a matrix larger than the memory.
    if not (tensor.dtype == torch.float32 and tensor.is_contiguous()):
        raise UserError(f"has a tensor '{name}' that is not plain float32 numbers")
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
    # The first versions of Gym named the attribute `shape`.
    shape = space.get("_shape", space.get("shape")) if kind == "Box" else None
    if isinstance(shape, list | tuple):
        is_image = len(shape) == 3 and text(space, "dtype") == "uint8"
        return f"{'image' if is_image else 'Box'} {list(shape)}"
    return kind or "of an unknown kind"


def array_in(setting: Any) -> np.ndarray | None:
    """The numbers of a pickled array, flat, found without running the pickle.

    Returns None if the setting is not an array of at most a few thousand floats.
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
    """Opens a checkpoint file; raises a UserError if it cannot be opened."""
    try:
        return open_regular(Path(os.path.realpath(path)), MOST_FILE_BYTES)
    except FileNotFoundError:
        near = did_you_mean(path.name, [each.name for each in path.parent.glob("*.zip")])
        raise UserError(f"does not exist{near}") from None
    except Unreadable as error:
        raise UserError(str(error.strerror).removeprefix("it ")) from None
    # A name with a zero byte raises a ValueError.
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"cannot be read: {why}") from None


def digest_of(file: BinaryIO) -> str:
    """The digest of a file's bytes, 16 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=8)
    file.seek(0)
    while part := file.read(2**20):
        digest.update(part)
    return digest.hexdigest()


def parsed(data: bytes) -> dict[str, Any]:
    """The settings in an archive's `data`."""
    # Settings without a limit hold infinity, so numbers need not be finite.
    return schema.parse(data, dict[str, Any], "is damaged: its data", finite=False)


def loaded(data: bytes) -> dict[str, Tensor]:
    """The tensors of a `policy.pth`, by name; raises a UserError if it holds anything else."""
    inner = opened(io.BytesIO(data), "has a policy.pth that is")
    unpacked = sum(each.file_size for each in inner.infolist())
    if unpacked > MOST_TENSOR_BYTES:
        allowed = f"at most {MOST_TENSOR_BYTES:,} are allowed"
        raise UserError(f"has {unpacked:,} bytes of tensors, {allowed}")
    require_tensors_alone(pickle_of(inner))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tensors = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    # Damage may raise any error in torch.
    except Exception:
        raise UserError(NO_TENSORS) from None
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()
    ):
        raise UserError(NO_TENSORS)
    return dict(tensors)


def pickle_of(inner: zipfile.ZipFile) -> bytes:
    """The pickle in a torch file that names the tensors."""
    names = [name for name in inner.namelist() if name.rpartition("/")[2] == "data.pkl"]
    if len(names) != 1:
        raise UserError(NO_TENSORS)
    return member(inner, names[0], MOST_PICKLE_BYTES)


def require_tensors_alone(pickled: bytes) -> None:
    """Raises a UserError if a pickle imports anything but tensors and their dictionary.

    torch's own unpickler, which runs next, also runs no foreign code. But it allows types that can
    fill the memory.
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
