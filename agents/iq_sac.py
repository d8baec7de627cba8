"""IQ-Learn for continuous actions: a soft actor-critic whose critics imply the expert's reward.

IQ-Learn: Inverse soft-Q Learning for Imitation, Garg et al. 2021,
https://arxiv.org/abs/2106.12142, algorithm 1. With V(s) = min_e Q_e(s, a) - α log π(a|s) and
a ~ π(s), each critic implies the reward r_e = Q_e(s, a) - γ V(s'; Q⁻):
  L(Q_e) = E_expert[-r_e] + (1 - γ) E_D[V(s)] + E_D[r_e² / 4c]
It differs from SAC by the critics' loss: no reward is given, and the critics learn one. D holds
steps of expert and agent, and each of its states counts as a start. For discrete actions,
`agents/iq_learn.py` needs no actor. The environment's rewards are never seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from agents.core.math import inverse_q
from agents.core.optimize.learner import LossOutput
from agents.core.policies.soft import OffPolicyActor
from agents.core.training import presets
from agents.core.training.imitation import ImitatingActorCritic, SoftImitationConfig
from agents.core.training.launch import main
from agents.core.training.off_policy_actor import NoisyBatch
from agents.core.training.soft_actor_critic import States, make_soft_actor


@dataclass(frozen=True, kw_only=True)
class Config(SoftImitationConfig):
    title = "IQ-SAC"
    alpha: float = 0.01
    learn_alpha: bool = False
    penalty: float = 0.5  # The penalty of implied rewards is their square / 4c, with this c.

    def validate(self) -> None:
        super().validate()
        self.above_zero("penalty")


TRAINER = "online"

CONTROL: dict[str, Any] = presets.SOFT_CONTROL | presets.ONE_STEP | {"alpha": 0.01}

PRESETS = {
    "continuous": Config(**presets.SOFT_CONTINUOUS),
    "control": Config(**CONTROL),
    "atari": Config(**presets.SOFT_ATARI | presets.ONE_STEP, total_steps=300_000),
    "atari-gpu": Config(**presets.SOFT_ATARI_GPU | presets.ONE_STEP, total_steps=1_000_000),
}


make_policy = make_soft_actor


def make_algorithm(config: Config, policy: OffPolicyActor) -> IQSAC:
    return IQSAC(config, policy)


class IQSAC(ImitatingActorCritic):
    """Fits critics so that the reward that they imply tells the expert from others."""

    def critic_loss(self, batch: NoisyBatch) -> LossOutput:
        config = self.config
        with torch.no_grad():
            next_value_B = self.soft.value(self.target, States.after(batch), self.alpha)
        value_B = self.soft.value(self.critic, States.before(batch), self.alpha)
        expert_B = batch.is_demo_B.float() / config.demo_share
        q_EB = self.soft.taken(self.critic, batch)
        reward_EB = inverse_q.implied_reward(q_EB, batch.discount_B, next_value_B)
        start_B = (1 - config.gamma) * value_B
        loss_B = inverse_q.loss(reward_EB, start_B, expert_B, config.penalty).mean(dim=0)
        metrics = {
            "losses/iq_loss": loss_B,
            "losses/q_values": q_EB.mean(dim=0),
            "losses/rewards": reward_EB.mean(dim=0),
        }
        return LossOutput(loss_B, metrics, priority_B=reward_EB.abs().mean(dim=0))


if __name__ == "__main__":
    main("iq_sac")
