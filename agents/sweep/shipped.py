"""Finds the sweeps that come with Joystick: in a clone's `sweeps/`, or in a wheel's `plans/`."""

from __future__ import annotations

import os
from pathlib import Path

from envs import UserError
from envs.errors import did_you_mean
from envs.text import plain

FOLDERS = (Path(__file__).with_name("plans"), Path(__file__).parents[2] / "sweeps")
"""The folder of the sweeps in a wheel, and in a clone."""


def shipped() -> dict[str, Path]:
    """The files of the shipped sweeps by name, such as "dqn"."""
    for folder in FOLDERS:
        found = sorted(folder.glob("*.yaml"))
        if found:
            return {path.stem: path for path in found}
    return {}


def located(file: Path) -> Path:
    """The file of a sweep, given as a path or as a shipped sweep: `dqn` or `sweeps/dqn.yaml`.

    If both exist, the path wins.

    Raises:
        UserError: there is no such sweep; the message lists the shipped ones.
    """
    if os.path.lexists(file):
        return file
    known = shipped()
    names = {name: path for path in known.values() for name in (path.stem, path.name)}
    names |= {f"sweeps/{path.name}": path for path in known.values()}
    if file.as_posix() in names:
        return names[file.as_posix()]
    raise UserError(
        f"no sweep at '{plain(file)}' (shipped are: {', '.join(known)})"
        + did_you_mean(file.stem, known)
    )
