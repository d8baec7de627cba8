"""Proximal policy optimization: several epochs on each rollout, near the policy that played it.

Proximal Policy Optimization Algorithms, Schulman et al. 2017, https://arxiv.org/abs/1707.06347.
  L(θ) = E[ -min(ρ Â, clip(ρ, 1 ± ε) Â) + c₁ ½(V - R)² - c₂ H(π) ],   ρ = π(a|s) / π_old(a|s)
It differs from A2C by ρ's clipping, by epochs of minibatches and by normalized advantages.

This file, `core` and `envs` have the 13 core and 9 Atari details of "The 37 implementation details
of PPO", with four exceptions. Values are clipped only with `--value-clip`, because clipping seldom
helps. A lost life ends the return but not the episode; scores are of whole games. No-ops and FIRE
come only with `<Game>NoFrameskip-v4`. The Nature CNN comes only with `--preset baselines`, because
it is slow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from agents.core.data.rollouts import Rollout
from agents.core.data.settings import AdvantageConfig
from agents.core.math import losses
from agents.core.math.schedules import Linear, constant
from agents.core.nets.networks import ActorCritic
from agents.core.optimize.learner import Learner, LossOutput, means_of
from agents.core.policies.stochastic import ActorCriticPolicy, make_actor_critic
from agents.core.training.config import OnPolicyConfig
from agents.core.training.launch import main
from agents.core.training.on_policy import OnPolicyAlgorithm
from agents.core.types.batches import Sequences
from agents.core.types.settings import Samples


@dataclass(frozen=True, kw_only=True)
class Config(AdvantageConfig, OnPolicyConfig):
    title = "PPO"
    learning_rate: Linear = Linear(2.5e-4, 0)
    normalize_advantages: bool = True
    batch_size: Samples = 256  # A minibatch has this many steps.
    epochs: int = 4  # Training passes over each rollout this many times.
    clip: Linear = constant(0.1)  # The objective is clipped at this ε.
    value_clip: float = 0.0  # The values are clipped at this ε; 0 clips nothing.
    target_kl: float = 0.0  # An approximate KL from π_old above this ends the epochs; 0 never does.
    entropy_coefficient: float = 0.01  # The policy's entropy has this weight, c₂.

    def validate(self) -> None:
        super().validate()
        self.above_zero("clip")
        self.at_least(1, "batch_size", "epochs")
        self.at_least(0, "entropy_coefficient", "value_clip", "target_kl", "clip")


CONTROL = Config(
    env_id="CartPole-v1",
    total_steps=150_000,
    learning_rate=Linear(1e-3, 0),
    batch_size=128,
    epochs=6,
    clip=constant(0.2),
    entropy_coefficient=0.0,
    activation="tanh",
    hidden=64,
    separate_value=True,
    eval_temperature=0.0,
)
TRAINER = "online"

PRESETS = {
    "atari": Config(
        learning_rate=Linear(7e-4, 0),
        total_steps=2_500_000,
        num_envs=16,
        clip=constant(0.2),
        layer_norm=True,
    ),
    "atari-gpu": Config(
        learning_rate=Linear(7e-4, 0),
        total_steps=10_000_000,
        num_envs=128,
        horizon_steps=64,
        batch_size=2048,
        clip=constant(0.2),
        layer_norm=True,
        torso="nature",
        hidden=512,
        eval_every_steps=1_000_000,
    ),
    "control": CONTROL,
    "continuous": replace(
        CONTROL,
        env_id="Pendulum-v1",
        total_steps=1_000_000,
        epochs=10,
        normalize_observations=True,
        normalize_rewards=True,
    ),
    "baselines": Config(
        total_steps=10_000_000,
        clip=Linear(0.1, 0),
        torso="nature",
        hidden=512,
        standardize_pixels=False,
    ),
}


make_policy = make_actor_critic


def make_algorithm(config: Config, policy: ActorCriticPolicy) -> OnPolicyAlgorithm:
    return OnPolicyAlgorithm(config, policy, PPO)


class PPO:
    """Improves a policy on its rollouts; clipping keeps it near the policy that played them."""

    def __init__(self, config: Config, network: ActorCritic, learner: Learner):
        self.config = config
        self.network = network
        self.learner = learner
        self.clip_schedule = config.clip.until(config.total_steps)
        self.clip = torch.tensor(config.clip.start, device=learner.compute.device)

    def improve(self, rollout: Rollout, step: int) -> dict[str, Tensor]:
        config = self.config
        metrics: list[dict[str, Tensor]] = []
        self.clip.fill_(self.clip_schedule(step))
        for _ in range(config.epochs):
            for batch in rollout.minibatches(config.batch_size):
                metrics.append(self.learner.update(self.loss, batch).metrics)
            if config.target_kl and metrics[-1]["losses/approx_kl"] > config.target_kl:
                break
        return means_of(metrics)

    def loss(self, batch: Sequences) -> LossOutput:
        config = self.config
        old_LB = batch.log_prob_LB
        policy, value_LB, _ = self.network(*batch.inputs)
        log_prob_LB = policy.log_prob(batch.action_LBK)
        entropy_LB = policy.entropy()
        policy_LB = losses.clipped_policy(log_prob_LB, old_LB, batch.advantage_LB, self.clip)
        clip = config.value_clip or math.inf
        value_loss_LB = losses.clipped_value(value_LB, batch.value_LB, batch.return_LB, clip)
        loss_LB = policy_LB + config.value_coefficient * value_loss_LB
        loss_LB = loss_LB - config.entropy_coefficient * entropy_LB
        metrics = {
            "losses/policy_loss": policy_LB,
            "losses/value_loss": value_loss_LB,
            "losses/entropy": entropy_LB,
            "losses/approx_kl": losses.approximate_kl(log_prob_LB, old_LB),
            "losses/clipfrac": losses.clipped_share(log_prob_LB, old_LB, self.clip),
        }
        return LossOutput(loss_LB, metrics)


if __name__ == "__main__":
    main("ppo")
