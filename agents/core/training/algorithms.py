"""The algorithms by name: those of this package, of other installed packages, and of plugins.

An algorithm is a module with

- `Config`: a dataclass, its settings;
- `PRESETS`: its `Config`s by name, "control" at least;
- `build(config, spaces, device)`: makes the algorithm;
- `TRAINER`: the name of what trains it, "online" or "offline".
"""

from __future__ import annotations

from importlib import import_module, metadata
from types import ModuleType
from typing import NamedTuple

from envs import UserError
from envs.errors import did_you_mean, first_line

GROUP = "joystick.algorithms"
"""The group of entry points by which an installed package adds algorithms: name = "module"."""

NEEDED = ("Config", "PRESETS", "build", "TRAINER")
"""What the module of an algorithm has."""


class Listed(NamedTuple):
    """An algorithm of this package: its module, and what it is in a line."""

    module: str
    about: str


BUILT_IN = {
    "a2c": Listed("agents.a2c", "advantage actor-critic"),
    "bc": Listed("agents.bc", "behavior cloning: do as a demonstrator did"),
    "dqn": Listed("agents.dqn", "deep Q-network: Q-learning on replayed experience"),
    "ppo": Listed("agents.ppo", "proximal policy optimization"),
    "reinforce": Listed("agents.reinforce", "REINFORCE: the policy gradient itself"),
}

_plugins: dict[str, ModuleType] = {}


def algorithms() -> list[str]:
    """Names of the algorithms of this package."""
    return sorted(BUILT_IN)


def listed() -> dict[str, str]:
    """All algorithms that `algorithm` finds, with a line of what each is. None is imported."""
    found = {name: each.about for name, each in BUILT_IN.items()}
    for name, entry in installed().items():
        package = entry.dist.name if entry.dist is not None else entry.module
        found.setdefault(name, f"of the package {package}")
    for name, module in _plugins.items():
        found.setdefault(name, f"of {module.__file__}")
    return dict(sorted(found.items()))


def installed() -> dict[str, metadata.EntryPoint]:
    """The algorithms of other packages that are installed."""
    return {each.name: each for each in metadata.entry_points(group=GROUP)}


def algorithm(name: str) -> ModuleType:
    """The module of an algorithm.

    Raises:
        UserError: there is none of that name, or it lacks what an algorithm has.
    """
    if name in BUILT_IN:
        return import_module(BUILT_IN[name].module)
    if name in _plugins:
        return _plugins[name]
    entry = installed().get(name)
    if entry is None:
        raise unknown(name)
    try:
        module = entry.load()
    except (ImportError, AttributeError) as error:
        raise UserError(f"algorithm '{name}': {entry.value}: {first_line(error)}") from error
    require_algorithm(module, f"algorithm '{name}' of {entry.value}")
    return module


def name_of(module: ModuleType) -> str:
    """The name by which an algorithm's module is found."""
    for name, each in BUILT_IN.items():
        if each.module == module.__name__:
            return name
    for name, each in _plugins.items():
        if each is module:
            return name
    for name, entry in installed().items():
        if entry.value == module.__name__:
            return name
    return module.__name__.rpartition(".")[2]


def add(name: str, module: ModuleType) -> None:
    """Make the module of a plugin known as an algorithm.

    Raises:
        UserError: this package has an algorithm of that name, or the module lacks something.
    """
    if name in BUILT_IN:
        raise UserError(f"the plugin {module.__file__} has the name of the algorithm '{name}'")
    require_algorithm(module, f"the plugin {module.__file__}")
    _plugins[name] = module


def require_algorithm(module: object, what: str) -> None:
    """Raise a UserError where a module lacks what an algorithm has."""
    missing = [name for name in NEEDED if not hasattr(module, name)]
    if missing:
        raise UserError(
            f"{what} has no {' and no '.join(missing)}; an algorithm has {', '.join(NEEDED)}"
        )


def unknown(name: str) -> UserError:
    """The error for a name that no algorithm has."""
    known = list(listed())
    return UserError(
        f"unknown algorithm '{name}' (known: {', '.join(known)}){did_you_mean(name, known)}"
        "; --plugin FILE.py adds one"
    )
