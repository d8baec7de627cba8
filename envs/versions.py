"""Finds the versions of the packages behind an environment, and decides which may differ."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import sys
from types import ModuleType
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec as Registered
from gymnasium.envs.registration import load_env_creator

from envs.errors import UserError, first_line
from envs.output import warn_once

ANY_VERSION = "JOYSTICK_ANY_VERSION"
"""The environment variable that allows any version, with a warning."""

PHYSICS = ("mujoco", "Box2D", "pymunk", "pybullet")
"""Modules of physics engines; their version changes the behavior of an environment."""

ENGINE_OF = {"gymnasium.envs.mujoco": "mujoco", "gymnasium.envs.box2d": "Box2D"}
"""The engine of Gymnasium's own environments, by the package of their classes."""

NOT_RECORDED = {"gymnasium", "ale_py", "envs", *sys.stdlib_module_names}
"""Top-level modules that are ours, or whose version other fields of a spec hold."""


def package_versions(env_id: str, registered: Registered) -> dict[str, str]:
    """The versions of the distributions behind an environment, by the distribution's name.

    The distributions are found from its class and base classes, from the module that registers it
    ("module:Id-v0"), and from the physics engine. A module without a distribution has no version.

    Raises:
        UserError: the environment's code cannot be imported.
    """
    names = {env_id.rpartition(":")[0], *modules_of(env_id, registered)}
    tops = {name.partition(".")[0] for name in names}
    for name in names:
        tops |= {engine for package, engine in ENGINE_OF.items() if name.startswith(package)}
        tops |= engines_in(sys.modules.get(name))
    found = map(distribution_of, sorted(tops - NOT_RECORDED))
    return {name: importlib.metadata.version(name) for name in found if name}


def modules_of(env_id: str, registered: Registered) -> set[str]:
    """The modules of an environment's class and of all its base classes."""
    creator: Any = registered.entry_point
    if isinstance(creator, str):
        try:
            creator = load_env_creator(creator)
        except (gymnasium.error.Error, ImportError, AttributeError) as error:
            why = first_line(error)
            raise UserError(f"'{env_id}' needs a package that is not installed: {why}") from None
    classes = getattr(creator, "__mro__", (creator,))
    return {getattr(each, "__module__", None) or "" for each in classes}


def engines_in(module: ModuleType | None) -> set[str]:
    """The physics engines that a module imports."""
    values = list(vars(module).values()) if module else []
    imported = {each.__name__ for each in values if isinstance(each, ModuleType)}
    return {name.partition(".")[0] for name in imported} & set(PHYSICS)


def distribution_of(top: str) -> str | None:
    """The distribution that a top-level module belongs to, or None."""
    candidates = _distributions().get(top, [])
    same = [name for name in candidates if name.lower().replace("-", "_") == top.lower()]
    return next(iter([*same, *sorted(candidates)]), None)


@functools.lru_cache
def _distributions() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())


def require_close(here: str, there: str, what: str) -> None:
    """Checks that two versions differ in the patch number at most; warns if they differ.

    Args:
        here: the version on this machine, or "" if there is none.
        there: the version in a spec, or "" if it is unknown; an unknown version passes.
        what: the warning, which is also the first part of the error; it names both versions.

    Raises:
        UserError: more than the patch number differs, and JOYSTICK_ANY_VERSION is not set.
    """
    if here == there or not there:
        return
    close = here.split(".")[:2] == there.split(".")[:2]
    if close or os.environ.get(ANY_VERSION):
        warn_once(what)
        return
    raise UserError(f"{what}; {ANY_VERSION}=1 allows the version on this machine")
