"""QR-DQN: deep Q-learning of the quantiles of the return's distribution.

Distributional Reinforcement Learning with Quantile Regression, Dabney et al. 2018,
https://arxiv.org/abs/1710.10044, algorithm 1.
  L(θ) = E[ Σ_i E_j ρ_τ̂i(R_n + γⁿ θ⁻_j(s_{t+n}, a*) - θ_i(s_t, a_t)) ],
  a* = argmax_a Σ_j θ⁻_j(s_{t+n}, a),   τ̂_i = (i - ½) / I,   ρ the quantile Huber loss
It differs from DQN by its head, which has I quantiles for each action, and by this loss.
`--preset paper` is the paper. The defaults equal our DQN's, which suit two CPU cores.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from agents.core.math import losses, targets
from agents.core.math.schedules import constant
from agents.core.nets.value_networks import QuantileNetwork
from agents.core.optimize.bootstrap import Bootstrap
from agents.core.optimize.learner import LossOutput
from agents.core.policies.epsilon_greedy import EpsilonGreedyPolicy
from agents.core.system.compute import Compute
from agents.core.training import presets
from agents.core.training.config import SoftValueConfig
from agents.core.training.launch import main
from agents.core.training.off_policy import OffPolicyAlgorithm
from agents.core.types.batches import Transitions
from agents.core.types.spaces import Spaces


@dataclass(frozen=True, kw_only=True)
class Config(SoftValueConfig):
    title = "QR-DQN"
    num_quantiles: int = 51  # The return of each action has this many quantiles, I.
    huber_threshold: float = 1.0  # The loss is linear beyond this error, κ.

    def validate(self) -> None:
        super().validate()
        self.above_zero("huber_threshold")
        self.at_least(1, "num_quantiles")


TRAINER = "online"

PRESETS = {
    "atari": Config(**presets.ATARI),
    "atari-gpu": Config(**presets.ATARI_GPU),
    "control": Config(**presets.CONTROL),
    "paper": Config(
        **presets.NATURE,
        num_quantiles=200,
        learning_rate=constant(5e-5),
        optimizer_epsilon=0.01 / 32,
    ),
}


def make_policy(config: Config, spaces: Spaces, device: torch.device) -> EpsilonGreedyPolicy:
    network = QuantileNetwork(config, spaces, config.num_quantiles)
    compute = Compute.of(network, config, device)
    return EpsilonGreedyPolicy(network, spaces, compute, config.eval_epsilon)


def make_algorithm(config: Config, policy: EpsilonGreedyPolicy) -> OffPolicyAlgorithm:
    return OffPolicyAlgorithm(config, policy, QRDQN)


class QRDQN:
    """Fits quantiles of the return to a sample of its bootstrapped distribution."""

    def __init__(self, config: Config, network: QuantileNetwork, target: QuantileNetwork):
        self.config = config
        self.network = network
        self.target = target
        self.bootstrap = Bootstrap(config, network, target)

    def loss(self, batch: Transitions) -> LossOutput:
        with torch.no_grad():
            next_BAJ = self.target(batch.next_inputs)
            target_BJ = self.bootstrap.targets(batch, next_BAJ, next_BAJ.mean(dim=2))
        quantiles_BAI = self.network(batch.inputs)
        quantiles_BI = targets.taken(quantiles_BAI, batch.action_B)
        loss_B = losses.quantile_huber(quantiles_BI, target_BJ, self.config.huber_threshold)
        td_error_B = (target_BJ.mean(dim=1) - quantiles_BI.mean(dim=1)).abs()
        metrics = {
            "losses/q_values": quantiles_BAI.mean(dim=(1, 2)),
            "losses/td_loss": loss_B,
            "losses/td_error": td_error_B,
        }
        return LossOutput(loss_B, metrics, priority_B=td_error_B)


if __name__ == "__main__":
    main("qr_dqn")
