"""Which `envs`, `demos` and `agents` Python finds: ours, or somebody else's of the same name."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""Where this package and the three are installed beside each other."""

NAMES = ("envs", "demos", "agents")

MARK = "Joystick"
"""What the first line of each package's `__init__.py` says."""


def leave_working_directory() -> None:
    """Forget the working directory as a place to import from, where Python put it first.

    `python -m` does so, and a person's own folder `envs` would be taken for ours.
    """
    first = Path(sys.path[0]).resolve()
    if first == Path.cwd().resolve() and first != ROOT:
        del sys.path[0]


def return_to_working_directory() -> None:
    """Allow a person's own modules, `--env my_module:MyEnv-v0`, behind all that is installed."""
    if str(ROOT) not in sys.path:
        # An editable installation is found last of all, after the working directory.
        sys.path.append(str(ROOT))
    sys.path.append(os.getcwd())


def clash() -> str:
    """One line on the first of the three packages that is not ours; "" where all are."""
    for name in NAMES:
        found = find_spec(name)
        origin = None if found is None else found.origin
        if origin is None:
            return f"the package '{name}' of Joystick is missing: pip install {ROOT.name} again"
        path = Path(origin).resolve().parent
        if path != ROOT / name:
            return f"'{name}' is {path} here, not Joystick's{owner(name)}; {cure(path)}"
        if not is_ours(path):
            return f"{path} is not Joystick's any more{owner(name)}; {cure(path)}"
    return ""


def is_ours(path: Path) -> bool:
    """Whether a package's first line names Joystick; another's installation may replace files."""
    with open(path / "__init__.py", encoding="utf-8") as file:
        return MARK in file.readline(1_000)


def owner(name: str) -> str:
    """ ", the distribution 'openai-agents' installed it" where another package has this name."""
    from joystick import DISTRIBUTION

    for each in metadata.packages_distributions().get(name, ()):
        if each != DISTRIBUTION:
            return f": the package {each} has the same name"
    return ""


def cure(path: Path) -> str:
    """The way out of a clash with a package at a path."""
    if any(part in ("site-packages", "dist-packages") for part in path.parts):
        return "install Joystick in an environment of its own, or again"
    return "rename that folder, or take its parent out of PYTHONPATH"
