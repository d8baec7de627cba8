"""Reads untrusted zip archives: bounds the size of members, and says what other files are."""

from __future__ import annotations

import io
import zipfile
from typing import Any, BinaryIO, cast

from envs import UserError

MOST_TENSOR_BYTES = 2**28
MOST_DIRECTORY_BYTES = 2**20
"""Largest list of members, enough for some 10,000."""
MOST_TIMES = 50
"""Largest ratio of unpacked to packed size for a large member; weights hardly shrink at all."""
UNSUSPECTED_BYTES = 2**24
"""A member of at most this size may have any ratio."""

KINDS = {
    b"version https://git-lfs": "a pointer of Git LFS: git lfs pull fetches the file",
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "a gzip archive",
    b"(\xb5/\xfd": "a Zstandard archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19": "a file of a PyTorch older than 1.6",
    **{bytes([128, protocol]): "a bare pickle, which is never read" for protocol in range(2, 6)},
    b"<!DOCTYPE": "a web page",
    b"<!doctype": "a web page",
    b"<html": "a web page",
}
"""The kind of a file by its first bytes; the first match counts."""


class Sparing:
    """A file that returns few bytes per read, so that a list of members cannot fill the memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, size: int | None = -1) -> bytes:
        """Reads at most 1 MiB; raises BadZipFile if `size` is larger."""
        if size is not None and size > MOST_DIRECTORY_BYTES:
            raise zipfile.BadZipFile("its list of members is too long")
        return self._file.read(size if size is not None and size >= 0 else MOST_DIRECTORY_BYTES)


def opened(file: BinaryIO, begins: str) -> zipfile.ZipFile:
    """The archive in a file.

    Args:
        begins: the first words of the error: "is", as in "is empty".

    Raises:
        UserError: the file is not a zip archive.
    """
    # Damage raises errors of many kinds: zipfile lets the errors of struct, zlib and others pass.
    try:
        return zipfile.ZipFile(cast("io.BytesIO", Sparing(file)))
    except Exception:
        raise UserError(f"{begins} {kind_of(file)}") from None


def kind_of(file: BinaryIO) -> str:
    """Says what a file is that is not a zip archive."""
    file.seek(0)
    start = file.read(64)
    if not start:
        return "empty"
    if start.startswith(b"PK"):
        return "only a part of a zip archive, or a damaged one"
    # A safetensors file begins with a length, whose bytes may have any value.
    if start[8:10] in (b'{"', b"{}"):
        return "not a zip archive but a safetensors file"
    known = next((KINDS[each] for each in KINDS if start.startswith(each)), None)
    if known:
        return f"not a zip archive but {known}"
    if start.isascii() and start.decode().replace("\n", "").replace("\t", "").isprintable():
        return "not a zip archive but a text"
    return "not a zip archive, or only a part of one"


def foreign(names: list[str]) -> str | None:
    """The kind of an archive that is not a checkpoint, by its members' names; None if unknown."""
    if "parameter_list" in names or ("parameters" in names and "data" in names):
        return "a model of the older Stable Baselines, whose networks are TensorFlow's"
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        return "a file of torch.save"
    if any(name.endswith(".npy") for name in names):
        return "a file of NumPy arrays"
    inside = next((name for name in names if name.endswith("/policy.pth")), None)
    if inside:
        return "an archive of a folder (zip the files in it)"
    return None


def member(archive: zipfile.ZipFile, name: str, most_bytes: int) -> bytes:
    """The bytes of a file in an archive.

    Raises:
        UserError: the file is missing, damaged, or larger than `most_bytes`.
    """
    found = [each for each in archive.infolist() if each.filename == name]
    if not found:
        raise UserError(f"is not a checkpoint of Stable-Baselines3: it has no {name}")
    if len(found) > 1:
        raise UserError(f"is damaged: it has {len(found)} members called {name}")
    require_modest(found[0], most_bytes)
    # `Sparing` refuses larger reads, so the bytes are read in parts.
    parts = []
    try:
        with archive.open(found[0]) as file:
            while part := file.read(MOST_DIRECTORY_BYTES):
                parts.append(part)
    except Exception:
        raise UserError(f"is damaged: its {name} cannot be unpacked") from None
    return b"".join(parts)


def require_modest(info: zipfile.ZipInfo, most_bytes: int) -> None:
    """Raises a UserError if the claimed size of a member is too large or cannot be trusted."""
    name = info.filename
    # With other methods, zipfile unpacks more bytes than a member claims.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(f"has a {name} that is compressed in another way than zip's own")
    if info.flag_bits & 1:
        raise UserError(f"has a {name} that is encrypted")
    if info.file_size > most_bytes:
        allowed = f"at most {most_bytes:,} are allowed"
        raise UserError(f"has {info.file_size:,} bytes of {name}, {allowed}")
    if info.file_size > max(UNSUSPECTED_BYTES, MOST_TIMES * info.compress_size):
        sizes = f"{info.file_size:,} bytes from {info.compress_size:,}"
        raise UserError(f"has a {name} that would unpack to {sizes}; weights never shrink so much")
