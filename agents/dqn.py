"""Deep Q-network: Q-learning with a convolutional network on replayed experience.

Mnih et al. 2015, Human-level control through deep RL, https://doi.org/10.1038/nature14236.
  L(θ) = E[ huber(R_n + γⁿ max_a Q(s_{t+n}, a; θ⁻) - Q(s_t, a_t; θ)) ],   θ⁻ ← θ at intervals
`--preset nature` is the paper; the defaults learn Pong soonest on two CPU cores.
`--preset r2d2` is recurrent: its network remembers the episode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from agents.core.math import losses
from agents.core.math.schedules import Linear, constant
from agents.core.nets.value_networks import QNetwork
from agents.core.optimize.bootstrap import Bootstrap
from agents.core.optimize.learner import LossOutput
from agents.core.policies.epsilon_greedy import EpsilonGreedyPolicy, make_epsilon_greedy
from agents.core.training import presets
from agents.core.training.config import SoftValueConfig, require
from agents.core.training.launch import main
from agents.core.training.off_policy import OffPolicyAlgorithm
from agents.core.types.batches import Transitions


@dataclass(frozen=True, kw_only=True)
class Config(SoftValueConfig):
    title = "DQN"
    action_gap: float = 0.0  # Advantage learning has this α (https://arxiv.org/abs/1512.04860).
    loss: Literal["huber", "squared"] = "huber"  # Huber at 1 is the paper's error clipping.
    traces: Literal["none", "retrace", "peng"] = "none"
    """Returns of sequences mix all lengths (https://arxiv.org/abs/1606.02647)."""
    trace_lambda: float = 0.95  # Each step makes a return's weight smaller by this factor, λ.

    @property
    def draws_sequences(self) -> bool:
        return super().draws_sequences or self.traces != "none"

    def validate(self) -> None:
        super().validate()
        self.within_unit("action_gap", "trace_lambda")
        if self.traces == "none":
            return
        for name, value in (("munchausen", 0.0), ("rescale_values", False)):
            mine = getattr(self, name)
            require(mine == value, name, mine, f"{value} with --traces {self.traces}")
        one = self.n_step == constant(1)
        require(one, "n_step", self.n_step, f"1 with --traces {self.traces}")
        self.at_least(2, "sequence_steps")


TRAINER = "online"

PRESETS = {
    "atari": Config(**presets.ATARI, action_gap=0.5),
    "atari-gpu": Config(**presets.ATARI_GPU, action_gap=0.5),
    "control": Config(**presets.CONTROL, double=True, dueling=True),
    "nature": Config(
        **presets.NATURE
        | {
            "epsilon": Linear(1.0, 0.1, 0, 1_000_000),
            "eval_epsilon": 0.05,
            "learning_rate": constant(2.5e-4),
            "optimizer": "nature_rmsprop",
            "optimizer_epsilon": 0.1 / 32,
        }
    ),
    # Kapturowski et al. 2019, https://openreview.net/forum?id=r1lyTjAqYX, table 2. There, 256
    # actors have ε of their own, the replay holds 4 million steps, and a run has 10¹⁰ frames.
    "r2d2": Config(
        total_steps=50_000_000,
        num_envs=64,
        torso="nature",
        core="lstm",
        hidden=512,
        layer_norm=False,
        previous_inputs=True,
        dueling=True,
        double=True,
        rescale_values=True,
        clip_reward=False,
        life_loss_ends_return=False,
        sequence_steps=80,
        burn_in_steps=40,
        batch_size=64 * 80,
        n_step=constant(5),
        gamma=0.997,
        priority_exponent=0.9,
        loss="squared",
        learning_rate=constant(1e-4),
        optimizer_epsilon=1e-3,
        max_grad_norm=0.0,
        samples_per_step=1.5,
        buffer_size=1_000_000,
        learning_starts_steps=50_000,
        target_every_updates=2_500,
        epsilon=Linear(1.0, 0.01, 0, 1_000_000),
        eval_every_steps=1_000_000,
        standardize_pixels=False,
    ),
}


make_policy = make_epsilon_greedy


def make_algorithm(config: Config, policy: EpsilonGreedyPolicy) -> OffPolicyAlgorithm:
    return OffPolicyAlgorithm(config, policy, DQN)


class DQN:
    """Fits Q to bootstrapped n-step returns, with a target network, double Q and an action gap."""

    def __init__(self, config: Config, network: QNetwork, target: QNetwork):
        self.config = config
        self.network = network
        self.target = target
        self.bootstrap = Bootstrap(config, network, target)

    def loss(self, batch: Transitions) -> LossOutput:
        config = self.config
        with torch.no_grad():
            target_B = self.targets(batch)
        q_BA = self.network(batch.inputs)
        td_error_B = losses.td_error(
            q_BA, batch.action_B, target_B, config.action_gap, batch.legal_BA
        )
        loss_B = losses.PENALTIES[config.loss](td_error_B)
        metrics = {
            "losses/q_values": q_BA.mean(dim=1),
            "losses/td_loss": loss_B,
            "losses/td_error": td_error_B.abs(),
        }
        return LossOutput(loss_B, metrics, priority_B=td_error_B.abs())

    def targets(self, batch: Any) -> Tensor:
        """The targets (B,): returns of n steps, or of all lengths with traces."""
        q_next_BA = self.target(batch.next_inputs)
        if self.config.traces == "none":
            return self.bootstrap.targets(batch, q_next_BA, q_next_BA)
        return self.bootstrap.traced(batch, q_next_BA)


if __name__ == "__main__":
    main("dqn")
