"""Plays a trained agent live: in a window, in the terminal, or into a film.

    joystick watch runs/<run>

A run's agent and a checkpoint of Stable-Baselines3 play new games. The checkpoint needs `--env`.
The episodes of a dataset are replayed. q, Escape and Ctrl-C stop it.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from agents.core.runs.run import Run
from agents.core.system.device import tune_process
from agents.core.training.config import flag, require
from agents.core.training.demonstrator import Demonstrator
from demos.commands.replaying import checked_target, show
from demos.dataset import Dataset
from demos.policies import Policy, resolve
from demos.recording import chosen
from demos.replaying import Moment, checked_speed, moments, one_episode
from demos.shipped import names_dataset, opened, shipped
from envs import EnvSpec, UserError, command_line, spec
from envs.action_names import action_name
from envs.backends import open_pool
from envs.entry import command as one_line_errors
from envs.errors import NotReproduced, did_you_mean
from envs.pool import Transition
from envs.tapes import tape_seed
from envs.text import plain
from envs.video import fps_of


@dataclass(frozen=True, kw_only=True)
class Arguments:
    what: tyro.conf.Positional[Path]  # Directory of a run, an SB3 zip, or a dataset.
    env_id: Annotated[str | None, tyro.conf.arg(name="env")] = None  # Environment of an SB3 zip.
    episodes: int = 1  # Whole games to play, or recorded episodes to replay.
    seed: int | None = None  # Seed of the games; None is 0.
    exploration: float | None = None  # ε or temperature; None is the agent's evaluation value.
    checkpoint: Literal["best", "last"] | None = None  # Weights of a run; None is the best.
    device: Literal["auto", "cpu", "cuda"] | None = None  # Device of a run's network; None is auto.
    to: str | None = None
    """window, terminal, FILE.mp4 or FILE.gif; None takes a window, or else the terminal."""
    speed: float = 1.0  # Speed of the film; 1 is real time.
    most_steps: int = 0  # Longest game, in steps; 0 is the environment's own limit.


@dataclass(frozen=True)
class Showing:
    """A film in progress.

    Attributes:
        spec: the environment.
        moments: one moment per step; closing the generator closes the environments.
    """

    spec: EnvSpec
    moments: Generator[Moment, None, None]


def watch(arguments: Arguments) -> int:
    """Plays or replays the named agent or dataset; returns the exit code.

    Raises:
        UserError: there is no such agent or dataset, an option does not apply to it, or there is
            neither a display nor a terminal.
    """
    speed = checked_speed(arguments.speed)
    target = checked_target(arguments.to)
    require(arguments.episodes >= 1, "episodes", arguments.episodes, "at least 1")
    require(arguments.most_steps >= 0, "most_steps", arguments.most_steps, "at least 0")
    if arguments.seed is not None:
        require(arguments.seed >= 0, "seed", arguments.seed, "at least 0")
    showing = showing_of(arguments)
    title = plain(f"{arguments.what.name} on {showing.spec.env_id}")
    with closing(showing.moments) as shown:
        return show(shown, title, speed * fps_of(showing.spec), target)


def showing_of(arguments: Arguments) -> Showing:
    """The film of the named agent or dataset; a path wins over the name of a shipped dataset."""
    what = arguments.what
    if names_dataset(what):
        return of_dataset(arguments)
    if what.suffix == ".zip" and not what.is_dir():
        return of_zip(arguments)
    return of_run(arguments)


def of_dataset(arguments: Arguments) -> Showing:
    """The film of the first episodes of a dataset, as they were recorded."""
    why = f"the episodes of {plain(arguments.what)} are recorded, nothing plays them"
    refuse(arguments, ("env_id", "seed", "exploration", "checkpoint", "device"), why)
    dataset = opened(arguments.what)
    found = len(dataset.files())
    if arguments.episodes > max(found, 1):
        allowed = f"1 to {found}, because {plain(arguments.what)} has {found}"
        raise UserError(f"--episodes {arguments.episodes}: must be {allowed}")
    replayed = recorded(dataset, arguments.episodes, arguments.most_steps)
    return Showing(dataset.metadata.spec, replayed)


def of_zip(arguments: Arguments) -> Showing:
    """The film of new games of a checkpoint of Stable-Baselines3."""
    named = plain(arguments.what)
    refuse(
        arguments, ("checkpoint", "device"), f"{named} is one checkpoint, which plays on the CPU"
    )
    if not arguments.what.expanduser().is_file():
        raise UserError(f"{named} is not a file")
    if arguments.env_id is None:
        raise UserError(f"{named}: name its environment with --env")
    played = spec(arguments.env_id).bounded(arguments.most_steps)
    seed = arguments.seed or 0
    policy = resolve(f"sb3:{arguments.what}", played, seed, arguments.exploration)
    return Showing(played, games(played, policy, seed, arguments.episodes))


def of_run(arguments: Arguments) -> Showing:
    """The film of new games of a run's agent."""
    run = opened_run(arguments.what)
    refuse(arguments, ("env_id",), f"{plain(run.path)} names its own environment")
    run.require_no_links()
    tune_process()
    played = EnvSpec.from_json(run.config()["env_spec"]).bounded(arguments.most_steps)
    seed = arguments.seed or 0
    checkpoint = arguments.checkpoint or "best"
    device = arguments.device or "auto"
    policy = Demonstrator(run, played, seed, arguments.exploration, checkpoint, device)
    return Showing(played, games(played, policy, seed, arguments.episodes))


