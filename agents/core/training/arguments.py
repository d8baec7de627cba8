"""Parses the command line of an algorithm."""

from __future__ import annotations

import dataclasses
import sys
from types import ModuleType
from typing import Any, NamedTuple

import torch

import envs
from agents.core.runs import earlier_names
from agents.core.runs.run import Run
from agents.core.training import help
from agents.core.training.algorithms import command_of, name_of
from agents.core.training.config import MAY_CHANGE_ON_RESUME, BaseConfig, of_run
from agents.core.types.settings import flag, names, require, schedules
from envs import UserError, command_line, help_text
from envs.catalog import canonical_id
from envs.errors import did_you_mean
from envs.output import tell


class Command(NamedTuple):
    """A parsed command line.

    Attributes:
        resumed: the run to resume, if any.
        fresh_episodes: whether a resumed run begins new episodes instead of the interrupted ones.
    """

    config: BaseConfig
    resumed: Run | None
    fresh_episodes: bool


def parse(module: ModuleType, args: list[str]) -> Command:
    """Parses the command line of an algorithm.

    The defaults come from `--preset`, or from the run of `--resume`, whose other settings than
    `MAY_CHANGE_ON_RESUME` must stay.

    Raises:
        UserError: a flag or value is not allowed.
    """
    args = earlier_names.flags(command_line.hyphenated(args))
    first = command_line.Flags()
    first.add_argument("--preset", default="auto")
    first.add_argument("--env", default=None)
    first.add_argument("--resume", type=command_line.path, default=None)
    first.add_argument("--fresh-episodes", action="store_true")
    chosen, rest = first.parse_known_args(args)
    if chosen.fresh_episodes and chosen.resume is None:
        raise UserError("--fresh-episodes: only a run of --resume has episodes to replace")
    second = command_line.Flags()
    second.add_argument("--device", default="auto")
    device = second.parse_known_args(args)[0].device
    run = Run.open(chosen.resume) if chosen.resume else None
    if run is not None:
        require_algorithm(run, module)
        run.require_no_links()
        default = of_run(module.Config, run)
        same = chosen.preset in ("auto", default.preset)
        require(same, "preset", chosen.preset, f"{default.preset}, the run's preset")
    else:
        default = preset(module, chosen.preset, chosen.env, device)
    if {"-h", "--help"} & {*rest}:
        tell(help.text(module, default, help_text.width()))
        sys.exit(0)
    refuse_absent(module, rest)
    rest = earlier_names.schedules(rest, default)
    config = command_line.parse(
        module.Config,
        default=default,
        args=shaped(rest, default),
        prog=command_of(name_of(module)),
        description=None,
    )
    if run is not None:
        refuse_changes(default, config, chosen.env)
    config.validate()
    return Command(config, run, chosen.fresh_episodes)


def shaped(words: list[str], default: Any) -> list[str]:
    """The words, with a plain number of `--learning-rate` scaled to the default's schedule.

    People change the step size most. If the preset's step size falls, theirs falls alike.
    """

    def from_start(text: str) -> str:
        try:
            start = command_line.finite_number(text)
        except ValueError:
            return text
        return str(default.learning_rate.from_start(start)) if start > 0 else text

    return command_line.changed(words, "--learning-rate", from_start)


def held_schedules(module: ModuleType, config: Any) -> list[str]:
    """A line for each setting that is a schedule in the preset and constant in the run."""
    usual = module.PRESETS[config.preset]
    return [
        f"{flag(name)} {getattr(config, name)} is constant; the preset has {getattr(usual, name)}"
        for name in schedules(type(config))
        if getattr(usual, name).moves and not getattr(config, name).moves
    ]


def require_algorithm(run: Run, module: ModuleType) -> None:
    """Raises a UserError with the right command if another algorithm made the run."""
    name = name_of(module)
    if run.algo != name:
        raise UserError(
            f"{run.path} is a run of {run.algo}, and this is {name}; "
            f"{command_of(run.algo)} --resume {run.path} goes on with it"
        )


def preset(module: ModuleType, name: str, env_id: str | None, device: str) -> Any:
    """The preset of a name for an environment; `env_id` None is the preset's own environment.

    `auto` is `atari` for Atari games and `control` for everything else. On a GPU it is the preset
    with `-gpu` after its name, if that exists.
    """
    if name == "auto":
        atari = env_id is None or envs.spec(env_id).family == "atari"
        name = "atari" if atari else "control"
        on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        if on_gpu and f"{name}-gpu" in module.PRESETS:
            name = f"{name}-gpu"
        if name not in module.PRESETS:
            # A user's own algorithm may have other presets.
            name = next(iter(module.PRESETS))
    if name not in module.PRESETS:
        known = ["auto", *module.PRESETS]
        near = did_you_mean(name, known)
        raise UserError(f"unknown preset '{name}' (known: {', '.join(known)}){near}")
    chosen = {"preset": name} | ({"env_id": env_id} if env_id else {})
    return dataclasses.replace(module.PRESETS[name], **chosen)


def refuse_absent(module: ModuleType, words: list[str]) -> None:
    """Raises a UserError for the flag of a setting that only other algorithms have."""
    absent = {field.name for field in dataclasses.fields(module.Config) if not field.init}
    for word in words:
        name = command_line.flag_of(word)
        if name.removeprefix("--").removeprefix("no-").replace("-", "_") in absent:
            raise UserError(f"{name}: {name_of(module)} has no such setting")


def refuse_changes(saved: Any, config: Any, env_id: str | None) -> None:
    """Raises a UserError for a setting that a resumed run cannot change."""
    if env_id is not None and canonical_id(env_id) != canonical_id(saved.env_id):
        raise UserError(f"--env {env_id}: must be {saved.env_id}, the resumed run's environment")
    for name in names(type(saved)):
        before = getattr(saved, name)
        after = getattr(config, name)
        if before != after and name not in MAY_CHANGE_ON_RESUME:
            raise UserError(
                f"{flag(name)} {after}: a resumed run keeps its {before}; "
                f"only {', '.join(sorted(MAY_CHANGE_ON_RESUME))} may change"
            )
