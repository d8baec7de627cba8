"""REINFORCE with a learned baseline: goes up the gradient of log π times the whole return.

Simple statistical gradient-following algorithms for connectionist reinforcement learning,
Williams 1992, https://doi.org/10.1007/BF00992696; Sutton & Barto 2018, section 13.4.
  L(θ) = E[ -log π(a|s) (G - V) + c₁ ½(V - G)² ],   G the return to the end of the episode
If a rollout or a time limit cuts an episode off, V completes the return. The factor γᵗ of the
gradient, which makes late steps count less, is left out, as is usual. It differs from A2C by
rollouts long enough for whole episodes, and has no entropy bonus.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from agents.core.data.rollouts import Rollout
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
class Config(OnPolicyConfig):
    title = "REINFORCE"
    learning_rate: Linear = Linear(2.5e-4, 0)
    horizon_steps: Steps = 512
    normalize_advantages: bool = True

    @property
    def batch_size(self) -> int:
        """Steps in an update: the whole rollout."""
        return self.horizon_steps * self.num_envs


TRAINER = "online"

PRESETS = {
    "atari": Config(learning_rate=Linear(1e-3, 0), total_steps=10_000_000),
    "control": Config(
        env_id="CartPole-v1",
        total_steps=400_000,
        learning_rate=Linear(1e-2, 0),
        activation="tanh",
        hidden=64,
        separate_value=True,
        eval_temperature=0.0,
    ),
}


make_policy = make_actor_critic


def make_algorithm(config: Config, policy: ActorCriticPolicy) -> OnPolicyAlgorithm:
    return OnPolicyAlgorithm(config, policy, Reinforce)


class Reinforce:
    """Raises the probability of actions whose return was higher than the value."""

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
        metrics = {
            "losses/policy_loss": policy_LB,
            "losses/value_loss": value_loss_LB,
            "losses/entropy": entropy_LB,
        }
        return LossOutput(loss_LB, metrics)


if __name__ == "__main__":
    main("reinforce")
