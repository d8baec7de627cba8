"""Advantage actor-critic: takes one step up the policy gradient after each short rollout.

Asynchronous Methods for Deep Reinforcement Learning, Mnih et al. 2016,
https://arxiv.org/abs/1602.01783, section 4.1, with synchronous actors.
  L(θ) = E[ -log π(a|s) Â + c₁ ½(V - R)² - c₂ H(π) ],   Â = R - V, R the n-step return (λ = 1)
It differs from REINFORCE by its bootstrapped short rollouts and the entropy bonus.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from agents.core.data.rollouts import Rollout
from agents.core.data.settings import AdvantageConfig
from agents.core.math import losses
from agents.core.math.schedules import Linear
from agents.core.nets.networks import ActorCritic
from agents.core.optimize.learner import Learner, LossOutput
from agents.core.policies.stochastic import ActorCriticPolicy, make_actor_critic
from agents.core.training.config import OnPolicyConfig
from agents.core.training.launch import main
from agents.core.training.on_policy import OnPolicyAlgorithm
from agents.core.types.batches import Sequences
from agents.core.types.settings import Steps


@dataclass(frozen=True, kw_only=True)
class Config(AdvantageConfig, OnPolicyConfig):
    title = "A2C"
    learning_rate: Linear = Linear(2.5e-4, 0)
    horizon_steps: Steps = 5
    gae_lambda: float = 1.0
    entropy_coefficient: float = 0.01  # The policy's entropy has this weight, c₂.

    def validate(self) -> None:
        super().validate()
        self.at_least(0, "entropy_coefficient")

    @property
    def batch_size(self) -> int:
        """Steps in an update: the whole rollout."""
        return self.horizon_steps * self.num_envs


TRAINER = "online"

PRESETS = {
    "atari": Config(num_envs=16, learning_rate=Linear(7e-4, 0), optimizer="rmsprop"),
    "control": Config(
        env_id="CartPole-v1",
        total_steps=300_000,
        learning_rate=Linear(1e-3, 0),
        eval_every_steps=50_000,
        horizon_steps=16,
        gae_lambda=0.95,
        entropy_coefficient=0.0,
        normalize_advantages=True,
        activation="tanh",
        hidden=64,
        separate_value=True,
        eval_temperature=0.0,
    ),
    "baselines": Config(
        num_envs=16,
        total_steps=10_000_000,
        learning_rate=Linear(7e-4, 0),
        optimizer="rmsprop",
        torso="nature",
        hidden=512,
        standardize_pixels=False,
    ),
}


make_policy = make_actor_critic


def make_algorithm(config: Config, policy: ActorCriticPolicy) -> OnPolicyAlgorithm:
    return OnPolicyAlgorithm(config, policy, A2C)


class A2C:
    """Takes one step up the policy gradient of each rollout."""

    def __init__(self, config: Config, network: ActorCritic, learner: Learner):
        self.config = config
        self.network = network
        self.learner = learner

    def improve(self, rollout: Rollout, step: int) -> dict[str, Tensor]:
        (batch,) = rollout.minibatches(rollout.size)
        return self.learner.update(self.loss, batch).metrics

    def loss(self, batch: Sequences) -> LossOutput:
        config = self.config
        policy, value_LB, _ = self.network(*batch.inputs)
        log_prob_LB = policy.log_prob(batch.action_LBK)
        entropy_LB = policy.entropy()
        policy_LB = losses.policy_gradient(log_prob_LB, batch.advantage_LB)
        value_loss_LB = losses.squared(batch.return_LB - value_LB)
        loss_LB = policy_LB + config.value_coefficient * value_loss_LB
        loss_LB = loss_LB - config.entropy_coefficient * entropy_LB
        metrics = {
            "losses/policy_loss": policy_LB,
            "losses/value_loss": value_loss_LB,
            "losses/entropy": entropy_LB,
        }
        return LossOutput(loss_LB, metrics)


if __name__ == "__main__":
    main("a2c")
