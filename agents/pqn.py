"""Parallelized Q-network: Q-learning on fresh rollouts, with neither a replay nor a target network.

Simplifying Deep Temporal Difference Learning, Gallici et al. 2024, https://arxiv.org/abs/2407.04811.
  L(θ) = E[ ½ (G_t - Q(s_t, a_t; θ))² ],   G_t = r_t + γ [(1 - λ) max_a Q(s_{t+1}, a) + λ G_{t+1}]
The rollout's own values are in G, so it stays the same in all epochs. LayerNorm takes the place of
a target network, and many environments take the place of a replay.
`--preset paper` has the paper's settings for Atari; the defaults are for two CPU cores.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from agents.core.data.rollouts import Rollout
from agents.core.data.settings import RolloutConfig
from agents.core.data.targets import ReturnTargets
from agents.core.math import losses
from agents.core.math.schedules import Linear
from agents.core.nets.settings import ValueNetworkConfig
from agents.core.nets.torsos import Norm
from agents.core.nets.value_networks import QNetwork
from agents.core.optimize.learner import Learner, LossOutput, means_of
from agents.core.optimize.settings import OptimizerName
from agents.core.policies.epsilon_greedy import EpsilonGreedyPolicy, make_epsilon_greedy
from agents.core.training.config import BaseConfig, CollectConfig, EpsilonConfig
from agents.core.training.launch import main
from agents.core.training.on_policy import RolloutAlgorithm
from agents.core.types.batches import ReturnSequences
from agents.core.types.settings import Environments, Samples, Steps


@dataclass(frozen=True, kw_only=True)
class Config(EpsilonConfig, CollectConfig, ValueNetworkConfig, RolloutConfig, BaseConfig):
    title = "PQN"
    num_envs: Environments = 64
    horizon_steps: Steps = 32
    layer_norm: bool = True
    torso_norm: Norm = "layer"
    optimizer: OptimizerName = "radam"
    max_grad_norm: float = 10.0
    q_lambda: float = 0.65  # Returns mix all lengths by this λ; 0 looks one step ahead.
    batch_size: Samples = 128  # A minibatch has this many steps.
    epochs: int = 2  # Training passes over each rollout this many times.

    def validate(self) -> None:
        super().validate()
        self.within_unit("q_lambda")
        self.at_least(1, "batch_size", "epochs")


TRAINER = "online"

PRESETS = {
    "atari": Config(),
    "atari-gpu": Config(
        num_envs=128,
        total_steps=10_000_000,
        torso="nature",
        hidden=512,
        epsilon=Linear(1.0, 0.001, 0, 1_000_000),
        eval_every_steps=1_000_000,
    ),
    "control": Config(
        env_id="CartPole-v1",
        total_steps=150_000,
        num_envs=32,
        horizon_steps=64,
        epsilon=Linear(1.0, 0.01, 0, 50_000),
        learning_rate=Linear(1e-3, 0),
        q_lambda=0.9,
        epochs=4,
    ),
    "paper": Config(
        total_steps=50_000_000,
        num_envs=128,
        torso="nature",
        hidden=512,
        optimizer_epsilon=1e-8,
        epsilon=Linear(1.0, 0.001, 0, 5_000_000),
        eval_every_steps=1_000_000,
        standardize_pixels=False,
    ),
}


make_policy = make_epsilon_greedy


def make_algorithm(config: Config, policy: EpsilonGreedyPolicy) -> RolloutAlgorithm:
    targets = ReturnTargets(config.q_lambda, policy.previous)
    epsilon = config.epsilon.until(config.total_steps)
    return RolloutAlgorithm(config, policy, PQN, targets, epsilon)


class PQN:
    """Fits Q to the Q(λ) returns of each rollout."""

    def __init__(self, config: Config, network: QNetwork, learner: Learner):
        self.config = config
        self.network = network
        self.learner = learner

    def improve(self, rollout: Rollout, step: int) -> dict[str, Tensor]:
        metrics: list[dict[str, Tensor]] = []
        for _ in range(self.config.epochs):
            for batch in rollout.minibatches(self.config.batch_size):
                metrics.append(self.learner.update(self.loss, batch).metrics)
        return means_of(metrics)

    def loss(self, batch: ReturnSequences) -> LossOutput:
        q_BA = self.network(batch.inputs)
        td_error_B = losses.td_error(q_BA, batch.action_B, batch.return_B)
        loss_B = losses.squared(td_error_B)
        metrics = {
            "losses/q_values": q_BA.mean(dim=1),
            "losses/td_loss": loss_B,
            "losses/td_error": td_error_B.abs(),
        }
        return LossOutput(loss_B, metrics)


if __name__ == "__main__":
    main("pqn")
