"""Recording: a policy plays whole episodes, each on a tape of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

import envs
from demos.episode import Episode, Witness
from envs import EnvSpec


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
        """The actions (N, ...) on observations (N, ...).

        Args:
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
) -> Iterator[Episode]:
    """Yields episodes as they end, every one that was begun: the first to end are the short ones.

    Game k is always the same seeded one, whatever `num_envs` is.
    """
    for first in range(0, episodes, num_envs):
        count = min(num_envs, episodes - first)
        yield from _round(spec, policy, count, first, seed, num_threads)


def _round(
    spec: EnvSpec, policy: Policy, count: int, first: int, seed: int, num_threads: int | None
) -> Iterator[Episode]:
    """One episode of each of `count` environments, the run's from `first` on."""
    policy.begin(count)
    env = envs.make(spec, count, seed=seed, tape_steps=1, num_threads=num_threads, first_env=first)
    try:
        obs, _ = env.reset()
        witnesses = [Witness(spec, each) for each in obs]
        rewards: list[list[float]] = [[] for _ in range(count)]
        playing, start = np.ones(count, bool), np.ones(count, bool)
        while playing.any():
            obs, reward, terminated, truncated, info = env.step(policy.act(obs, start))
            start = terminated | truncated
            reached = np.where(
                start.reshape(-1, *(1,) * (obs.ndim - 1)), info.get("final_obs", obs), obs
            )
            for i in np.flatnonzero(playing):
                rewards[i].append(float(reward[i]))
                witnesses[i].step(
                    reached[i], float(reward[i]), bool(terminated[i]), bool(truncated[i])
                )
                if start[i]:
                    playing[i] = False
                    tape = info["tape"][i]
                    yield Episode(
                        spec=spec,
                        seed=tape.seed,
                        actions=tape.actions,
                        rewards=np.array(rewards[i], np.float32),
                        terminated=bool(terminated[i]),
                        digests=witnesses[i].digests(),
                        policy=policy.name,
                    )
    finally:
        env.close()
