"""IQ-Learn: a soft Q-function whose implied reward is large where the expert was.

IQ-Learn: Inverse soft-Q Learning for Imitation, Garg et al. 2021,
https://arxiv.org/abs/2106.12142. With V(s) = τ log Σ_a exp(Q(s, a) / τ), r = Q(s, a) - γ V(s'; θ⁻):
  L(θ) = E_expert[ -r + V(s) - γ V(s'; θ⁻) + r² / 4α ]
It differs from SQIL by the loss: no reward is given, and Q learns one. The environment's rewards
are never seen. With `--means all`, the last two terms are also over the agent's own steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from agents.core.math import inverse_q, munchausen, targets
from agents.core.math.schedules import constant
from agents.core.nets.value_networks import QNetwork
from agents.core.optimize.learner import LossOutput
from agents.core.policies.epsilon_greedy import EpsilonGreedyPolicy, make_epsilon_greedy
from agents.core.training import presets
from agents.core.training.imitation import ImitationAlgorithm, ImitationConfig
from agents.core.training.launch import main
from agents.core.types.batches import Batch


@dataclass(frozen=True, kw_only=True)
class Config(ImitationConfig):
    title = "IQ-Learn"
    alpha: float = 0.5  # The penalty of implied rewards is their square / 4α.
    temperature: float = 0.01  # The soft policy has this temperature τ.
    means: Literal["expert", "all"] = "expert"
    """The second and third mean are over the expert's steps, or over whole minibatches."""
    residual: bool = False
    """The gradient also flows through V(s'), which is then the network's own."""

    def validate(self) -> None:
        super().validate()
        self.above_zero("alpha", "temperature")


TRAINER = "online"

OF_PAPER: dict[str, Any] = {"n_step": constant(1), "priority_exponent": 0.0}

PRESETS = {
    "atari": Config(**presets.ATARI | OF_PAPER, total_steps=300_000),
    "atari-gpu": Config(**presets.ATARI_GPU | OF_PAPER, total_steps=1_000_000),
    "control": Config(**presets.CONTROL | OF_PAPER),
}


make_policy = make_epsilon_greedy


def make_algorithm(config: Config, policy: EpsilonGreedyPolicy) -> ImitationAlgorithm:
    return ImitationAlgorithm(config, policy, IQLearn)


class IQLearn:
    """Fits Q so that the reward that it implies tells the expert from others."""

    def __init__(self, config: Config, network: QNetwork, target: QNetwork):
        self.config = config
        self.network = network
        self.target = target

    def loss(self, batch: Batch) -> LossOutput:
        config = self.config
        q_BA = self.network(batch.inputs)
        q_B = targets.taken(q_BA, batch.action_B)
        next_value_B = self.next_value(batch)
        reward_B = inverse_q.implied_reward(q_B, batch.discount_B, next_value_B)
        fall_B = self.value(q_BA, batch.legal_BA) - batch.discount_B * next_value_B
        expert_B = batch.is_demo_B.float() / config.demo_share
        counted_B = expert_B if config.means == "expert" else torch.ones_like(expert_B)
        loss_B = inverse_q.loss(reward_B, fall_B, expert_B, config.alpha, counted_B)
        metrics = {"losses/iq_loss": loss_B, "losses/q_values": q_BA.mean(dim=1)}
        return LossOutput(loss_B, metrics, priority_B=reward_B.abs())

    def next_value(self, batch: Batch) -> Tensor:
        """V(s'), shape (B,): the target network's, or the network's own with a gradient."""
        if self.config.residual:
            return self.value(self.network(batch.next_inputs), batch.next_legal_BA)
        with torch.no_grad():
            return self.value(self.target(batch.next_inputs), batch.next_legal_BA)

    def value(self, q_BA: Tensor, legal_BA: Tensor | None) -> Tensor:
        """The soft value V(s), shape (B,)."""
        return munchausen.soft_value(q_BA, q_BA, self.config.temperature, legal_BA)


if __name__ == "__main__":
    main("iq_learn")
