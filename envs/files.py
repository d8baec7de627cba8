"""Files that are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def aside(path: Path) -> Path:
    """Where to write what will become `path`: a name beside it that no reader looks at."""
    return path.with_name(f".tmp-{path.name}")


def write(path: Path, data: bytes) -> None:
    """Write a file through to the disk."""
    with open(path, "wb") as file:
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
        with open(temporary, "wb") as file:
            file.write(data)
        settle(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def settle(temporary: Path, path: Path) -> None:
    """Flush a file that was written aside to the disk, and give it its name."""
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    flush_directory(path.parent)


def flush_directory(directory: Path) -> None:
    """Make the names in a directory survive a crash."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
