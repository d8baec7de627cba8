"""DQfD: Q-learning that begins with demonstrations and keeps them in every minibatch.

Deep Q-learning from Demonstrations, Hester et al. 2018, https://arxiv.org/abs/1704.03732:
  L(θ) = L₁(θ) + λ₁ L_n(θ) + λ₂ E_demos[ max_a (Q(s, a) + m 1{a ≠ a_E}) - Q(s, a_E) ]
L₁ and L_n are DQN's losses with returns of one step and of n steps. It differs from DQN by three
things: the demonstrations, the return of one step, and the last term, a large margin by which the
demonstrator's action a_E shall be better than others. The weight decay is λ₃.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agents.core.math import losses
from agents.core.math.schedules import constant
from agents.core.nets.value_networks import QNetwork
from agents.core.optimize.bootstrap import Bootstrap
from agents.core.optimize.learner import LossOutput
from agents.core.policies.epsilon_greedy import EpsilonGreedyPolicy, make_epsilon_greedy
from agents.core.training import presets
from agents.core.training.config import SoftValueConfig
from agents.core.training.imitation import ImitationAlgorithm, ImitationConfig
from agents.core.training.launch import main
from agents.core.types.batches import Batch, PairedBatch


@dataclass(frozen=True, kw_only=True)
class Config(ImitationConfig, SoftValueConfig):
    title = "DQfD"
    demo_share: float = 0.25
    """This share of each minibatch is demonstrated."""
    pretrain_samples_per_step: float = 16.0
    """Until learning starts, updates use this many demonstrated transitions for each step."""
    margin: float = 0.8  # The demonstrator's action shall be better by this margin, m.
    margin_weight: float = 1.0  # The margin's loss has this weight, λ₂.
    n_step_weight: float = 1.0  # The loss with returns of n steps has this weight, λ₁.

    def validate(self) -> None:
        super().validate()
        self.at_least(0, "margin", "margin_weight", "n_step_weight", "pretrain_samples_per_step")


TRAINER = "online"

OF_PAPER: dict[str, Any] = {
    "n_step": constant(10),
    "weight_decay": 1e-5,
    "double": True,
    "epsilon": constant(0.01),
}

PRESETS = {
    "atari": Config(**presets.ATARI | OF_PAPER, total_steps=300_000),
    "atari-gpu": Config(**presets.ATARI_GPU | OF_PAPER, total_steps=1_000_000),
    "control": Config(**presets.CONTROL | OF_PAPER, learning_starts_steps=1_000),
}


make_policy = make_epsilon_greedy


def make_algorithm(config: Config, policy: EpsilonGreedyPolicy) -> DQfDAlgorithm:
    return DQfDAlgorithm(config, policy, DQfD)


class DQfDAlgorithm(ImitationAlgorithm):
    """Learns from demonstrations alone until learning starts, and from both sources afterwards."""

    def update(self) -> dict[str, Tensor]:
        if self.steps >= self.config.learning_starts_steps:
            return super().update()
        return self.learn(self.config.pretrain_samples_per_step, self.pretrain)

    def pretrain(self, count: int) -> dict[str, Tensor]:
        """Takes updates on demonstrations alone; returns the metrics of the last one."""
        size = self.config.batch_size
        demos = self.demo_replay
        metrics: dict[str, Tensor] = {}
        for _ in range(count):
            batch = demos.sample(demos.draw(size))
            batch = self.noise.add(batch, *(each[0] for each in self.noise.draw(1, size)))
            metrics, priority_B = self.improve(PairedBatch.of(batch, demos.one_step(batch)))
            if priority_B is not None:
                demos.update_priorities(batch, priority_B)
        return metrics

    def minibatch(self, *random: Tensor) -> PairedBatch:
        sampler: Any = self.sampler
        batch = super().minibatch(*random)
        return PairedBatch.of(batch, sampler.one_step(batch))


class DQfD:
    """Fits Q to returns of one step and of n steps, and the demonstrator's action to be the best.

    A transition's priority is its error with the return of one step.
    """

    def __init__(self, config: Config, network: QNetwork, target: QNetwork):
        self.config = config
        self.network = network
        self.target = target
        self.bootstrap = Bootstrap(config, network, target)

    def loss(self, batch: PairedBatch) -> LossOutput:
        config = self.config
        q_BA = self.network(batch.inputs)
        td_error_B = self.td_error(batch.one_step, q_BA)
        td_loss_B = losses.huber(td_error_B)
        n_step_loss_B = losses.huber(self.td_error(batch, q_BA))
        margin_B = losses.margin(q_BA, batch.action_B, config.margin, batch.legal_BA)
        margin_loss_B = margin_B * batch.is_demo_B
        loss_B = td_loss_B + config.n_step_weight * n_step_loss_B
        loss_B = loss_B + config.margin_weight * margin_loss_B
        metrics = {
            "losses/td_loss": td_loss_B,
            "losses/n_step_loss": n_step_loss_B,
            "losses/margin_loss": margin_loss_B,
            "losses/q_values": q_BA.mean(dim=1),
        }
        return LossOutput(loss_B, metrics, priority_B=td_error_B.abs())

    def td_error(self, batch: Batch, q_BA: Tensor) -> Tensor:
        """The error (B,) of the values in s for the returns of a minibatch."""
        with torch.no_grad():
            q_next_BA = self.target(batch.next_inputs)
            target_B = self.bootstrap.targets(batch, q_next_BA, q_next_BA)
        return losses.td_error(q_BA, batch.action_B, target_B)


if __name__ == "__main__":
    main("dqfd")
