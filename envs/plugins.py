"""Imports plugins: Python files that the user names with `--plugin FILE.py`.

A command imports its plugins before it does anything else. A plugin registers environments with
Gymnasium, torsos, or an algorithm with the file's name. A run or a dataset cannot name a plugin.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from envs.errors import UserError
from envs.own_code import imported_file

FLAG = "--plugin"

_loaded: dict[str, ModuleType] = {}


def loaded() -> dict[str, ModuleType]:
    """The imported plugins, by module name."""
    return dict(_loaded)


def flags() -> list[str]:
    """The words that give another command the plugins of this one."""
    return [f"{FLAG}={file}" for file in files()]


def files() -> list[Path]:
    """The files of the plugins so far."""
    found = [module.__file__ for module in _loaded.values()]
    return [Path(file).resolve() for file in found if file is not None]


def load(path: str | Path) -> ModuleType:
    """Imports a plugin.

    Raises:
        UserError: there is no such file, or its import raises anything.
    """
    module = imported_file(Path(path).expanduser(), f"{FLAG} {path}")
    _loaded[module.__name__] = module
    return module


def taken(args: Sequence[str]) -> list[str]:
    """Imports each `--plugin FILE.py` of a command line and returns the other words.

    Raises:
        UserError: as `load`.
    """
    named, rest = separated(args)
    for path in named:
        load(path)
    return rest


def separated(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The plugins that a command line names, and its other words; nothing is imported.

    Raises:
        UserError: the flag has no file.
    """
    named: list[str] = []
    rest: list[str] = []
    words = iter(args)
    for word in words:
        if word == FLAG:
            path = next(words, None)
            if path is None:
                raise UserError(f"{FLAG} needs the name of a file, such as my_algo.py")
            named.append(path)
        elif word.startswith(f"{FLAG}="):
            named.append(word.removeprefix(f"{FLAG}="))
        else:
            rest.append(word)
    return named, rest
