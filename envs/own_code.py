"""Imports the user's own code and describes its errors in one line."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType

from envs.errors import UserError, first_line
from envs.siblings import PACKAGES, hidden

FAULTS = (Exception, SystemExit)
"""The exceptions of user code that become one line. Without SystemExit, `sys.exit` would end the
program without a reason."""


def imported(module: str, about: str) -> ModuleType:
    """Imports a module that the user named.

    Args:
        module: the dotted name of the module.
        about: the first words of the error.

    Raises:
        UserError: there is no such module, or its import raises anything.
    """
    if not all(part.isidentifier() for part in module.split(".")):
        raise UserError(f"{about}: '{module}' is not a module's name{without_ending(module)}")
    try:
        return importlib.import_module(module)
    except ImportError as error:
        why = first_line(error)
        cure = without_ending(module) or hidden(error)
        raise UserError(f"{about} cannot be imported: {why}{cure}") from error
    except FAULTS as error:
        raise UserError(f"{about} cannot be imported: it {raised(error)}") from error


def imported_file(path: Path, about: str) -> ModuleType:
    """Imports a Python file that the user named; a second import returns the same module.

    Args:
        path: the file; its name without ".py" becomes the module's name.
        about: the first words of the error.

    Raises:
        UserError: there is no such file, another module has its name, or it raises anything.
    """
    name = path.stem
    if path.suffix != ".py" or not name.isidentifier():
        raise UserError(
            f"{about}: '{path}' must be a Python file with a module's name, such as a.py"
        )
    if not path.is_file():
        raise UserError(f"{about}: there is no file '{path}'")
    earlier = sys.modules.get(name)
    if earlier is not None and is_of(earlier, path):
        return earlier
    if earlier is not None or name in sys.stdlib_module_names or name in PACKAGES:
        raise UserError(f"{about}: '{name}' is the name of another module; rename '{path}'")
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except FAULTS as error:
        del sys.modules[name]
        raise UserError(
            f"{about}: {path} cannot be imported: it {raised(error, str(path.resolve()))}"
        ) from error
    return module


def is_of(module: ModuleType, path: Path) -> bool:
    """Whether a module was imported from this file."""
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve() == path.resolve()


def without_ending(module: str) -> str:
    """The hint for a user who typed a file's name: "; the module of x.py is 'x'", or ""."""
    if not module.endswith(".py"):
        return ""
    return f"; the module of {Path(module).name} is '{Path(module).stem}'"


def raised(error: BaseException, source: str | None = None) -> str:
    """Describes an error as "raised ValueError: why (file.py, line 7)".

    Args:
        source: the user's file; the last line of it in the traceback is named. None, or a traceback
            without the file, names the last line of the traceback.
    """
    said = f": {first_line(error)}" if str(error) else ""
    what = "called sys.exit" if isinstance(error, SystemExit) else f"raised {type(error).__name__}"
    if isinstance(error, SystemExit) and error.code in (None, 0):
        said = ""
    if isinstance(error, SyntaxError):
        # The message of a SyntaxError names the place.
        return what + said
    # W&B replaces `sys.exit` with a function of its own, which is not the place.
    exits = file_of(sys.exit)
    frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename != exits]
    place = next((each for each in reversed(frames) if each.filename == source), frames[-1])
    return f"{what}{said} ({Path(place.filename).name}, line {place.lineno})"


def file_of(code: object) -> str | None:
    """The file that defines a function or a class, or None if there is none."""
    try:
        return inspect.getfile(inspect.unwrap(code))  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, OSError):
        return None
