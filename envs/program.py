"""How this program was called: help, errors and warnings name commands the same way."""

from __future__ import annotations

import re
from importlib import metadata

OURS = re.compile(
    r"python -m (?P<package>agents|demos|joystick)\b(?:\.(?P<name>[a-z]\w*)\b)?(?![\w.]*/)"
)
"""A command of this package, as the documentation of modules writes it."""

_name = ""


def version() -> str:
    """This Joystick's version; "unknown" where the package is not installed."""
    try:
        return metadata.version("joystick-rl")
    except metadata.PackageNotFoundError:
        return "unknown"


def called(name: str) -> None:
    """Say that the program is called `name`, such as "joystick"; "" is `python -m` of a module."""
    global _name
    _name = name


def as_called(text: str) -> str:
    """The text with every `python -m agents.dqn` as a person types it: `joystick dqn`."""
    return OURS.sub(_typed, text) if _name else text


def _typed(found: re.Match[str]) -> str:
    command = "demos" if found["package"] == "demos" else found["name"]
    return f"{_name} {command}" if command else _name
