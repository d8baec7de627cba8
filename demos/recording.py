"""Recording: a policy plays whole episodes, each on a tape of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

import numpy as np

import envs
from demos.actions import checked
from demos.episode import Episode, Witness, newest
from demos.verification import verify
from envs import EnvSpec, Tape, signals


class Policy(Protocol):
    """Whoever plays N games at a time.

    Attributes:
        name: as `record --policy` has it; it is kept with each episode.
    """

    name: str

    def begin(self, games: int) -> None:
        """So many new games begin, and the ones before are over."""
        ...

    def act(self, obs: np.ndarray, start: np.ndarray) -> np.ndarray:
        """The actions (N, ...) on observations (N, ...); a list is as good as an array.

        Args:
            obs: a copy that may be written to.
            start: bool (N,), the observation is the first of its episode.
        """
        ...


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
) -> Iterator[Episode]:
    """Yields episodes as they end, every one that was begun: the first to end are the short ones.

    Game k is always the same seeded one, whatever `num_envs` is. The first episode is lived again:
    where that is not what was recorded, each episode has its observations.

    Args:
        spec: an episode ends at its limit at the latest (`EnvSpec.bounded`).
        first_game: the number of the first game; those before it are not played.
        replayable: whether episodes replay, where that is known from other episodes.

    Raises:
        Interrupted: a signal asked the process to end; the episodes that were yielded are whole.
        UserError: the policy returned what is no action of the environment (`demos.actions`).
    """
    judge = Judge(replayable)
    end = first_game + episodes
    for first in range(first_game, end, num_envs):
        count = min(num_envs, end - first)
        yield from _round(spec, policy, count, first, seed, num_threads, judge)


class Judge:
    """Finds out with the first episode whether episodes replay from their seed and actions.

    Attributes:
        replayable: None as long as nothing is known.
    """

    def __init__(self, replayable: bool | None = None) -> None:
        self.replayable = replayable

    def judged(self, episode: Episode) -> Episode:
        """The episode, without its observations where it can do without."""
        bare = replace(episode, observations=None)
        if self.replayable is None:
            self.replayable = verify(bare) is None
        return bare if self.replayable else episode


class Game:
    """All that is kept of one game while it is played.

    Attributes:
        rewards: of the steps so far.
    """

    def __init__(self, spec: EnvSpec, first_obs: np.ndarray):
        self._spec, self._witness = spec, Witness(spec, first_obs)
        self.rewards: list[float] = []
        self._terminated = False
        self._observations: list[np.ndarray] | None = [newest(spec, first_obs).copy()]

    def step(self, obs: np.ndarray, reward: float, terminated: bool, truncated: bool) -> None:
        """One step, and the observation that it led to, at an end the final one."""
        self._witness.step(obs, reward, terminated, truncated)
        self.rewards.append(reward)
        self._terminated = terminated
        if self._observations is not None:
            self._observations.append(newest(self._spec, obs).copy())

    def forget_observations(self) -> None:
        """The episode replays: it will have none."""
        self._observations = None

    def episode(self, tape: Tape, policy: str) -> Episode:
        """The whole game, with observations unless they were forgotten."""
        return Episode(
            spec=self._spec,
            seed=tape.seed,
            actions=tape.actions,
            rewards=np.array(self.rewards, np.float32),
            terminated=self._terminated,
            digests=self._witness.digests(),
            policy=policy,
            observations=None if self._observations is None else np.stack(self._observations),
        )


def _round(
    spec: EnvSpec,
    policy: Policy,
    count: int,
    first: int,
    seed: int,
    num_threads: int | None,
    judge: Judge,
) -> Iterator[Episode]:
    """One episode of each of `count` environments, the run's from `first` on."""
    policy.begin(count)
    env = envs.make(spec, count, seed=seed, tape_steps=1, num_threads=num_threads, first_env=first)
    try:
        obs, _ = env.reset()
        games = [Game(spec, each) for each in obs]
        playing, start = np.ones(count, bool), np.ones(count, bool)
        while playing.any():
            signals.check()
            # Policies may write to what they are given: it is theirs, and so are the flags.
            returned = policy.act(obs.copy(), start.copy())
            actions = checked(policy.name, returned, env.single_action_space, count)
            obs, reward, terminated, truncated, info = env.step(actions)
            start = terminated | truncated
            reached = np.where(
                start.reshape(-1, *(1,) * (obs.ndim - 1)), info.get("final_obs", obs), obs
            )
            for i in np.flatnonzero(playing):
                if judge.replayable:
                    games[i].forget_observations()
                games[i].step(reached[i], float(reward[i]), bool(terminated[i]), bool(truncated[i]))
                if start[i]:
                    playing[i] = False
                    yield judge.judged(games[i].episode(info["tape"][i], policy.name))
    finally:
        env.close()
