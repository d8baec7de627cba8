"""SQIL: Q-learning in which demonstrated steps have the reward 1 and the agent's own have 0.

SQIL: Imitation Learning via Reinforcement Learning with Sparse Rewards, Reddy et al. 2020,
https://arxiv.org/abs/1905.11108, algorithm 1. Half of each minibatch D is demonstrated:
  L(θ) = E_D[ ½ (R_n + γⁿ V(s_{t+n}; θ⁻) - Q(s_t, a_t; θ))² ],   V(s) = τ log Σ_a exp(Q(s, a) / τ)
It differs from DQN by the source of the minibatches, by the rewards and by the soft V. The
environment's rewards are never seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from agents.core.math import losses
from agents.core.math.schedules import constant
from agents.core.nets.value_networks import QNetwork
from agents.core.optimize.bootstrap import Bootstrap
from agents.core.optimize.learner import LossOutput
from agents.core.policies.epsilon_greedy import EpsilonGreedyPolicy, make_epsilon_greedy
from agents.core.training import presets
from agents.core.training.config import SoftValueConfig, require
from agents.core.training.imitation import ImitationAlgorithm, ImitationConfig
from agents.core.training.launch import main
from agents.core.types.batches import Batch

OWN_REWARD = 0.0

DEMO_REWARD = 1.0


@dataclass(frozen=True, kw_only=True)
class Config(ImitationConfig, SoftValueConfig):
    title = "SQIL"

    @property
    def is_soft(self) -> bool:
        return True

    def validate(self) -> None:
        super().validate()
        seen = self.previous_inputs
        require(not seen, "previous_inputs", seen, "False, because they tell the reward")


TRAINER = "online"

ATARI: dict[str, Any] = {**presets.ATARI, "n_step": constant(1)}
ATARI_GPU: dict[str, Any] = {**presets.ATARI_GPU, "n_step": constant(1)}
CONTROL: dict[str, Any] = {**presets.CONTROL, "n_step": constant(1)}

PRESETS = {
    "atari": Config(**ATARI, total_steps=300_000),
    "atari-gpu": Config(**ATARI_GPU, total_steps=1_000_000),
    "control": Config(**CONTROL),
}


make_policy = make_epsilon_greedy


def make_algorithm(config: Config, policy: EpsilonGreedyPolicy) -> ImitationAlgorithm:
    return ImitationAlgorithm(config, policy, SQIL, rewards=(OWN_REWARD, DEMO_REWARD))


class SQIL:
    """Fits Q to soft targets whose reward tells a demonstrated step from the agent's own."""

    def __init__(self, config: Config, network: QNetwork, target: QNetwork):
        self.network = network
        self.target = target
        self.bootstrap = Bootstrap(config, network, target)

    def loss(self, batch: Batch) -> LossOutput:
        with torch.no_grad():
            q_next_BA = self.target(batch.next_inputs)
            target_B = self.bootstrap.targets(batch, q_next_BA, q_next_BA)
        q_BA = self.network(batch.inputs)
        td_error_B = losses.td_error(q_BA, batch.action_B, target_B)
        loss_B = losses.squared(td_error_B)
        metrics = {"losses/td_loss": loss_B, "losses/q_values": q_BA.mean(dim=1)}
        return LossOutput(loss_B, metrics, priority_B=td_error_B.abs())


if __name__ == "__main__":
    main("sqil")
