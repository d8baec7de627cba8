"""IQN: deep Q-learning of quantiles of the return at random fractions.

Implicit Quantile Networks for Distributional Reinforcement Learning, Dabney et al. 2018,
https://arxiv.org/abs/1806.06923, eq. 2 to 4.
  L(θ) = E[ Σ_i E_j ρ_τi(R_n + γⁿ Z⁻_τ'j(s_{t+n}, a*) - Z_τi(s_t, a_t)) ],   τ_i, τ'_j ~ U(0, 1),
  a* = argmax_a E_j Z⁻_τ'j(s_{t+n}, a),   Z_τ(s, a) = f(ψ(s) ⊙ φ(τ))_a,   ρ the quantile Huber loss
It differs from QR-DQN by its fractions: they are inputs of the network, drawn for each transition.
Actions are chosen by the mean over K midpoints, where the paper draws K fractions.
`--preset paper` is the paper, and `--preset btr` is Beyond The Rainbow. The defaults equal our
DQN's, which suit two CPU cores.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from agents.core.math import losses, targets
from agents.core.math.schedules import Linear, constant
from agents.core.nets.value_networks import ImplicitQuantileNetwork
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
    title = "IQN"
    num_fractions: int = 8  # The loss has this many fractions τ of a transition.
    num_target_fractions: int = 8  # Its target has this many fractions τ'.
    acting_fractions: int = 32  # Actions are chosen by the mean over this many quantiles, K.
    num_cosines: int = 64  # A fraction is embedded by this many cosines.
    huber_threshold: float = 1.0  # The loss is linear beyond this error, κ.

    def validate(self) -> None:
        super().validate()
        self.above_zero("huber_threshold")
        self.at_least(1, "num_fractions", "num_target_fractions")
        self.at_least(1, "acting_fractions", "num_cosines")


TRAINER = "online"

PRESETS = {
    "atari": Config(**presets.ATARI),
    "atari-gpu": Config(**presets.ATARI_GPU),
    "control": replace(Config(**presets.CONTROL), learning_rate=constant(1e-3)),
    "paper": Config(
        **presets.NATURE,
        num_fractions=64,
        num_target_fractions=64,
        learning_rate=constant(5e-5),
        optimizer_epsilon=0.01 / 32,
    ),
    # Beyond The Rainbow, Clark et al. 2024, https://arxiv.org/abs/2411.03820. There, ε is 0 in the
    # second half of a run.
    "btr": Config(
        total_steps=50_000_000,
        num_envs=64,
        torso="btr",
        torso_width=2,
        hidden=512,
        layer_norm=False,
        dueling=True,
        noisy=True,
        munchausen=0.9,
        acting_fractions=8,
        n_step=constant(3),
        gamma=0.997,
        life_loss_ends_return=False,
        priority_exponent=0.2,
        learning_rate=constant(1e-4),
        optimizer_epsilon=0.005 / 256,
        batch_size=256,
        samples_per_step=4.0,
        buffer_size=1_048_576,
        learning_starts_steps=200_000,
        target_every_updates=500,
        epsilon=Linear(1.0, 0.01, 0, 500_000),
        eval_every_steps=1_000_000,
        standardize_pixels=False,
    ),
}


def make_policy(config: Config, spaces: Spaces, device: torch.device) -> EpsilonGreedyPolicy:
    network = ImplicitQuantileNetwork(config, spaces, config.num_cosines, config.acting_fractions)
    compute = Compute.of(network, config, device)
    return EpsilonGreedyPolicy(network, spaces, compute, config.eval_epsilon)


def make_algorithm(config: Config, policy: EpsilonGreedyPolicy) -> OffPolicyAlgorithm:
    num_uniform = config.num_fractions + config.num_target_fractions
    return OffPolicyAlgorithm(config, policy, IQN, num_uniform=num_uniform)


class IQN:
    """Fits quantiles at random fractions to a sample of the return's bootstrapped distribution."""

    def __init__(
        self, config: Config, network: ImplicitQuantileNetwork, target: ImplicitQuantileNetwork
    ):
        self.config = config
        self.network = network
        self.target = target
        self.bootstrap = Bootstrap(config, network, target)

    def loss(self, batch: Transitions) -> LossOutput:
        config = self.config
        sizes = [config.num_fractions, config.num_target_fractions]
        fraction_BI, fraction_BJ = batch.uniform_BU.split(sizes, dim=1)
        with torch.no_grad():
            next_BAJ = self.target.at(batch.next_inputs, fraction_BJ)
            target_BJ = self.bootstrap.targets(batch, next_BAJ, next_BAJ.mean(dim=2))
        quantiles_BAI = self.network.at(batch.inputs, fraction_BI)
        quantiles_BI = targets.taken(quantiles_BAI, batch.action_B)
        loss_B = losses.quantile_huber(quantiles_BI, target_BJ, config.huber_threshold, fraction_BI)
        td_error_B = (target_BJ.mean(dim=1) - quantiles_BI.mean(dim=1)).abs()
        metrics = {
            "losses/q_values": quantiles_BAI.mean(dim=(1, 2)),
            "losses/td_loss": loss_B,
            "losses/td_error": td_error_B,
        }
        return LossOutput(loss_B, metrics, priority_B=td_error_B)


if __name__ == "__main__":
    main("iqn")
