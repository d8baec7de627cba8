"""Writes files whole or not at all, and reads only regular files of a bounded size.

A run or a dataset may come from an untrusted source. No function here follows a symbolic link in
it, waits for a FIFO or a device, or reads more bytes than the caller allows.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

TEMPORARY = ".tmp-"
"""Prefix of the names of unfinished files; readers skip these files."""

MOST_OF_A_NAME = 100
"""Longest portable name in characters. A prefix and a suffix still fit into 255 bytes."""

_DEVICES = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³])(\..*)?", re.IGNORECASE | re.DOTALL)
"""Names that Windows reserves for devices, with any ending."""

_ASIDE = re.compile(r"\.tmp-[0-9a-f]{8}-.+", re.DOTALL)


_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_CAREFULLY = _BINARY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""Flags for opening a file. Windows has no FIFOs, but needs O_BINARY to keep line ends."""


class Unreadable(OSError):
    """A file is not regular or too large, so it is not read; `strerror` says why."""

    def __init__(self, why: str, path: Path) -> None:
        super().__init__(errno.EINVAL, why, str(path))


def portable_name(text: str) -> str:
    """Turns a text into a part of a file's name that every system accepts.

    Letters, digits, "-", "_" and "." stay; any other character becomes "-", because Windows or a
    shell may not accept it. So `my_module:MyEnv-v0` becomes `my_module-MyEnv-v0`.
    """
    name = re.sub(r"[^\w.-]", "-", text[:MOST_OF_A_NAME])
    # A leading dot hides a file, a leading dash looks like an option, and Windows drops a last dot.
    name = name.lstrip(".-").rstrip(".")
    return f"_{name}" if not name or _DEVICES.fullmatch(name) else name


def open_regular(path: Path, most_bytes: int) -> BinaryIO:
    """Opens a regular file for reading.

    Args:
        path: its last part must not be a symbolic link.
        most_bytes: the largest size in bytes.

    Raises:
        Unreadable: the file is a link, is not a regular file, or is too large.
        OSError: the file cannot be opened.
    """
    if path.is_symlink():
        raise Unreadable("it is a symbolic link, which is not followed", path)
    # Without O_NONBLOCK, opening a FIFO would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | _CAREFULLY)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise Unreadable("it is a directory", path)
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("it is not a regular file", path)
        if status.st_size > most_bytes:
            allowed = f"{most_bytes:,} bytes are allowed"
            raise Unreadable(f"it has {status.st_size:,} bytes, at most {allowed}", path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        with suppress(OSError):
            os.close(descriptor)
        raise


def read_regular(path: Path, most_bytes: int) -> bytes:
    """Reads a regular file; raises as `open_regular`, also if the file grows meanwhile."""
    with open_regular(path, most_bytes) as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise Unreadable(f"it has more than {most_bytes:,} bytes", path)
    return data


def open_appending(path: Path) -> BinaryIO:
    """Opens a regular file for appending, and creates it if it is missing.

    Raises:
        Unreadable: the file is a link or not a regular file.
        OSError: the file cannot be opened.
    """
    if path.is_symlink():
        raise Unreadable("it is a symbolic link, which is not followed", path)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _CAREFULLY, 0o666)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Unreadable("it is not a regular file", path)
        return os.fdopen(descriptor, "ab")
    except BaseException:
        with suppress(OSError):
            os.close(descriptor)
        raise


def open_new(path: Path) -> BinaryIO:
    """Opens a new file for writing; replaces a file or link of that name without following it."""
    with suppress(FileNotFoundError):
        path.unlink()
    return open(path, "xb")


def last_bytes(path: Path, most_bytes: int) -> bytes:
    """Reads the last bytes of a regular file of any size; raises as `open_regular`."""
    with open_regular(path, sys.maxsize) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - most_bytes))
        return file.read(most_bytes)


def is_directory(path: Path) -> bool:
    """Whether a path is a directory itself, not a symbolic link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def is_regular(path: Path) -> bool:
    """Whether a path is a regular file itself, not a symbolic link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def entries(directory: Path) -> list[Path]:
    """The entries of a directory by name; [] if it is absent, unreadable or a link."""
    if not is_directory(directory):
        return []
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


def within(root: Path, relative: str) -> Path:
    """Resolves a relative path that a file names, below the directory of that file.

    Raises:
        Unreadable: the path leaves `root`, or contains a symbolic link.
    """
    parts = Path(relative).parts
    path = root / relative
    if not parts or "\0" in relative or Path(relative).is_absolute() or ".." in parts:
        raise Unreadable("a file's reference leads out of its directory", path)
    passed = root
    for part in parts:
        passed = passed / part
        if passed.is_symlink():
            raise Unreadable(f"'{passed.name}' is a symbolic link, which is not followed", path)
    return path


def remove(path: Path) -> None:
    """Deletes a file, a link or a directory with its content, and follows no link."""
    if is_directory(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink(missing_ok=True)


def is_aside(path: Path) -> bool:
    """Whether `aside` made a name; a user's own `.tmp-mine` does not count."""
    return _ASIDE.fullmatch(path.name) is not None


def make_directory(directory: Path) -> None:
    """Makes a directory of a run or dataset; the directory above it must exist.

    Raises:
        OSError: the directory cannot be made, or is a link, which would lead writes elsewhere.
    """
    require_no_link(directory)
    directory.mkdir(exist_ok=True)


def require_no_link(directory: Path) -> None:
    """Checks that a directory to write into is not a symbolic link; it may be absent.

    Raises:
        OSError: the directory is a link, which would lead writes elsewhere.
    """
    if directory.is_symlink():
        raise OSError(errno.ELOOP, "it is a symbolic link, which is not followed", str(directory))


def aside(path: Path) -> Path:
    """A random temporary name in the directory of `path`, for writing its next content.

    Readers skip such names. Open the file with mode "x", which follows no prepared link.

    Raises:
        IsADirectoryError: `path` is "/" or ".", which have no name.
    """
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, "it is a directory", str(path))
    return path.with_name(f"{TEMPORARY}{secrets.token_hex(4)}-{path.name}")


def write(path: Path, data: bytes) -> None:
    """Writes a new file and flushes it to the disk; replaces a file or link of that name.

    Raises:
        OSError: the file cannot be written.
    """
    with open_new(path) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_atomically(path: Path, data: bytes) -> None:
    """Writes or replaces a file so that a crash leaves either the old file or the new one.

    Raises:
        OSError: the file cannot be written; the old file is unchanged and nothing else is left.
    """
    temporary = aside(path)
    try:
        with open(temporary, "xb") as file:
            file.write(data)
        settle(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def settle(temporary: Path, path: Path) -> None:
    """Flushes a temporary file to the disk and renames it to `path`."""
    # Windows flushes only files that are open for writing.
    descriptor = os.open(temporary, os.O_RDWR | _CAREFULLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)
    flush_directory(path.parent)


def flush_directory(directory: Path) -> None:
    """Makes the names in a directory survive a crash; Windows needs no call for this."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
