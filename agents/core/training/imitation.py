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
from agents.core.data.replay_store import ChunkStore
from agents.core.data.samplers import Mixed
from agents.core.data.settings import DemoConfig
from agents.core.policies.policy import Policy
from agents.core.training.config import TargetNetworkConfig, require
from agents.core.training.off_policy import Method, OffPolicyAlgorithm
from agents.core.types.step import Step


@dataclass(frozen=True, kw_only=True)
class ImitationConfig(DemoConfig, TargetNetworkConfig):
    """The settings of every value agent that learns from its own steps and from demonstrations."""

    title: ClassVar[str] = "Learning"

    demo_share: float = 0.5
    """This share of each minibatch is demonstrated."""
    life_loss_ends_return: bool = False
    """A lost life ends the return, and the game goes on; in demonstrations it does not."""

    def validate(self) -> None:
        super().validate()
        share = self.demo_share
        require(0 < share < 1, "demo_share", share, "above 0 and below 1")
        self.at_least(2, "batch_size")
        require(self.core == "none", "core", self.core, "none with demonstrations")


class ImitationAlgorithm(OffPolicyAlgorithm):
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
        spec = config.spec_of(config.env_id)
        self.demos = demonstrations.load(config, spec, policy.spaces, policy.device)
        self.own_reward, of_demo = rewards or (None, None)
        source = (self.demos.training, config, policy.spaces, policy.previous)
        self.demo_replay = DemoReplay(*source, reward=of_demo)
        super().__init__(
            config,
            policy,
            method,
            lambda replay: Mixed(replay, self.demo_replay, config.demo_share),
        )
        self.reference_scores = self.demos.reference_scores

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