def opened_run(path: Path) -> Run:
    """Opens the run at a path; if the path is missing, the error names all that can be watched."""
    try:
        return Run.open(path)
    except UserError as error:
        if path.expanduser().exists():
            raise
        known = shipped()
        others = f"(an SB3 zip and a dataset are allowed too, shipped are: {', '.join(known)})"
        near = "" if "did you mean" in str(error) else did_you_mean(path.name, known)
        raise UserError(f"{error} {others}{near}") from None


def refuse(arguments: Arguments, names: tuple[str, ...], why: str) -> None:
    """Raises a UserError if one of these options was given, because it would have no effect."""
    for name in names:
        value = getattr(arguments, name)
        if value is not None:
            raise UserError(f"{flag(name)} {plain(value)}: {why}")


def recorded(dataset: Dataset, episodes: int, most_steps: int) -> Generator[Moment, None, None]:
    """Yields the moments of a dataset's first episodes, one after the other."""
    for number in range(episodes):
        with closing(moments(one_episode(dataset, number))) as episode:
            for each in islice(episode, most_steps + 1 if most_steps else None):
                counted, *others = each.lines
                yield replace(each, lines=(f"episode {number}   {counted}", *others))


def games(
    played: EnvSpec, policy: Policy, seed: int, episodes: int
) -> Generator[Moment, None, None]:
    """Yields the moments of whole games, one game after the other."""
    for number in range(episodes):
        yield from game(played, policy, seed, number)


def game(played: EnvSpec, policy: Policy, seed: int, number: int) -> Iterator[Moment]:
    """Yields the moments of one game while it is played.

    One environment gives the policy's observations. A second one, with the same seed and actions,
    gives the pictures.

    Raises:
        NotReproduced: the two environments differ, so the pictures would show another game.
    """
    seeds = np.array([tape_seed(seed, 0, number)])
    both = np.array([True])
    with (
        closing(open_pool(played, num_envs=1, num_threads=1)) as seen,
        closing(open_pool(played, num_envs=1, num_threads=1, rgb=True)) as drawn,
    ):
        obs = seen.reset(seeds, both)[0]
        picture = drawn.reset(seeds, both)[0]
        policy.begin(1)
        start = both
        reward = np.zeros(1, np.float32)
        total = 0.0
        yield moment(picture, number, 0, total, "none yet")
        for step in count(1):
            space = seen.single_action_space
            actions = chosen(policy, space, obs, start, reward, seen.legal)
            seen.send(actions)
            drawn.send(actions)
            now = seen.recv()
            then = drawn.recv()
            require_same_game(played, now, then)
            obs = now.obs
            reward = now.reward
            start = now.terminated | now.truncated
            total += float(now.reward[0])
            picture = then.obs if then.final_obs is None else then.final_obs
            yield moment(picture, number, step, total, action_name(played, actions[0]))
            if start[0] or step >= played.most_steps > 0:
                return


def require_same_game(played: EnvSpec, seen: Transition, drawn: Transition) -> None:
    """Raises NotReproduced if the two environments differ in a reward or an end."""
    pairs = (
        (seen.reward, drawn.reward),
        (seen.terminated, drawn.terminated),
        (seen.truncated, drawn.truncated),
    )
    if not all(np.array_equal(ours, theirs, equal_nan=True) for ours, theirs in pairs):
        raise NotReproduced(
            f"{played.env_id} does not replay from seed and actions: the pictures would show"
            " another game than the agent plays"
        )


def moment(pictures: np.ndarray, number: int, step: int, total: float, done: str) -> Moment:
    """The picture and the caption of a step."""
    picture = pictures.reshape(pictures.shape[-3:])
    return Moment(picture, (f"game {number}   step {step}   return {total:g}", f"action {done}"))


def main(args: list[str] | None = None) -> None:
    """Runs the command and exits; the exit code is 2 on bad input."""
    with one_line_errors():
        arguments = command_line.parse(
            Arguments, args=args, prog="joystick watch", description=__doc__
        )
        sys.exit(watch(arguments))


if __name__ == "__main__":
    main()
