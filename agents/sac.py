"""Soft actor-critic: the policy of maximum entropy, from replayed experience.

Soft Actor-Critic Algorithms and Applications, Haarnoja et al. 2018,
https://arxiv.org/abs/1812.05905. With V(s) = min_e Q_e(s, a) - α log π(a|s) and a ~ π(s):
  L(Q_e) = E[ ½ (Q_e(s_t, a_t) - R_n - γⁿ V(s_{t+n}; Q⁻))² ],   Q⁻ ← Q⁻ + τ (Q - Q⁻)
  L(π) = E[ -V(s_t; Q) ],   L(α) = E[ log α (-log π(a|s_t) - H̄) ]
Actions of a Box are drawn from a squashed Gaussian, through which the gradient flows. For discrete
actions, V is a sum over all actions: Christodoulou 2019, https://arxiv.org/abs/1910.07207.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from agents.core.math import soft_actor_critic as losses
from agents.core.math import targets
from agents.core.math.schedules import Linear, constant
from agents.core.nets.critics import ActionCritics, Actor, ChoiceCritics, Critics
from agents.core.nets.distributions import CategoricalHead, masked
from agents.core.nets.squashed import SquashedGaussianHead
from agents.core.optimize.learner import LossOutput, Part, Update
from agents.core.policies.soft import OffPolicyActor
from agents.core.system.compute import Compute
from agents.core.training.config import OffPolicyActorConfig
from agents.core.training.launch import main
from agents.core.training.off_policy_actor import NoisyBatch, OffPolicyActorCritic
from agents.core.types.spaces import Spaces


@dataclass(frozen=True, kw_only=True)
class Config(OffPolicyActorConfig):
    title = "SAC"
    alpha: float = 1.0  # The entropy's first weight in the value, α.
    learn_alpha: bool = True  # α follows the target entropy H̄; else it stays.
    entropy_per_dimension: float = -1.0  # H̄ of a Box is this for each dimension, scaled to [-1, 1].
    entropy_share: float = 0.5  # H̄ of discrete actions is this share of the most, log |A|.

    def validate(self) -> None:
        super().validate()
        self.above_zero("alpha")
        self.within_unit("entropy_share")


TRAINER = "online"

ATARI = Config(
    num_envs=32,
    overlap_learning=True,
    batch_size=64,
    samples_per_step=2.0,
    buffer_size=40_000,
    learning_starts_steps=4_000,
    gamma=0.98,
    n_step=Linear(20, 5, 200_000, 900_000),
    learning_rate=constant(3e-4),
    layer_norm=True,
    alpha=0.01,
    entropy_share=0.2,
)

PRESETS = {
    "continuous": Config(
        env_id="Pendulum-v1", total_steps=20_000, num_envs=1, eval_every_steps=5_000
    ),
    "control": Config(
        env_id="CartPole-v1",
        total_steps=60_000,
        batch_size=64,
        samples_per_step=8.0,
        learning_rate=constant(5e-4),
        gamma=0.98,
        n_step=constant(10),
        layer_norm=True,
        target_share=0.02,
        alpha=0.1,
        entropy_share=0.3,
        eval_every_steps=15_000,
    ),
    "atari": ATARI,
    "atari-gpu": replace(
        ATARI,
        num_envs=128,
        overlap_learning=False,
        batch_size=512,
        samples_per_step=8.0,
        buffer_size=1_000_000,
        learning_starts_steps=50_000,
        n_step=Linear(20, 5, 500_000, 2_000_000),
    ),
}


def make_policy(config: Config, spaces: Spaces, device: torch.device) -> OffPolicyActor:
    if spaces.continuous:
        head: nn.Module = SquashedGaussianHead(config.hidden, spaces)
    else:
        spaces.require_few_combinations()
        head = CategoricalHead(config.hidden, (spaces.combinations,))
    network = Actor(config, spaces, head)
    compute = Compute.of(network, config, device)
    return OffPolicyActor(network, spaces, compute, config.eval_temperature)


def make_algorithm(config: Config, policy: OffPolicyActor) -> SAC:
    spaces = policy.spaces
    if spaces.continuous:
        target_entropy = config.entropy_per_dimension * spaces.action_parts
        return SAC(config, policy, ActionCritics(config, spaces), target_entropy)
    target_entropy = config.entropy_share * math.log(spaces.combinations)
    return DiscreteSAC(config, policy, ChoiceCritics(config, spaces), target_entropy)


class Temperature(nn.Module):
    """The weight α of the entropy, as its log."""

    def __init__(self, alpha: float):
        super().__init__()
        self.log_alpha = nn.Parameter(torch.tensor(math.log(alpha)))


class SAC(OffPolicyActorCritic):
    """Learns values that count the policy's entropy, and a policy that maximizes them."""

    def __init__(
        self, config: Config, policy: OffPolicyActor, critic: Critics, target_entropy: float
    ):
        super().__init__(config, policy, critic)
        self.target_entropy = target_entropy
        temperature = Temperature(config.alpha).to(policy.device)
        self.log_alpha = temperature.log_alpha
        self.learner.parts["temperature"] = Part(temperature, config, in_policy=False)
        self.actor_parts = ("policy", "temperature") if config.learn_alpha else ("policy",)

    def improve(self, batch: NoisyBatch) -> Update:
        critic = self.learner.update(self.critic_loss, batch, ("critic",))
        actor = self.learner.update(self.actor_loss, batch, self.actor_parts)
        return Update({**actor.metrics, **critic.metrics}, critic.priority_B)

    @property
    def alpha(self) -> Tensor:
        return self.log_alpha.detach().exp()

    def critic_loss(self, batch: NoisyBatch) -> LossOutput:
        with torch.no_grad():
            value_B = self.next_value(batch)
            target_B = targets.bootstrapped(batch.reward_B, batch.discount_B, value_B)
        q_EB = self.taken_values(batch)
        loss_B = losses.critic(q_EB, target_B)
        metrics = {"losses/critic_loss": loss_B, "losses/q_values": q_EB.mean(dim=0)}
        return LossOutput(loss_B, metrics, priority_B=(q_EB - target_B).abs().mean(dim=0))

    def actor_loss(self, batch: NoisyBatch) -> LossOutput:
        policy_B, entropy_B = self.policy_loss(batch)
        alpha_B = losses.temperature(self.log_alpha, entropy_B, self.target_entropy)
        metrics = {
            "losses/actor_loss": policy_B,
            "losses/alpha_loss": alpha_B,
            "losses/alpha": self.alpha.expand(batch.size),
            "losses/entropy": entropy_B,
        }
        return LossOutput(policy_B + alpha_B, metrics)

    def next_value(self, batch: NoisyBatch) -> Tensor:
        """V(s'), shape (B,), from the target critics."""
        previous_BP = batch.next_previous_BP
        distribution = self.actor(batch.next_obs, previous_BP)
        action_BK, log_prob_B = distribution.draw(batch.next_normal_BK)
        q_EB = self.target(batch.next_obs, action_BK, previous_BP)
        return losses.soft_value(q_EB, log_prob_B, self.alpha)

    def taken_values(self, batch: NoisyBatch) -> Tensor:
        """The critics' values of the actions taken, (E, B)."""
        return self.critic(batch.obs, batch.action_B, batch.previous_BP)

    def policy_loss(self, batch: NoisyBatch) -> tuple[Tensor, Tensor]:
        """-V(s), whose gradient improves the policy, and the policy's entropy, each (B,)."""
        distribution = self.actor(batch.obs, batch.previous_BP)
        action_BK, log_prob_B = distribution.draw(batch.normal_BK)
        q_EB = self.critic(batch.obs, action_BK, batch.previous_BP)
        return -losses.soft_value(q_EB, log_prob_B, self.alpha), -log_prob_B.detach()


