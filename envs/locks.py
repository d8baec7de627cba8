"""A lock that lets one process at a time write into a run, a dataset or a sweep.

The lock ends with its process. A command that only reads takes no lock and makes no lock file.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from envs import files, schema
from envs.errors import UserError
from envs.output import warn
from envs.text import plain

NAME = ".lock"
"""Name of the lock file in the directory. The file stays there when no process holds the lock."""

MOST_BYTES = 4096

NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}
"""Error numbers of file systems without locks."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock, as the lock file names it."""

    pid: int
    host: str


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Holds the lock of a directory, so that no other process that uses the lock writes into it.

    The system drops the lock when the process ends, even by SIGKILL, so no lock is ever stale.

    Raises:
        UserError: another process holds the lock, or the directory cannot be written.
    """
    path = directory / NAME
    _require_own(path)
    lock = FileLock(path, blocking=False, fallback_to_soft=False, on_acquired=_sign)
    held = True
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"{_in_words(path)} is at work in {directory}; wait until it ends"
        ) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise UserError(f"{directory} cannot be locked: {error.strerror}") from None
        warn(f"the file system of {directory} has no locks: let no other process work in it")
        held = False
    try:
        yield
    finally:
        if held:
            lock.release()


def _require_own(path: Path) -> None:
    """Checks that a lock file is absent, or a regular file with one name.

    Raises:
        UserError: the lock file is a link, so locking it would touch a file elsewhere.
    """
    if not os.path.lexists(path):
        return
    if not files.is_regular(path) or path.lstat().st_nlink > 1:
        raise UserError(
            f"{path} is a link or not a regular file, so it cannot be locked; delete it"
        )


def _sign(descriptor: int) -> None:
    """Writes the holder into the lock file; a full disk is no reason to fail."""
    holder = {"pid": os.getpid(), "host": socket.gethostname()}
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, json.dumps(holder).encode())


def _in_words(path: Path) -> str:
    """Names the process that holds a lock."""
    try:
        holder = schema.read(path, Holder, MOST_BYTES)
    except (OSError, UserError):
        return "another process"
    elsewhere = f" on {plain(holder.host)}" if holder.host != socket.gethostname() else ""
    return f"process {holder.pid}{elsewhere}"
