"""Code that a person wrote: it is imported and called, and its faults are one line."""

from __future__ import annotations

import importlib
import inspect
import traceback
from pathlib import Path
from types import ModuleType

from envs.errors import UserError, first_line
from envs.siblings import hidden

FAULTS = (Exception, SystemExit)
"""What a person's code may raise. `sys.exit` is a fault too: nobody would see why it ended."""


def imported(module: str, about: str) -> ModuleType:
    """Import a module that a person named.

    Args:
        module: its name, with dots.
        about: what the error begins with.

    Raises:
        UserError: there is none, or it raises anything while it is imported.
    """
    if not all(part.isidentifier() for part in module.split(".")):
        raise UserError(f"{about}: '{module}' is no name of a module{without_ending(module)}")
    try:
        return importlib.import_module(module)
    except ImportError as error:
        why = first_line(error)
        cure = without_ending(module) or hidden(error)
        raise UserError(f"{about} cannot be imported: {why}{cure}") from error
    except FAULTS as error:
        raise UserError(f"{about} cannot be imported: it {raised(error)}") from error


def without_ending(module: str) -> str:
    """The way out for a person who named a file: "; my_policy.py is the module 'my_policy'"."""
    if not module.endswith(".py"):
        return ""
    return f"; the module of {Path(module).name} is '{Path(module).stem}'"


def raised(error: BaseException, source: str | None = None) -> str:
    """ "raised ValueError: why (file.py, line 7)".

    Args:
        source: the person's own file, in which the place is looked for.
    """
    said = f": {first_line(error)}" if str(error) else ""
    what = "called sys.exit" if isinstance(error, SystemExit) else f"raised {type(error).__name__}"
    if isinstance(error, SyntaxError):
        # It says its place itself.
        return what + said
    frames = traceback.extract_tb(error.__traceback__)
    place = next((each for each in reversed(frames) if each.filename == source), frames[-1])
    return f"{what}{said} ({Path(place.filename).name}, line {place.lineno})"


def file_of(code: object) -> str | None:
    """The file of a function or a class; None where it has none."""
    try:
        return inspect.getfile(inspect.unwrap(code))  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, OSError):
        return None