class DiscreteSAC(SAC):
    """SAC with sums over all discrete actions in place of drawn actions."""

    def next_value(self, batch: NoisyBatch) -> Tensor:
        previous_BP = batch.next_previous_BP
        log_prob_BA = self.log_probs(batch.next_obs, previous_BP, batch.next_legal_BA)
        q_EBA = self.target(batch.next_obs, previous_BP)
        return losses.expected_soft_value(q_EBA, log_prob_BA, self.alpha)

    def taken_values(self, batch: NoisyBatch) -> Tensor:
        q_EBA = self.critic(batch.obs, batch.previous_BP)
        return targets.taken(q_EBA, batch.action_B.expand(len(q_EBA), -1))

    def policy_loss(self, batch: NoisyBatch) -> tuple[Tensor, Tensor]:
        log_prob_BA = self.log_probs(batch.obs, batch.previous_BP, batch.legal_BA)
        with torch.no_grad():
            q_EBA = self.critic(batch.obs, batch.previous_BP)
        value_B = losses.expected_soft_value(q_EBA, log_prob_BA, self.alpha)
        return -value_B, losses.entropy(log_prob_BA).detach()

    def log_probs(self, obs: Tensor, previous_BP: Tensor | None, legal_BA: Tensor | None) -> Tensor:
        """log π(·|s), shape (B, A); -inf for illegal actions."""
        policy: Any = masked(self.actor(obs, previous_BP), legal_BA)
        return policy.log_probs[0]


if __name__ == "__main__":
    main("sac")
