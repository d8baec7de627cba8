"""Files that are whole or absent when written, and bounded and regular when read.

A run or a dataset may come from a stranger. Nothing here follows a symbolic link inside of one,
waits for a FIFO or a device, or reads more bytes than the caller allows.
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
"""Names of files that are being written begin with this; no reader looks at them."""

MOST_OF_A_NAME = 100
"""Characters of a portable name at most: what is put before and behind it fits into 255 bytes."""

_DEVICES = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³])(\..*)?", re.IGNORECASE | re.DOTALL)
"""Names that Windows takes for devices, whatever ends them."""

_ASIDE = re.compile(r"\.tmp-[0-9a-f]{8}-.+", re.DOTALL)


_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_CAREFULLY = _BINARY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""How files are opened. Windows has no FIFO to wait for, and translates line ends unasked."""


class Unreadable(OSError):
    """A file that is not read because of what it is; `strerror` says why."""

    def __init__(self, why: str, path: Path) -> None:
        super().__init__(errno.EINVAL, why, str(path))


def portable_name(text: str) -> str:
    """A text as part of a file's name, the same on every system.

    Each character that is no letter, digit, "-", "_" or "." becomes "-": Windows refuses some of
    them, and a shell acts on others. So `my_module:MyEnv-v0` becomes `my_module-MyEnv-v0`.
    """
    name = re.sub(r"[^\w.-]", "-", text[:MOST_OF_A_NAME])
    # A leading dot hides a file, a leading dash is an option, and Windows drops a dot at the end.
    name = name.lstrip(".-").rstrip(".")
    return f"_{name}" if not name or _DEVICES.fullmatch(name) else name


def open_regular(path: Path, most_bytes: int) -> BinaryIO:
    """Open a regular file for reading.

    Args:
        path: its last part must not be a symbolic link.
        most_bytes: a larger file is refused.

    Raises:
        Unreadable: the file is a link, is no regular file, or is too large.
        OSError: the file cannot be opened.
    """
    if path.is_symlink():
        raise Unreadable("it is a symbolic link, which is not followed", path)
    # Without O_NONBLOCK, opening a FIFO waits for somebody to write into it.
    descriptor = os.open(path, os.O_RDONLY | _CAREFULLY)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise Unreadable("it is a directory", path)
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("it is no regular file", path)
        if status.st_size > most_bytes:
            allowed = f"{most_bytes:,} bytes are allowed"
            raise Unreadable(f"it has {status.st_size:,} bytes, at most {allowed}", path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        with suppress(OSError):
            os.close(descriptor)
        raise


def read_regular(path: Path, most_bytes: int) -> bytes:
    """The bytes of a regular file; raises as `open_regular`, also where it grows meanwhile."""
    with open_regular(path, most_bytes) as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise Unreadable(f"it has more than {most_bytes:,} bytes", path)
    return data


def open_appending(path: Path) -> BinaryIO:
    """Open a regular file to add to its end, a new one where there is none.

    Raises:
        Unreadable: it is a link or no regular file.
        OSError: it cannot be opened.
    """
    if path.is_symlink():
        raise Unreadable("it is a symbolic link, which is not followed", path)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _CAREFULLY, 0o666)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Unreadable("it is no regular file", path)
        return os.fdopen(descriptor, "ab")
    except BaseException:
        with suppress(OSError):
            os.close(descriptor)
        raise


def open_new(path: Path) -> BinaryIO:
    """Open a new file for writing; a file or link of that name is replaced, not followed."""
    with suppress(FileNotFoundError):
        path.unlink()
    return open(path, "xb")


def last_bytes(path: Path, most_bytes: int) -> bytes:
    """The end of a regular file of any size; raises as `open_regular`."""
    with open_regular(path, sys.maxsize) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - most_bytes))
        return file.read(most_bytes)


def is_directory(path: Path) -> bool:
    """Whether a path is a directory itself, and no symbolic link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def is_regular(path: Path) -> bool:
    """Whether a path is a regular file itself, and no symbolic link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def entries(directory: Path) -> list[Path]:
    """What is in a directory, by name; nothing where it is absent, unreadable or a link."""
    if not is_directory(directory):
        return []
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


def within(root: Path, relative: str) -> Path:
    """The path that a file names, below the directory that the file belongs to.

    Raises:
        Unreadable: the path leaves `root`, or passes a symbolic link on its way.
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
    """Delete a file, a link or a directory with all that is in it; what links lead to stays."""
    if is_directory(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink(missing_ok=True)


def is_aside(path: Path) -> bool:
    """Whether a name is one that `aside` makes; a person's own `.tmp-mine` is none."""
    return _ASIDE.fullmatch(path.name) is not None


def make_directory(directory: Path) -> None:
    """Make a directory of a run or dataset to write into; what is above it must exist.

    Raises:
        OSError: it cannot be made, or is a link, so that what is written would land elsewhere.
    """
    require_no_link(directory)
    directory.mkdir(exist_ok=True)


def require_no_link(directory: Path) -> None:
    """Passes where a directory to write into is no symbolic link, or is absent.

    Raises:
        OSError: it is a link, so that what is written would land elsewhere.
    """
    if directory.is_symlink():
        raise OSError(errno.ELOOP, "it is a symbolic link, which is not followed", str(directory))


def aside(path: Path) -> Path:
    """A new name beside `path` for what will become it: no reader looks at it, nobody guesses it.

    Open it with mode "x": then no link that was prepared is followed.

    Raises:
        IsADirectoryError: `path` is "/" or ".", which have no name.
    """
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, "it is a directory", str(path))
    return path.with_name(f"{TEMPORARY}{secrets.token_hex(4)}-{path.name}")


def write(path: Path, data: bytes) -> None:
    """Write a new file through to the disk; a file or link of that name is replaced, not followed.

    Raises:
        OSError: the file cannot be written.
    """
    with open_new(path) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_atomically(path: Path, data: bytes) -> None:
    """Write or replace a file so that a crash leaves the old one or the new one.

    Raises:
        OSError: it cannot be written; the old one is as it was, and nothing else is left.
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
    """Flush a file that was written aside to the disk, and give it its name."""
    # Windows flushes only what is open for writing.
    descriptor = os.open(temporary, os.O_RDWR | _CAREFULLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)
    flush_directory(path.parent)


def flush_directory(directory: Path) -> None:
    """Make the names in a directory survive a crash; Windows does so unasked."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
