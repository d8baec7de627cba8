"""Imitators that act: they learn from their own steps and from demonstrations.

This module holds both sources of data. An algorithm's own file holds its losses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from agents.core.data import demonstrations
from agents.core.data.demo_replay import DemoReplay
from agents.core.data.replay import Replay
from agents.core.data.replay_store import ChunkStore
from agents.core.data.samplers import Mixed
from agents.core.data.settings import DemoConfig
from agents.core.policies.policy import Policy
from agents.core.policies.soft import OffPolicyActor
from agents.core.training.config import TargetNetworkConfig, require
from agents.core.training.off_policy import Method, OffPolicyAlgorithm, ReplayAlgorithm
from agents.core.training.soft_actor_critic import SoftActorConfig, SoftActorCritic
from agents.core.types.step import Step


@dataclass(frozen=True, kw_only=True)
class MixtureConfig(DemoConfig):
    """How own steps and demonstrations are mixed."""

    title: ClassVar[str] = "Learning"

    demo_share: float = 0.5
    """This share of each minibatch is demonstrated."""
    life_loss_ends_return: bool = False
    """A lost life ends the return, and the game goes on; in demonstrations it does not."""

    def validate(self) -> None:
        super().validate()
        share = self.demo_share
        require(0 < share < 1, "demo_share", share, "above 0 and below 1")
        # Every config with this part has a batch size too.
        self.at_least(2, "batch_size")


@dataclass(frozen=True, kw_only=True)
class ImitationConfig(MixtureConfig, TargetNetworkConfig):
    """The settings of every value agent that learns from both sources."""

    title: ClassVar[str] = "Learning"

    def validate(self) -> None:
        super().validate()
        require(self.core == "none", "core", self.core, "none with demonstrations")


@dataclass(frozen=True, kw_only=True)
class SoftImitationConfig(MixtureConfig, SoftActorConfig):
    """The settings of every soft actor-critic that learns from both sources."""

    title: ClassVar[str] = "Learning"


class Imitating(ReplayAlgorithm):
    """A replay's algorithm with demonstrations beside it; `take_demos` comes first.

    Attributes:
        demos: the demonstrations.
        demo_replay: the source of demonstrated transitions.
    """

    def take_demos(
        self, config: Any, policy: Policy, rewards: tuple[float, float] | None = None
    ) -> Callable[[Replay], Mixed]:
        """Loads the demonstrations; returns the function that makes the mixed sampler.

        Args:
            rewards: the rewards of an own step and of a demonstrated one; None takes the
                environment's.
        """
        spec = config.spec_of(config.env_id)
        self.demos = demonstrations.load(config, spec, policy.spaces, policy.device)
        self.reference_scores = self.demos.reference_scores
        self.own_reward, of_demo = rewards or (None, None)
        source = (self.demos.training, config, policy.spaces, policy.previous)
        self.demo_replay = DemoReplay(*source, reward=of_demo)
        return lambda replay: Mixed(replay, self.demo_replay, config.demo_share)

    def observe(self, step: Step) -> None:
        if self.own_reward is not None:
            step = replace(step, reward_N=np.full_like(step.reward_N, self.own_reward))
        super().observe(step)

    def set_n_step(self, n_step: int) -> None:
        super().set_n_step(n_step)
        self.demo_replay.set_n_step(n_step)

    def state_dict(self, store: ChunkStore) -> dict[str, Any]:
        state = super().state_dict(store)
        return {**state, "demos": self.demos.digest, "demo_replay": self.demo_replay.state_dict()}

    def load_state_dict(self, state: dict[str, Any], store: ChunkStore) -> None:
        demonstrations.require_same(self.demos, state["demos"], self.config.demos)
        super().load_state_dict(state, store)
        self.demo_replay.load_state_dict(state["demo_replay"])


class ImitationAlgorithm(Imitating, OffPolicyAlgorithm):
    """Fits one network to its own transitions and to demonstrated ones.

    Args:
        method: makes the algorithm's `Method` from its config, the network and the target network.
        rewards: the rewards of an own step and of a demonstrated one; None takes the
            environment's.
    """

    def __init__(
        self,
        config: Any,
        policy: Policy,
        method: Callable[[Any, Any, Any], Method],
        rewards: tuple[float, float] | None = None,
    ):
        sampler = self.take_demos(config, policy, rewards)
        super().__init__(config, policy, method, sampler)


class ImitatingActorCritic(Imitating, SoftActorCritic):
    """A soft actor-critic that learns from its own transitions and from demonstrated ones."""

    def __init__(self, config: Any, policy: OffPolicyActor, num_uniform: int = 0):
        sampler = self.take_demos(config, policy)
        super().__init__(config, policy, sampler=sampler, num_uniform=num_uniform)
