"""Agents that learn from what their present policy did, once, and forget it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from agents.core.data.rollouts import Rollout, RolloutConfig
from agents.core.math import schedules
from agents.core.nets.networks import ActorCritic, ActorCriticConfig
from agents.core.optimize.acting import sample_policy, state_values
from agents.core.optimize.learner import Learner, LearnerConfig
from agents.core.types.batches import Sequences
from agents.core.types.env_rng import EnvRng
from agents.core.types.spaces import Spaces
from agents.core.types.step import ActOutput, Obs, Step
from envs import schema


class OnPolicyConfig(LearnerConfig, ActorCriticConfig, RolloutConfig, Protocol):
    """The settings that an on-policy agent reads from an algorithm's config."""

    @property
    def total_steps(self) -> int: ...


class Method(Protocol):
    """The mathematics of an algorithm."""

    def improve(self, rollout: Rollout, step: int) -> dict[str, Tensor]:
        """Update the network on a rollout that began at a step of the run; returns what to log."""
        ...

    def loss(self, batch: Sequences) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of each step of a minibatch, and other values of each."""
        ...


C = TypeVar("C", bound=OnPolicyConfig)


class OnPolicyAgent:
    """EnvRng from an actor-critic's policy, and has a method improve it on what that led to.

    Args:
        method: what makes the algorithm's mathematics of its config and the learner.
    """

    explores_by, can_overlap = "temperature", False

    def __init__(
        self,
        config: C,
        spaces: Spaces,
        device: torch.device,
        method: Callable[[C, Learner], Method],
    ):
        self.config, self.spaces = config, spaces
        self.network = ActorCritic(config, spaces)
        self.learner = Learner(self.network, config, device)
        self.rollout = Rollout(config, spaces, device, self.network.memory_size)
        self.method = method(config, self.learner)
        self.horizon_steps, self.memory_size = config.horizon_steps, self.rollout.memory_size
        self.exploration, self.loss = schedules.constant(1.0), self.method.loss
        self.steps = 0

    def prepare(self) -> None:
        self.rollout.allocate()

    def act(self, obs: Obs, memory_NS: Tensor, rng: EnvRng, exploration: float) -> ActOutput:
        return sample_policy(self.learner, self.spaces, obs, memory_NS, rng, exploration)

    def observe(self, step: Step) -> None:
        beyond = self.rollout.add(step)
        if beyond is not None:
            value_B = state_values(self.learner, beyond.obs_B, beyond.memory_BS)
            self.rollout.complete(beyond, value_B)

    def end_episodes(self) -> None:
        self.rollout.end_episodes()

    def learn(self) -> dict[str, Tensor]:
        """What the method makes of the rollout."""
        metrics = self.method.improve(self.rollout, self.steps)
        self.steps += self.rollout.size
        # The statistics of observations take in a rollout after it was learned from.
        self.network.normalizer.update(self.rollout.kept["obs"])
        self.rollout.clear()
        return metrics

    def state_dict(self, store: Any) -> dict[str, Any]:
        return {
            "learner": self.learner.state_dict(),
            "rollout": self.rollout.state_dict(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any], store: Any) -> None:
        self.learner.load_state_dict(state["learner"])
        self.rollout.load_state_dict(state["rollout"])
        self.steps = schema.natural(state["steps"], "steps")
