"""The sweeps that come with Joystick: a clone's `sweeps/`, which a wheel has beside this file."""

from __future__ import annotations

import os
from pathlib import Path

from envs import UserError
from envs.errors import did_you_mean
from envs.text import plain

FOLDERS = (Path(__file__).with_name("plans"), Path(__file__).parents[2] / "sweeps")
"""Where a wheel has them, and a clone."""


def shipped() -> dict[str, Path]:
    """Their names, such as "dqn", and files."""
    for folder in FOLDERS:
        if found := sorted(folder.glob("*.yaml")):
            return {path.stem: path for path in found}
    return {}


def located(file: Path) -> Path:
    """The file of a sweep, given as a path or as a shipped one: `dqn` or `sweeps/dqn.yaml`.

    A path wins.

    Raises:
        UserError: there is none.
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
