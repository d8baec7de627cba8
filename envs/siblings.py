"""Joystick's packages lie side by side; a person's folder or another package may have their names.

A command takes the packages beside its own (`prefer`). A program that imports them takes what
Python finds, as always; `clash` names what is not ours.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

PACKAGES = ("agents", "benchmarks", "demos", "envs", "joystick")

HOME = Path(__file__).resolve().parents[1]
"""The directory that holds them: a clone, or an environment's site-packages."""

DISTRIBUTION = "joystick-rl"

MARK = "Joystick"
"""What the first line of each package has."""


class _Beside:
    """Finds our packages in one directory, before Python looks anywhere else."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in PACKAGES:
            return None
        return PathFinder.find_spec(name, [str(HOME)], target)


def prefer() -> None:
    """Take our packages from one directory from now on, whatever else has their names."""
    if _Beside not in sys.meta_path:
        sys.meta_path.insert(0, _Beside)


def clash(name: str) -> str:
    """What Python takes for one of our packages, in one line with the way out; "" where it is ours.

    Args:
        name: of the package, such as "agents".
    """
    found = sys.modules.get(name) or find_spec(name)
    if found is None:
        return f"Joystick's package '{name}' is missing: install Joystick again"
    where = _directory(found)
    if where != HOME / name:
        problem = f"'{name}' is {where} here, not Joystick's package"
    elif not _is_ours(where):
        problem = f"{where} is not Joystick's any more"
    else:
        return ""
    others = set(metadata.packages_distributions().get(name, ())) - {DISTRIBUTION}
    if others:
        packages = " and ".join(sorted(others))
        cure = f"{packages} has that name too; install Joystick in an environment of its own"
    else:
        cure = "rename it, or take its directory out of PYTHONPATH"
    return f"{problem}: {cure}"


def _directory(found: ModuleType | ModuleSpec) -> Path:
    """Where a package is, or the file of a module."""
    if isinstance(found, ModuleSpec):
        places, file = found.submodule_search_locations, found.origin
    else:
        places, file = getattr(found, "__path__", None), getattr(found, "__file__", None)
    return Path(next(iter(places or ()), file or "")).resolve()


def _is_ours(package: Path) -> bool:
    """Whether a package's first line names Joystick; another package may have replaced the file."""
    with open(package / "__init__.py", encoding="utf-8") as file:
        return MARK in file.readline(1_000)


def hidden(error: ImportError) -> str:
    """The way out for a person's own package that one of ours hides; "" where none is.

    Args:
        error: what the import of a person's module raised.
    """
    name = (error.name or "").partition(".")[0]
    here = Path.cwd()
    if name not in PACKAGES or here.resolve() == HOME:
        return ""
    for own in (here / name, here / f"{name}.py"):
        if own.exists():
            return f"; Joystick's package '{name}' hides your {own.name}: rename yours"
    return ""
