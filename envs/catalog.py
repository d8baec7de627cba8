"""Looks up environments on this machine: their names, versions and Atari ROMs."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.metadata
import os
import sys
from pathlib import Path
from typing import Any

import ale_py
import gymnasium
from ale_py import roms

from envs.errors import UserError, did_you_mean
from envs.own_code import imported
from envs.versions import package_versions

gymnasium.register_envs(ale_py)


@functools.lru_cache
def atari_ids() -> dict[str, str]:
    """Returns the name of the ROM by id, for "ALE/<Game>-v5" and "<Game>NoFrameskip-v4"."""
    games = {
        env_id[len("ALE/") : -len("-v5")]: str(registered.kwargs["game"])
        for env_id, registered in gymnasium.registry.items()
        if env_id.startswith("ALE/") and env_id.endswith("-v5")
    }
    modern = {f"ALE/{name}-v5": game for name, game in games.items()}
    classic = {f"{name}NoFrameskip-v4": game for name, game in games.items()}
    return modern | {i: game for i, game in classic.items() if i in gymnasium.registry}


@functools.lru_cache
def atari_nicknames() -> dict[str, str]:
    """Returns the modern id by the game's name in lower case, such as "spaceinvaders"."""
    modern = [env_id for env_id in atari_ids() if env_id.startswith("ALE/")]
    return {env_id[len("ALE/") : -len("-v5")].lower(): env_id for env_id in modern}


def rom_of(game: str) -> Path:
    """The file of a game's ROM, which is part of ale-py."""
    path = roms.get_rom_path(game)
    assert path is not None, f"ale-py has no ROM for {game}"
    return path


@functools.lru_cache
def atari_variants(game: str) -> tuple[list[int], list[int]]:
    """Returns a game's modes and its difficulties; the first mode is the default."""
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    emulator = ale_py.ALEInterface()
    emulator.loadROM(rom_of(game))
    return emulator.getAvailableModes(), emulator.getAvailableDifficulties()


@functools.lru_cache
def atari_build(game: str) -> dict[str, Any]:
    """Returns the fields of an `EnvSpec` that identify the emulator and the ROM of a game."""
    return {
        "ale_py_version": importlib.metadata.version("ale-py"),
        "rom_md5": hashlib.md5(rom_of(game).read_bytes()).hexdigest(),
        "gymnasium_version": "",
    }


def canonical_id(name: str) -> str:
    """Returns the id that a name stands for: "ALE/Pong-v5" for "pong". It imports no module."""
    folded = name.lower().replace("_", "").replace(" ", "")
    return atari_nicknames().get(folded, name)


def gymnasium_build(env_id: str) -> dict[str, Any]:
    """Returns the fields of an `EnvSpec` that identify the software behind an id.

    Imports the module that registers the id, so that `gymnasium.make` finds it afterwards.

    Raises:
        UserError: there is no such id, or its package is not installed.
    """
    module, _, registered_id = env_id.rpartition(":")
    if module and not all(part.isidentifier() for part in module.split(".")):
        raise UserError(f"'{env_id}' must have a module's name before its ':'")
    if module:
        imported(module, f"'{env_id}'")
    try:
        if env_id.startswith("MinAtar/") and env_id not in gymnasium.registry:
            importlib.import_module("minatar.gym").register_envs()
    except ImportError as error:
        raise UserError(f"'{env_id}' needs a package that is not installed: {error}") from None
    registered = gymnasium.registry.get(registered_id)
    if registered is None or str(registered.entry_point).startswith("ale_py"):
        raise unknown_name(env_id)
    return {
        "gymnasium_version": gymnasium.__version__,
        "package_versions": package_versions(env_id, registered),
    }


def registered_limit(env_id: str) -> int:
    """Returns the registered time limit of an id in steps, or 0 if there is none."""
    registered = gymnasium.registry.get(env_id.rpartition(":")[2])
    return 0 if registered is None else registered.max_episode_steps or 0


def require_trusted(env_id: str) -> None:
    """Checks that the module of "module:Id-v0" may be imported.

    It may if it is imported already, or if the variable JOYSTICK_MODULES names it. Otherwise an
    untrusted file could run a module of the working directory.

    Raises:
        UserError: the module is neither imported nor named in JOYSTICK_MODULES.
    """
    module = env_id.rpartition(":")[0]
    allowed = [each.strip() for each in os.environ.get("JOYSTICK_MODULES", "").split(",")]
    if module and module not in sys.modules and module not in allowed:
        raise UserError(
            f"'{env_id}' would import the module '{module}' because a file says so: set"
            f" JOYSTICK_MODULES={module} to allow it"
        )


def unknown_name(name: str) -> UserError:
    """Returns the error for an unknown environment, with the nearest known name."""
    registered = gymnasium.registry.get(name)
    if registered is not None and str(registered.entry_point).startswith("ale_py"):
        camel = str(registered.kwargs["game"]).title().replace("_", "")
        return UserError(
            f"'{name}' has a protocol that is not supported: use '{camel}' (sticky 0.25)"
            f" or '{camel}NoFrameskip-v4' (sticky 0)"
        )
    games = [env_id[len("ALE/") : -len("-v5")] for env_id in atari_nicknames().values()]
    others = [i for i, r in gymnasium.registry.items() if not str(r.entry_point).startswith("ale_")]
    return UserError(
        f"unknown environment '{name}': allowed are Atari games such as 'Pong' and ids that are"
        f" registered with Gymnasium{did_you_mean(name, [*games, *atari_ids(), *others])}"
    )
