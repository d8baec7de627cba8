"""The algorithms of this package, by name."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from envs import UserError
from envs.errors import did_you_mean


def algorithm(name: str) -> ModuleType:
    """The module `agents.<name>`; a UserError with the nearest match when there is none."""
    names = algorithms()
    if name not in names:
        allowed = ", ".join(names)
        raise UserError(
            f"unknown algorithm '{name}' (known: {allowed})" + did_you_mean(name, names)
        )
    return importlib.import_module(f"agents.{name}")


def algorithms() -> list[str]:
    """Names of the modules of this package that build an agent."""
    folder = Path(__file__).parents[2]
    return sorted(
        file.stem for file in folder.glob("*.py") if "\ndef build(" in file.read_text("utf-8")
    )
