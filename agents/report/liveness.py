"""Detects whether a process trains a run now, without taking the lock, which would stop it."""

from __future__ import annotations

import socket
from pathlib import Path

import psutil

from envs import UserError, schema
from envs.locks import MOST_BYTES, NAME, Holder

CLOCK_SECONDS = 2.0
"""Largest difference between the clock of files and the clock of processes."""


def is_training(run: Path) -> bool | None:
    """Whether the last process that trained a run still trains it.

    Returns None if that is unknown: the run has no lock, or its process is on another machine.
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
        # A process that began after the lock was signed only reuses the number of an ended process.
        process = psutil.Process(holder.pid)
        return process.is_running() and process.create_time() <= signed + CLOCK_SECONDS
    except (psutil.Error, ValueError, OverflowError):
        return False
