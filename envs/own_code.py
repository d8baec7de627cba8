"""Code that a person wrote: it is imported and called, and its faults are one line."""

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


def imported_file(path: Path, about: str) -> ModuleType:
    """Import a Python file that a person named; a second import of it does nothing.

    Args:
        path: its module has the name of the file.
        about: what the error begins with.

    Raises:
        UserError: there is no such file, its name is another module's, or it raises anything.
    """
    name = path.stem
    if path.suffix != ".py" or not name.isidentifier():
        raise UserError(f"{about}: '{path}' is no Python file whose name could be a module's")
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
    """Whether a module is the one of a file."""
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve() == path.resolve()


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
