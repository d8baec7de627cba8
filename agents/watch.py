"""Plays a trained agent live: in a window, in the terminal, or into a film.

    joystick watch runs/<run>

A dataset's first episode is replayed in place of it, and a checkpoint of Stable-Baselines3 needs
`--env`. q, Escape and Ctrl-C end it.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from agents.core.runs.run import Run
from demos.actions import checked
from demos.commands.replaying import Replay, checked_target, show
from demos.metadata import FILE
from demos.policies import Policy, resolve
from demos.replaying import Moment, checked_speed
from demos.shipped import shipped
from envs import EnvSpec, UserError, command_line, spec
from envs.action_names import action_name
from envs.backends import open_pool
from envs.entry import command as one_line_errors
from envs.tapes import tape_seed
from envs.text import plain
from envs.video import fps_of


@dataclass(frozen=True, kw_only=True)
class Arguments:
    what: tyro.conf.Positional[Path]  # A run's directory, an SB3 zip, or a dataset.
    env_id: Annotated[str, tyro.conf.arg(name="env")] = ""  # Environment of an SB3 zip.
    episodes: int = 1  # Whole games to play.
    seed: int = 0  # Seed of the games.
    exploration: float | None = None  # ε or temperature; by default the run's own.
    to: str | None = None  # window, terminal, FILE.mp4 or FILE.gif; None is what there is.
    speed: float = 1.0  # Times as fast as real time.
    most_steps: int = 0  # Steps of a game at most; 0 is its own limit.


def watch(arguments: Arguments) -> int:
    """Play or replay what was named; returns the exit code.

    Raises:
        UserError: there is no such thing, or nowhere to show it.
    """
    what = str(arguments.what)
    speed = checked_speed(arguments.speed)
    target = checked_target(arguments.to)
    if arguments.episodes < 1:
        raise UserError(f"--episodes {arguments.episodes}: must be at least 1")
    if (arguments.what / FILE).exists() or what in shipped():
        return Replay(dataset=arguments.what, to=arguments.to, speed=arguments.speed).run()
    if what.endswith(".zip"):
        if not arguments.env_id:
            raise UserError(f"{plain(what)}: name its environment with --env")
        played, name = spec(arguments.env_id), f"sb3:{what}"
    else:
        run = Run.open(arguments.what)
        run.require_no_links()
        played, name = EnvSpec.from_json(run.config()["env_spec"]), what
    played = played.bounded(arguments.most_steps)
    policy = resolve(name, played, arguments.seed, arguments.exploration)
    title = plain(f"{arguments.what.name} on {played.env_id}")
    with closing(games(played, policy, arguments.seed, arguments.episodes)) as shown:
        return show(shown, title, speed * fps_of(played), target)


def games(
    played: EnvSpec, policy: Policy, seed: int, episodes: int
) -> Generator[Moment, None, None]:
    """The moments of whole games, one game after the other."""
    for number in range(episodes):
        yield from game(played, policy, seed, number)


def game(played: EnvSpec, policy: Policy, seed: int, number: int) -> Iterator[Moment]:
    """The moments of one game, as it is played.

    One environment shows what the policy sees, and a second one beside it, of the same seed and
    actions, the pictures.
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
        total = 0.0
        yield moment(picture, number, 0, total, "none yet")
        for step in count(1):
            returned = policy.act(obs.copy(), start.copy())
            actions = checked(policy.name, returned, seen.single_action_space, 1)
            seen.send(actions)
            drawn.send(actions)
            now = seen.recv()
            then = drawn.recv()
            obs = now.obs
            start = now.terminated | now.truncated
            total += float(now.reward[0])
            picture = then.obs if then.final_obs is None else then.final_obs
            yield moment(picture, number, step, total, action_name(played, actions[0]))
            if start[0] or step >= played.most_steps > 0:
                return


def moment(pictures: np.ndarray, number: int, step: int, total: float, done: str) -> Moment:
    """What is shown of a step, and written below it."""
    picture = pictures.reshape(pictures.shape[-3:])
    return Moment(picture, (f"game {number}   step {step}   return {total:g}", f"action {done}"))


def main(args: list[str] | None = None) -> None:
    with one_line_errors():
        arguments = command_line.parse(
            Arguments, args=args, prog="joystick watch", description=__doc__
        )
        sys.exit(watch(arguments))


if __name__ == "__main__":
    main()
