"""Handles folders and packages of others that have the names of Joystick's packages.

Joystick's packages lie side by side. A command imports the packages beside its own (`prefer`). Any
other program imports the packages that Python finds; `clash` describes a package that is not ours.
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
"""The directory that holds our packages: a clone, or an environment's site-packages."""

DISTRIBUTION = "joystick-rl"

MARK = "Joystick"
"""A word that the first line of each of our packages contains."""


class _Beside:
    """A finder that looks for our packages in `HOME`, before Python looks elsewhere."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in PACKAGES:
            return None
        return PathFinder.find_spec(name, [str(HOME)], target)


def prefer() -> None:
    """Makes Python import our packages from `HOME`, even if others have the same names."""
    if _Beside not in sys.meta_path:
        sys.meta_path.insert(0, _Beside)


def clash(name: str) -> str:
    """Describes in one line a foreign package with the name of ours, and the way out.

    Args:
        name: the name of our package, such as "agents".

    Returns:
        "" if Python imports our package.
    """
    found = sys.modules.get(name) or find_spec(name)
    if found is None:
        return f"Joystick's package '{name}' is missing: install Joystick again"
    where = _directory(found)
    if where != HOME / name:
        problem = f"Python imports '{name}' from {where}, not from Joystick"
    elif not _is_ours(where):
        problem = f"another package has replaced Joystick's {where}"
    else:
        return ""
    others = set(metadata.packages_distributions().get(name, ())) - {DISTRIBUTION}
    if others:
        packages = " and ".join(sorted(others))
        cure = f"{packages} has that name too; install Joystick in a separate environment"
    else:
        cure = "rename it, or remove its directory from PYTHONPATH"
    return f"{problem}: {cure}"


def _directory(found: ModuleType | ModuleSpec) -> Path:
    """The directory of a package, or the file of a module."""
    if isinstance(found, ModuleSpec):
        places = found.submodule_search_locations
        file = found.origin
    else:
        places = getattr(found, "__path__", None)
        file = getattr(found, "__file__", None)
    return Path(next(iter(places or ()), file or "")).resolve()


def _is_ours(package: Path) -> bool:
    """Whether a package's first line names Joystick; another package may have replaced the file."""
    with open(package / "__init__.py", encoding="utf-8") as file:
        return MARK in file.readline(1_000)


def hidden(error: ImportError) -> str:
    """The way out if one of our packages hides a package of the user; "" if none does.

    Args:
        error: the error that the import of the user's module raised.
    """
    name = (error.name or "").partition(".")[0]
    here = Path.cwd()
    if name not in PACKAGES or here.resolve() == HOME:
        return ""
    for own in (here / name, here / f"{name}.py"):
        if own.exists():
            return f"; Joystick's package '{name}' hides your {own.name}: rename yours"
    return ""
