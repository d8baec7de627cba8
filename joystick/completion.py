"""Makes the shell script that completes commands and flags, with tyro."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from agents.core.training import algorithms
from envs import UserError, command_line
from envs.catalog import atari_nicknames
from joystick import commands

SHELLS = ("bash", "zsh")

SUGGESTED = ("CartPole-v1", "LunarLander-v3", "Pendulum-v1", "toy/Catch-v0")
"""Environments that the script completes, beside the Atari games."""


def script(words: Sequence[str]) -> str:
    """Returns the completion script of a shell, for `eval "$(joystick --print-completion bash)"`.

    Raises:
        UserError: the words are not the name of one supported shell.
    """
    if len(words) != 1 or words[0] not in SHELLS:
        given = f" '{' '.join(words)}'" if words else ""
        raise UserError(f"--print-completion{given}: must be {' or '.join(SHELLS)}")
    kinds = {name: settings_of(name) for name in commands.every()}
    return command_line.completion(kinds, "joystick", words[0])


def settings_of(name: str) -> Any:
    """The dataclass of a command, or a union of its subcommands' dataclasses."""
    command = commands.every()[name]
    if command.module:
        return getattr(import_module(command.module), command.settings)
    return settings_of_training(name)


def settings_of_training(name: str) -> type[Any]:
    """An algorithm's settings with all flags of its command line, and their known values."""
    module = algorithms.algorithm(name)
    presets = ("auto", *module.PRESETS)
    games = sorted(env_id[len("ALE/") : -len("-v5")] for env_id in atari_nicknames().values())
    env_ids = (*games, *SUGGESTED)
    env = Annotated[Literal[env_ids], tyro.conf.arg(name="env")]  # pyright: ignore
    preset = Literal[presets]  # pyright: ignore
    fresh = tyro.conf.FlagCreatePairsOff[bool]
    values = {
        "env_id": (env, "Pong"),
        "preset": (preset, "auto"),
        "resume": (Path | None, None),
        "fresh_episodes": (fresh, False),
        "plugin": (Path | None, None),
    }
    return dataclasses.make_dataclass(
        name,
        [(field, kind, dataclasses.field(default=each)) for field, (kind, each) in values.items()],
        bases=(module.Config,),
        kw_only=True,
        frozen=True,
    )
