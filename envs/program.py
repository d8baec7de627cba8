"""Names commands in help, errors and warnings as the user called the program."""

from __future__ import annotations

import re
from importlib import metadata

OURS = re.compile(
    r"python -m (?P<package>agents|demos|joystick)\b(?:\.(?P<name>[a-z]\w*)\b)?(?![\w.]*/)"
)
"""A command of ours in the form `python -m agents.dqn`, as docstrings write it."""

_name = ""


def version() -> str:
    """The version of Joystick, or "unknown" if the package is not installed."""
    try:
        return metadata.version("joystick-rl")
    except metadata.PackageNotFoundError:
        return "unknown"


def called(name: str) -> None:
    """Sets the program's name, such as "joystick"; "" means `python -m` with a module."""
    global _name
    _name = name


def as_called(text: str) -> str:
    """The text with each `python -m agents.dqn` in the form that the user types: `joystick dqn`."""
    return OURS.sub(_typed, text) if _name else text


def _typed(found: re.Match[str]) -> str:
    command = "demos" if found["package"] == "demos" else found["name"]
    return f"{_name} {command}" if command else _name
