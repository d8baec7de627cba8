"""Coaching: an expert labels the states that a learner visits, and sometimes plays in its place.

DAgger: Ross et al. 2011, https://arxiv.org/abs/1011.0686. Takeovers are HG-DAgger's: Kelly et al.
2019, https://arxiv.org/abs/1810.02890.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from gymnasium import Space

from demos.actions import bounds
from demos.recording import Labels, Policy, chosen

FAR = 0.1
"""Two numbers of a continuous action differ if they are this share of the bounds apart."""


@dataclass(frozen=True)
class Seen:
    """What a player sees of N games; the arguments of `Policy.act`."""

    obs: np.ndarray
    start: np.ndarray
    reward: np.ndarray
    legal: np.ndarray | None

    def chosen_by(self, policy: Policy, space: Space) -> np.ndarray:
        """A policy's actions here; raises a UserError as `demos.recording.chosen`."""
        return chosen(policy, space, self.obs, self.start, self.reward, self.legal)


@dataclass(frozen=True)
class Advice:
    """An expert's decision in N games.

    Attributes:
        action_N: the expert's actions; where it says nothing, the learner's.
        plays_N: bool, the expert plays this step in the learner's place.
        labeled_N: bool, the action is a label to learn from.
    """

    action_N: np.ndarray
    plays_N: np.ndarray
    labeled_N: np.ndarray


class Coach(Protocol):
    """An expert who decides when to play and which steps to label: a policy, or a person.

    Attributes:
        name: the name of the expert, with its rule.
    """

    name: str

    def begin(self, games: int) -> None:
        """Begins this many new games; the earlier games are over."""
        ...

    def advise(self, seen: Seen, own_N: np.ndarray) -> Advice:
        """Decides about one step of N games.

        Args:
            own_N: the actions that the learner chose.
        """
        ...


class Asked:
    """An expert policy, whose actions are checked."""

    def __init__(self, expert: Policy, space: Space):
        self.expert = expert
        self.space = space

    def begin(self, games: int) -> None:
        self.expert.begin(games)

    def act(self, seen: Seen) -> np.ndarray:
        """The expert's actions in N games; raises a UserError as `demos.actions.checked`."""
        return seen.chosen_by(self.expert, self.space)


class Mixture:
    """Labels every step, and plays each with probability β: algorithm 3.1 of DAgger.

    Args:
        beta: the probability β.
        seed: seed of the draws.
    """

    def __init__(self, expert: Policy, space: Space, beta: float, seed: int):
        self.asked = Asked(expert, space)
        self.beta = beta
        self.rng = np.random.default_rng(seed)
        self.name = f"{expert.name} (β {beta:g})"

    def begin(self, games: int) -> None:
        self.asked.begin(games)

    def advise(self, seen: Seen, own_N: np.ndarray) -> Advice:
        plays_N = self.rng.random(len(own_N)) < self.beta
        return Advice(self.asked.act(seen), plays_N, np.ones(len(own_N), bool))


class Takeover:
    """Takes over when the learner errs more often than not, and labels only what it plays itself.

    An error of the learner counts 1, and a step without an error takes 1 away, down to 0. The
    expert takes over at a count of `patience_steps`. It gives back by the same rule, when the
    learner would have acted as it did.
    """

    def __init__(self, expert: Policy, space: Space, patience_steps: int):
        self.asked = Asked(expert, space)
        self.patience_steps = patience_steps
        self.name = f"{expert.name} (takes over after {patience_steps} errors)"

    def begin(self, games: int) -> None:
        self.asked.begin(games)
        self.plays_N = np.zeros(games, bool)
        self.against_N = np.zeros(games, np.int64)

    def advise(self, seen: Seen, own_N: np.ndarray) -> Advice:
        action_N = self.asked.act(seen)
        self.plays_N[seen.start] = False
        self.against_N[seen.start] = 0
        # Errors speak against a learner who plays, and right actions against an expert who plays.
        against_N = differ(self.asked.space, action_N, own_N) != self.plays_N
        self.against_N = np.maximum(self.against_N + np.where(against_N, 1, -1), 0)
        changes_N = self.against_N >= self.patience_steps
        self.plays_N = self.plays_N ^ changes_N
        self.against_N[changes_N] = 0
        return Advice(action_N, self.plays_N.copy(), self.plays_N.copy())


class Coached:
    """A learner with a coach, as a `Policy` to record.

    Attributes:
        labels: the labels of the last step.
    """

    def __init__(self, coach: Coach, learner: Policy, space: Space):
        self.coach = coach
        self.learner = learner
        self.space = space
        self.name = f"{learner.name} with {coach.name}"

    def begin(self, games: int) -> None:
        self.coach.begin(games)
        self.learner.begin(games)

    def act(
        self,
        obs: np.ndarray,
        start: np.ndarray,
        reward: np.ndarray | None = None,
        legal: np.ndarray | None = None,
    ) -> np.ndarray:
        reward_N = np.zeros(len(obs), np.float32) if reward is None else reward
        seen = Seen(obs, start, reward_N, legal)
        own_N = seen.chosen_by(self.learner, self.space)
        advice = self.coach.advise(seen, own_N)
        self.labels = Labels(advice.action_N, advice.labeled_N)
        plays_N = advice.plays_N.reshape(-1, *(1,) * (own_N.ndim - 1))
        return np.where(plays_N, advice.action_N, own_N)


def differ(space: Space, first_N: np.ndarray, second_N: np.ndarray) -> np.ndarray:
    """Whether actions of N games are different, bool (N,); close continuous actions are not."""
    apart: np.ndarray = np.not_equal(first_N, second_N)
    if first_N.dtype.kind == "f":
        low, high = bounds(space)
        apart = np.abs(first_N - second_N) > FAR * (high - low)
    return np.any(apart.reshape(len(first_N), -1), axis=1)
