"""Recording: a policy plays whole episodes; each episode has its own tape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np
from gymnasium import Space

import envs
from demos.actions import checked
from demos.episode import Episode, Witness, newest
from demos.verification import verify
from envs import EnvSpec, Tape, signals
from envs.masks import legal_in


class Policy(Protocol):
    """Plays N games at a time.

    Attributes:
        name: the name given to `record --policy`; each episode keeps it.
    """

    name: str

    def begin(self, games: int) -> None:
        """Begins this many new games; the earlier games are over."""
        ...

    def act(
        self,
        obs: np.ndarray,
        start: np.ndarray,
        reward: np.ndarray | None = None,
        legal: np.ndarray | None = None,
    ) -> np.ndarray:
        """Chooses actions (N, ...), an array or a list, from observations (N, ...).

        The arrays are copies; the policy may write to them.

        Args:
            start: bool (N,), true for the first observation of an episode.
            reward: float32 (N,), the rewards of the previous steps; 0 at an episode's start.
            legal: bool (N, A), the allowed actions; None if the environment has no masks.
        """
        ...


class Labels(NamedTuple):
    """An expert's labels of one step of N games.

    Attributes:
        action_N: the expert's actions, in the environment's form.
        given_N: bool, the expert gave this label.
    """

    action_N: np.ndarray
    given_N: np.ndarray


def record(
    spec: EnvSpec,
    policy: Policy,
    episodes: int,
    seed: int,
    num_envs: int = 8,
    num_threads: int | None = None,
    *,
    first_game: int = 0,
    replayable: bool | None = None,
    labels: Callable[[], Labels] | None = None,
) -> Iterator[Episode]:
    """Yields each episode once it ends. All episodes that begin are yielded, short ones first.

    Game k always has the same seed, for any `num_envs`. The first episode is replayed. If the
    replay differs from the recording, every episode stores its observations.

    Args:
        spec: needs a limit on the steps of an episode (`EnvSpec.bounded`).
        first_game: the number of the first game; earlier games are not played.
        replayable: whether episodes replay, if other episodes have already shown it.
        labels: gives the labels of the actions that the policy chose last; None without an expert.

    Raises:
        Interrupted: a signal asked the process to end; all yielded episodes are whole.
        UserError: the policy returned an action that the environment lacks or forbids
            (`demos.actions`).
    """
    judge = Judge(replayable)
    end = first_game + episodes
    for first in range(first_game, end, num_envs):
        count = min(num_envs, end - first)
        yield from _round(spec, policy, count, first, seed, num_threads, judge, labels)


class Judge:
    """Replays the first episode to learn whether episodes replay from seed and actions.

    Attributes:
        replayable: None until the first episode was judged.
    """

    def __init__(self, replayable: bool | None = None) -> None:
        self.replayable = replayable

    def judged(self, episode: Episode) -> Episode:
        """The episode, without its observations if episodes replay."""
        bare = replace(episode, observations=None)
        if self.replayable is None:
            self.replayable = verify(bare) is None
        return bare if self.replayable else episode


class Game:
    """Records one game while it is played.

    Attributes:
        rewards: the rewards of the steps so far.
    """

    def __init__(self, spec: EnvSpec, first_obs: np.ndarray):
        self._spec = spec
        self._witness = Witness(spec, first_obs)
        self.rewards: list[float] = []
        self._terminated = False
        self._observations: list[np.ndarray] | None = [newest(spec, first_obs).copy()]
        self._labels: list[np.ndarray] = []
        self._labeled: list[bool] = []

    def step(self, obs: np.ndarray, reward: float, terminated: bool, truncated: bool) -> None:
        """Records one step and the observation after it; at an end, the final observation."""
        self._witness.step(obs, reward, terminated, truncated)
        self.rewards.append(reward)
        self._terminated = terminated
        if self._observations is not None:
            self._observations.append(newest(self._spec, obs).copy())

    def label(self, action: np.ndarray, given: bool) -> None:
        """Records an expert's label of the next step."""
        self._labels.append(action.copy())
        self._labeled.append(given)

    def forget_observations(self) -> None:
        """Drops the observations, because the episode replays."""
        self._observations = None

    def episode(self, tape: Tape, policy: str) -> Episode:
        """The episode of the whole game, with its observations unless they were dropped."""
        return Episode(
            spec=self._spec,
            seed=tape.seed,
            actions=tape.actions,
            rewards=np.array(self.rewards, np.float32),
            terminated=self._terminated,
            digests=self._witness.digests(),
            policy=policy,
            observations=None if self._observations is None else np.stack(self._observations),
            labels=np.stack(self._labels).astype(tape.actions.dtype) if self._labels else None,
            labeled=np.array(self._labeled) if self._labels else None,
        )


def chosen(
    policy: Policy,
    space: Space,
    obs: np.ndarray,
    start: np.ndarray,
    reward: np.ndarray,
    legal: np.ndarray | None,
) -> np.ndarray:
    """The policy's actions for N games, checked.

    Args:
        reward: rewards of the previous steps, also at an episode's start.

    Raises:
        UserError: as `demos.actions.checked`.
    """
    # A policy may write to its arguments, so it gets copies.
    shown = None if legal is None else legal.copy()
    before = np.where(start, 0, reward).astype(np.float32)
    returned = policy.act(obs.copy(), start.copy(), before, shown)
    return checked(policy.name, returned, space, len(obs), legal)


def _round(
    spec: EnvSpec,
    policy: Policy,
    count: int,
    first: int,
    seed: int,
    num_threads: int | None,
    judge: Judge,
    labels: Callable[[], Labels] | None,
) -> Iterator[Episode]:
    """Yields one episode from each of `count` environments; the first has the number `first`."""
    policy.begin(count)
    env = envs.make(spec, count, seed=seed, tape_steps=1, num_threads=num_threads, first_env=first)
    try:
        obs, info = env.reset()
        games = [Game(spec, each) for each in obs]
        playing = np.ones(count, bool)
        start = np.ones(count, bool)
        reward = np.zeros(count, np.float32)
        while playing.any():
            signals.check()
            space = env.single_action_space
            actions = chosen(policy, space, obs, start, reward, legal_in(info))
            given = None if labels is None else labels()
            obs, reward, terminated, truncated, info = env.step(actions)
            start = terminated | truncated
            reached = np.where(
                start.reshape(-1, *(1,) * (obs.ndim - 1)), info.get("final_obs", obs), obs
            )
            for i in np.flatnonzero(playing):
                if judge.replayable:
                    games[i].forget_observations()
                if given is not None:
                    games[i].label(given.action_N[i], bool(given.given_N[i]))
                games[i].step(reached[i], float(reward[i]), bool(terminated[i]), bool(truncated[i]))
                if start[i]:
                    playing[i] = False
                    yield judge.judged(games[i].episode(info["tape"][i], policy.name))
    finally:
        env.close()
