"""The commands of `joystick`, by name."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from agents.core.training import algorithms


class Command(NamedTuple):
    """A command.

    Attributes:
        about: one line about the command.
        module: the module whose `main(args)` runs the command; "" for an algorithm.
        settings: the name of the module's settings: a dataclass, or a union of dataclasses.
    """

    about: str
    module: str = ""
    settings: str = "Arguments"


TOOLS = {
    "evaluate": Command("score a run over full games", "agents.evaluate"),
    "watch": Command("play a trained agent live, or into a film", "agents.watch"),
    "report": Command("make a page of curves, films and tables of runs", "agents.report.__main__"),
    "card": Command("write a run's card, and upload it to the Hugging Face Hub", "agents.card"),
    "dashboard": Command("save a W&B workspace and report", "agents.dashboard.__main__"),
    "sweep": Command("try settings, with Optuna", "agents.sweep.__main__"),
    "demos": Command(
        "record, verify, replay and exchange demonstrations", "demos.__main__", "Command"
    ),
}
"""The commands that do not train."""


def trainings() -> dict[str, Command]:
    """The commands that train: the algorithms of this package, of other packages and of plugins."""
    return {name: Command(about) for name, about in algorithms.listed().items()}


def every() -> dict[str, Command]:
    """All commands."""
    return trainings() | TOOLS


def main_of(name: str) -> Callable[[list[str]], None]:
    """Returns the function that runs a command; imports its module, and so PyTorch."""
    module = every()[name].module
    if module:
        return import_module(module).main
    from agents.core.training.launch import main

    return lambda args: main(name, args)
