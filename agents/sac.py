"""Soft actor-critic: the policy of maximum entropy, from replayed experience.

Soft Actor-Critic Algorithms and Applications, Haarnoja et al. 2018,
https://arxiv.org/abs/1812.05905. With V(s) = min_e Q_e(s, a) - α log π(a|s) and a ~ π(s):
  L(Q_e) = E[ ½ (Q_e(s_t, a_t) - R_n - γⁿ V(s_{t+n}; Q⁻))² ],   Q⁻ ← Q⁻ + τ (Q - Q⁻)
  L(π) = E[ -V(s_t; Q) ],   L(α) = E[ log α (-log π(a|s_t) - H̄) ]
Actions of a Box are drawn from a squashed Gaussian, through which the gradient flows. For discrete
actions, V is a sum over all actions: Christodoulou 2019, https://arxiv.org/abs/1910.07207. The
policy's side is shared with imitators: `agents/core/training/soft_actor_critic.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from agents.core.math import soft_actor_critic as losses
from agents.core.math import targets
from agents.core.optimize.learner import LossOutput
from agents.core.policies.soft import OffPolicyActor
from agents.core.training import presets
from agents.core.training.launch import main
from agents.core.training.off_policy_actor import NoisyBatch
from agents.core.training.soft_actor_critic import (
    SoftActorConfig,
    SoftActorCritic,
    States,
    make_soft_actor,
)


@dataclass(frozen=True, kw_only=True)
class Config(SoftActorConfig):
    title = "SAC"


TRAINER = "online"

PRESETS = {
    "continuous": Config(**presets.SOFT_CONTINUOUS),
    "control": Config(**presets.SOFT_CONTROL),
    "atari": Config(**presets.SOFT_ATARI),
    "atari-gpu": Config(**presets.SOFT_ATARI_GPU),
}


make_policy = make_soft_actor


def make_algorithm(config: Config, policy: OffPolicyActor) -> SAC:
    return SAC(config, policy)


class SAC(SoftActorCritic):
    """Learns values that count the policy's entropy, and a policy that maximizes them."""

    def critic_loss(self, batch: NoisyBatch) -> LossOutput:
        with torch.no_grad():
            value_B = self.soft.value(self.target, States.after(batch), self.alpha)
            target_B = targets.bootstrapped(batch.reward_B, batch.discount_B, value_B)
        q_EB = self.soft.taken(self.critic, batch)
        loss_B = losses.critic(q_EB, target_B)
        metrics = {"losses/critic_loss": loss_B, "losses/q_values": q_EB.mean(dim=0)}
        return LossOutput(loss_B, metrics, priority_B=(q_EB - target_B).abs().mean(dim=0))


if __name__ == "__main__":
    main("sac")
