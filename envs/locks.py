"""One process at a time writes into a run, a dataset or a sweep: a lock that ends with its process.

A command that only reads one needs no lock, and makes no lock's file.
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
"""The lock's file in the directory. It stays there when nobody holds the lock."""

MOST_BYTES = 4096

NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}
"""What a file system answers that has no locks."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock, as its file names it."""

    pid: int
    host: str


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """No other process that asks for it writes into the directory meanwhile.

    The system drops the lock when the process ends, even by SIGKILL: no lock is ever stale.

    Raises:
        UserError: another process does, or the directory cannot be written.
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
        warn(f"{directory} has no locks: let no other process work in it")
        held = False
    try:
        yield
    finally:
        if held:
            lock.release()


def _require_own(path: Path) -> None:
    """Passes where a lock's file is absent, or a file that has no other name.

    Raises:
        UserError: to lock it would touch what lies elsewhere.
    """
    if not os.path.lexists(path):
        return
    if not files.is_regular(path) or path.lstat().st_nlink > 1:
        raise UserError(f"{path}: it is a link or no regular file, and is not locked; delete it")


def _sign(descriptor: int) -> None:
    """Write into the lock's file who holds it; a full disk does not keep anyone from holding it."""
    holder = {"pid": os.getpid(), "host": socket.gethostname()}
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, json.dumps(holder).encode())


def _in_words(path: Path) -> str:
    """Who holds a lock that was refused."""
    try:
        holder = schema.read(path, Holder, MOST_BYTES)
    except (OSError, UserError):
        return "another process"
    elsewhere = f" on {plain(holder.host)}" if holder.host != socket.gethostname() else ""
    return f"process {holder.pid}{elsewhere}"
