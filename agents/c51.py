"""C51: deep Q-learning of the probabilities of returns. Rainbow is one of its presets.

A Distributional Perspective on Reinforcement Learning, Bellemare et al. 2017,
https://arxiv.org/abs/1707.06887, algorithm 1.
  L(θ) = E[ -Σ_i m_i log p_i(s_t, a_t; θ) ],   m = Φ(R_n + γⁿ z, p(s_{t+n}, a*; θ⁻)),
  a* = argmax_a Σ_i z_i p_i(s_{t+n}, a; θ⁻),   Φ the projection onto the atoms z
It differs from DQN by its head, which has Z atoms for each action, and by this loss.
With `--target hl_gauss`, m is a normal distribution around DQN's target (Farebrother et al. 2024,
Stop Regressing, https://arxiv.org/abs/2403.03950, section 3.1).
Rainbow (Hessel et al. 2018, https://arxiv.org/abs/1710.02298) adds double and dueling networks,
prioritized replay, n-step returns and noisy layers: `--preset rainbow`. `--preset data-efficient`
is Rainbow for 100,000 steps (van Hasselt et al. 2019, https://arxiv.org/abs/1906.05243).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from agents.core.math import categorical, targets
from agents.core.math.rescaling import rescale
from agents.core.math.schedules import constant
from agents.core.nets.value_networks import CategoricalNetwork
from agents.core.optimize.bootstrap import Bootstrap
from agents.core.optimize.learner import LossOutput
from agents.core.policies.epsilon_greedy import EpsilonGreedyPolicy
from agents.core.system.compute import Compute
from agents.core.training import presets
from agents.core.training.config import SoftValueConfig, require
from agents.core.training.launch import main
from agents.core.training.off_policy import OffPolicyAlgorithm
from agents.core.types.batches import Transitions
from agents.core.types.spaces import Spaces

CLIPPED_DENSITY = 0.1
"""With clipped rewards, the support holds the return of a reward in every tenth step."""


@dataclass(frozen=True, kw_only=True)
class Config(SoftValueConfig):
    title = "C51"
    num_atoms: int = 51  # The distribution of a return has this many atoms, Z.
    v_min: float = 0.0  # The lowest atom.
    v_max: float = 0.0  # The highest atom; if both are 0, gamma and the clipping choose them.
    target: Literal["projected", "hl_gauss"] = "projected"  # The target distribution's kind.
    hl_gauss_width: float = 0.75  # The deviation of hl_gauss, in distances between atoms.

    def validate(self) -> None:
        super().validate()
        self.at_least(2, "num_atoms")
        self.above_zero("hl_gauss_width")
        chosen = self.v_min == self.v_max == 0
        require(chosen or self.v_min < self.v_max, "v_min", self.v_min, f"below v_max {self.v_max}")
        bounded = not chosen or self.gamma < 1
        require(bounded, "gamma", self.gamma, "below 1, or give --v-min and --v-max")
        scalar = self.munchausen == 0 or self.target == "hl_gauss"
        require(scalar, "munchausen", self.munchausen, "0, or used with --target hl_gauss")


TRAINER = "online"

PAPER = Config(
    **presets.NATURE,
    v_min=-10.0,
    v_max=10.0,
    learning_rate=constant(2.5e-4),
    optimizer_epsilon=0.01 / 32,
)

RAINBOW = replace(
    PAPER,
    dueling=True,
    noisy=True,
    double=True,
    n_step=constant(3),
    priority_exponent=0.5,
    learning_rate=constant(6.25e-5),
    optimizer_epsilon=1.5e-4,
    max_grad_norm=10.0,
    learning_starts_steps=20_000,
    target_every_updates=2_000,
    epsilon=constant(0.0),
    eval_epsilon=0.0,
)

PRESETS = {
    "atari": Config(**presets.ATARI),
    "atari-gpu": Config(**presets.ATARI_GPU),
    "control": Config(**presets.CONTROL),
    "paper": PAPER,
    "rainbow": RAINBOW,
    "data-efficient": replace(
        RAINBOW,
        total_steps=100_000,
        num_envs=1,
        torso="data_efficient",
        hidden=256,
        noise_deviation=0.1,
        n_step=constant(20),
        learning_rate=constant(1e-4),
        samples_per_step=32.0,
        buffer_size=100_000,
        learning_starts_steps=1_600,
        eval_every_steps=25_000,
    ),
}


def support_of(config: Config, spaces: Spaces) -> Tensor:
    """The atoms of a config, float32 (Z,).

    The return's distribution does not depend on n, so neither do the atoms.
    """
    if config.v_min < config.v_max:
        return categorical.support(config.v_min, config.v_max, config.num_atoms)
    clipped = config.clip_reward and spaces.atari
    bound = categorical.return_bound(config.gamma, density=CLIPPED_DENSITY if clipped else 1.0)
    if config.rescale_values:
        bound = float(rescale(torch.tensor(bound, device="cpu")))
    return categorical.support(-bound, bound, config.num_atoms)


def make_policy(config: Config, spaces: Spaces, device: torch.device) -> EpsilonGreedyPolicy:
    network = CategoricalNetwork(config, spaces, support_of(config, spaces))
    compute = Compute.of(network, config, device)
    return EpsilonGreedyPolicy(network, spaces, compute, config.eval_epsilon)


def make_algorithm(config: Config, policy: EpsilonGreedyPolicy) -> OffPolicyAlgorithm:
    return OffPolicyAlgorithm(config, policy, C51)


class C51:
    """Fits the probabilities of returns to their bootstrapped, projected distribution."""

    def __init__(self, config: Config, network: CategoricalNetwork, target: CategoricalNetwork):
        self.config = config
        self.network = network
        self.target = target
        self.bootstrap = Bootstrap(config, network, target)
        self.deviation = config.hl_gauss_width * network.support_Z[:2].diff()
        self.target_of = {"projected": self.projected, "hl_gauss": self.hl_gauss}[config.target]

    def loss(self, batch: Transitions) -> LossOutput:
        with torch.no_grad():
            target_BZ = self.target_of(batch, self.target(batch.next_inputs))
        log_prob_BAZ = self.network(batch.inputs)
        log_prob_BZ = targets.taken(log_prob_BAZ, batch.action_B)
        loss_B = categorical.cross_entropy(log_prob_BZ, target_BZ)
        divergence_B = categorical.kl(log_prob_BZ, target_BZ)
        metrics = {
            "losses/q_values": self.network.mean(log_prob_BAZ).mean(dim=1),
            "losses/td_loss": loss_B,
            "losses/divergence": divergence_B,
        }
        return LossOutput(loss_B, metrics, priority_B=divergence_B)

    def projected(self, batch: Transitions, next_BAZ: Tensor) -> Tensor:
        """The distribution of R_n + γⁿ Z(s', a*), projected onto the atoms, (B, Z)."""
        support_Z = self.target.support_Z
        next_action_B = self.bootstrap.next_action(batch, self.target.mean(next_BAZ))
        prob_BZ = targets.taken(next_BAZ, next_action_B).exp()
        atom_BZ = targets.bootstrapped(
            batch.reward_B,
            batch.discount_B,
            support_Z.expand_as(prob_BZ),
            self.config.rescale_values,
        )
        return categorical.project(atom_BZ, prob_BZ, support_Z)

    def hl_gauss(self, batch: Transitions, next_BAZ: Tensor) -> Tensor:
        """A normal distribution around DQN's target, (B, Z)."""
        support_Z = self.target.support_Z
        q_next_BA = self.target.mean(next_BAZ)
        target_B = self.bootstrap.targets(batch, q_next_BA, q_next_BA)
        return categorical.hl_gauss(target_B, support_Z, self.deviation)


if __name__ == "__main__":
    main("c51")
