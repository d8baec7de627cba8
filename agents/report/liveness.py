"""Whether a process trains a run now, without a lock of our own, which would keep it from it."""

from __future__ import annotations

import socket
from pathlib import Path

import psutil

from envs import UserError, schema
from envs.locks import MOST_BYTES, NAME, Holder

CLOCK_SECONDS = 2.0
"""By which a file's time and a process's may differ."""


def is_training(run: Path) -> bool | None:
    """Whether the process that trained a run last still does.

    None where nobody knows: the run has no lock, or its process is on another machine.
    """
    path = run / NAME
    try:
        holder = schema.read(path, Holder, MOST_BYTES)
        signed = path.lstat().st_mtime
    except (OSError, UserError):
        return None
    if holder.host != socket.gethostname():
        return None
    try:
        # A process that began later has only got the number of the one that has ended.
        process = psutil.Process(holder.pid)
        return process.is_running() and process.create_time() <= signed + CLOCK_SECONDS
    except (psutil.Error, ValueError, OverflowError):
        return False
