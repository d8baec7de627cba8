"""A person plays whole games in a window, and saves or discards each game.

The played environment emits only pictures. Its tape is then replayed with the environment's own
observations, and the replay becomes the episode. So each saved game is proved to replay.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, Literal

import numpy as np

from demos import recording
from demos import window as windows
from demos.episode import Episode
from demos.keys import Controls, controls_of
from demos.replaying import Moment
from demos.window import Screen, window
from envs import EnvSpec, Tape, UserError, replay
from envs.action_names import action_name
from envs.backends import open_pool
from envs.masks import are_legal
from envs.output import tell
from envs.pool import Pool
from envs.screens import shows_windows, wished_driver
from envs.tapes import action_dtype, playable_actions, tape_seed
from envs.video import fps_of

NAME = "human"

State = Literal["paused", "playing", "asked", "over", "saved", "discarded", "quit"]

WITHOUT_DISPLAY = f"{windows.WITHOUT_DISPLAY}, or --policy script:module:function plays instead"

ENTER, DISCARD = {"return", "enter"}, {"d", "backspace"}

DEAF_S = 1.0
"""Seconds after a game's end in which keys do not count: they were meant for the game."""

SAID: dict[State, tuple[str, str]] = {
    "asked": ("Only whole games are kept", "enter goes on, d discards, q quits"),
    "over": ("GAME OVER", "s saves, d discards, q quits"),
}


class Game:
    """One game from its seeded reset on, as the person sees it.

    Attributes:
        picture: uint8 (H, W, 3), the current picture.
        actions, rewards: the actions and rewards of the steps so far.
        refused: the illegal action that the person tried since the last step; None if there is
            none.
    """

    def __init__(self, spec: EnvSpec, pool: Pool, seed: int):
        self.spec, self._pool, self._seed = spec, pool, seed
        self.actions: list[Any] = []
        self.rewards: list[float] = []
        self.terminated = self.truncated = False
        self.refused: Any = None
        self._see(pool.reset(np.array([seed]), np.array([True]))[0])

    def step(self, action: Any) -> None:
        """Plays an action; raises UserError if the environment does not have it."""
        played = playable_actions(self._pool.single_action_space, np.asarray(action)[None])
        self._pool.send(played)
        now = self._pool.recv()
        self.refused = None
        self.actions.append(played[0])
        self.rewards.append(float(now.reward[0]))
        self.terminated, self.truncated = bool(now.terminated[0]), bool(now.truncated[0])
        self._see(now.obs if now.final_obs is None else now.final_obs)

    def allows(self, action: Any) -> bool:
        """Whether the environment's mask allows an action now."""
        space = self._pool.single_action_space
        return bool(are_legal(space, np.asarray(action)[None], self._pool.legal).all())

    @property
    def over(self) -> bool:
        return self.terminated or self.truncated

    @property
    def tape(self) -> Tape:
        """The tape of the game so far."""
        dtype = action_dtype(self._pool.single_action_space)
        return Tape(self.spec, self._seed, np.array(self.actions, dtype))

    def _see(self, pictures: np.ndarray) -> None:
        self.picture = pictures.reshape(pictures.shape[-3:])


@contextmanager
def seat(
    spec: EnvSpec, seed: int, speed: float, first_game: int = 0
) -> Iterator[Iterator[Episode]]:
    """Yields the games that a person plays in a window and saves, until the person quits.

    Args:
        first_game: the number of the first game.

    Raises:
        UserError: there is no display, or the environment cannot be drawn or played with keys.
    """
    # The window opens first, so that a missing display fails before the environment is built.
    with window(spec.env_id, speed * fps_of(spec), WITHOUT_DISPLAY) as screen:
        pool = open_pool(spec, num_envs=1, num_threads=1, rgb=True)
        try:
            controls = controls_of(spec, pool.single_action_space)
            tell(f"{controls}\n  p: pause, enter: stop, q or Escape: quit")
            if not shows_windows():
                tell(f"  SDL_VIDEODRIVER={wished_driver()} shows no window: unset it to play")
            yield games(spec, pool, controls, screen, seed, DEAF_S, first_game)
        finally:
            pool.close()


def games(
    spec: EnvSpec,
    pool: Pool,
    controls: Controls,
    screen: Screen,
    seed: int,
    deaf_s: float,
    first_game: int = 0,
) -> Iterator[Episode]:
    """Yields the saved games; game k always has the same seed."""
    saved = 0
    for number in count(first_game):
        game = Game(spec, pool, tape_seed(seed, 0, number))
        verdict = one_game(game, controls, screen, saved, deaf_s)
        if verdict == "quit":
            return
        if verdict == "saved":
            saved += 1
            yield proved(game)


def one_game(game: Game, controls: Controls, screen: Screen, saved: int, deaf_s: float) -> State:
    """Lets the person play until the state is "saved", "discarded" or "quit"."""
    state: State = "paused"
    hears_from = 0.0
    while state not in ("saved", "discarded"):
        screen.show(Moment(game.picture, lines(game, state, saved, controls.keys)))
        keys = screen.wait()
        if keys.quits:
            return "quit"
        if time.perf_counter() < hears_from:
            continue
        state = after(state, set(keys.struck), controls.keys)
        if state != "playing":
            continue
        action = controls.action(keys)
        if action is None:
            continue
        if not game.allows(action):
            game.refused = action
            continue
        game.step(action)
        if game.over:
            state = "over"
            hears_from = time.perf_counter() + deaf_s
    return state


def after(state: State, struck: set[str], game_keys: frozenset[str]) -> State:
    """The state that follows `state` once these keys were struck."""
    if state in ("over", "asked") and struck & DISCARD:
        return "discarded"
    if state == "over":
        return "saved" if "s" in struck else state
    if struck & ENTER:
        return "playing" if state == "asked" else "asked"
    if state == "playing":
        return "paused" if "p" in struck else state
    return "playing" if state == "paused" and struck & {"p", *game_keys} else state


def lines(game: Game, state: State, saved: int, keys: frozenset[str]) -> tuple[str, ...]:
    """The lines of text below the game."""
    counted = f"step {len(game.actions)}   return {sum(game.rewards):g}   {saved} saved"
    if state == "paused":
        return (
            counted,
            "PAUSED   p or a key of the game goes on",
            f"keys: {', '.join(sorted(keys))}",
        )
    done = f"action {action_name(game.spec, game.actions[-1])}" if game.actions else ""
    if game.refused is not None:
        done = f"action {action_name(game.spec, game.refused)} is not allowed now"
    return counted, *SAID.get(state, (done, "p pauses, enter stops, q quits"))


def proved(game: Game) -> Episode:
    """Replays a finished game and returns its episode.

    Raises:
        UserError: the replay differs from the game, so the game cannot be saved.
    """
    steps = replay(game.tape)
    first_obs = next(steps)[0]
    again = recording.Game(game.spec, first_obs)
    ends = (False, False)
    again.forget_observations()
    for obs, reward, *ends in steps:
        again.step(obs, reward, *ends)
    if again.rewards != game.rewards or tuple(ends) != (game.terminated, game.truncated):
        raise UserError(f"{game.spec.env_id} does not replay from seed and actions")
    return again.episode(game.tape, NAME)
