"""Plugins: files that a person names with `--plugin FILE.py`, imported before a command works.

A plugin adds what it registers: environments with Gymnasium, torsos, or an algorithm, which has the
file's name. Nothing that is loaded from a run or a dataset names a plugin.
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
    """The plugins so far, by the names of their files."""
    return dict(_loaded)


def flags() -> list[str]:
    """The words that give another command the plugins of this one."""
    return [f"{FLAG}={file}" for file in files()]


def files() -> list[Path]:
    """The files of the plugins so far."""
    found = [module.__file__ for module in _loaded.values()]
    return [Path(file).resolve() for file in found if file is not None]


def load(path: str | Path) -> ModuleType:
    """Import a plugin.

    Raises:
        UserError: there is no such file, or it raises anything while it is imported.
    """
    module = imported_file(Path(path).expanduser(), f"{FLAG} {path}")
    _loaded[module.__name__] = module
    return module


def taken(args: Sequence[str]) -> list[str]:
    """The words of a command line without its `--plugin FILE.py`, which are imported.

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
                raise UserError(f"{FLAG}: the name of a file is missing, such as my_algo.py")
            named.append(path)
        elif word.startswith(f"{FLAG}="):
            named.append(word.removeprefix(f"{FLAG}="))
        else:
            rest.append(word)
    return named, rest
