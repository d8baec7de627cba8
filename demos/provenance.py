"""When, by which command and by which code something was made."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

from envs import program


def command_line() -> str:
    """The command of this process, as a person would type it."""
    return program.as_called("python -m demos") + " " + shlex.join(sys.argv[1:])


def now() -> str:
    """The present time, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def commit(folder: Path = Path(__file__).parent) -> str:
    """The commit of this code, with "-dirty" when files differ; "" outside Git.

    Args:
        folder: an existing directory of another working tree, to get that one's commit.
    """
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""
