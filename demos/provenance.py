"""The time, the command line and the commit that made a dataset."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

from envs import program


def command_line() -> str:
    """The command line of this process, as the user would type it."""
    return program.as_called("python -m demos") + " " + shlex.join(sys.argv[1:])


def now() -> str:
    """The current time, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def commit(folder: Path = Path(__file__).parent) -> str:
    """The commit of this code, with "-dirty" if files differ from it; "" outside Git.

    Args:
        folder: an existing directory in the working tree; by default in ours.
    """
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""
