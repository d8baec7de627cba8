"""Deep Q-network: Q-learning with a convolutional network on replayed experience.

Mnih et al. 2015, Human-level control through deep RL, https://doi.org/10.1038/nature14236.
  L(θ) = E[ huber(R_n + γⁿ max_a Q(s_{t+n}, a; θ⁻) - Q(s_t, a_t; θ)) ],   θ⁻ ← θ at intervals
`--preset nature` is the paper; the defaults learn Pong soonest on two CPU cores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from agents.core.data.replay import Replay
from agents.core.data.replay_store import ChunkStore, ReplayStore
from agents.core.math import losses
from agents.core.math.schedules import Linear, constant
from agents.core.nets.networks import make_q_network
from agents.core.nets.settings import QNetworkConfig
from agents.core.optimize.acting import epsilon_greedy
from agents.core.optimize.learner import Learner, copy_weights
from agents.core.system.codec import all_like
from agents.core.training.config import OffPolicyConfig
from agents.core.training.launch import main
from agents.core.types.batches import Batch
from agents.core.types.env_rng import EnvRng
from agents.core.types.spaces import Spaces
from agents.core.types.step import ActOutput, Obs, Step
from envs import schema


@dataclass(frozen=True, kw_only=True)
class Config(QNetworkConfig, OffPolicyConfig):
    title = "DQN"
    max_grad_norm: float = 10.0
    learning_rate: Linear = constant(7e-4)
    gamma: float = 0.98
    n_step: Linear = constant(20)
    layer_norm: bool = True
    action_gap: float = 0.0  # Advantage learning has this α (https://arxiv.org/abs/1512.04860).
    double: bool = False  # θ chooses the next action (https://arxiv.org/abs/1509.06461).
    loss: Literal["huber", "squared"] = "huber"  # Huber at 1 is the paper's error clipping.

    def validate(self) -> None:
        super().validate()
        self.within_unit("action_gap")


PRESETS = {
    "atari": Config(
        num_envs=32,
        overlap_learning=True,
        buffer_size=40_000,
        n_step=Linear(20, 5, 200_000, 900_000),
        learning_rate=Linear(7e-4, 7e-5, 200_000, 900_000),
        action_gap=0.5,
        ema_updates=1_000,
    ),
    "control": Config(
        env_id="CartPole-v1",
        total_steps=100_000,
        learning_rate=constant(5e-4),
        n_step=constant(10),
        samples_per_step=8,
        priority_exponent=0,
        target_every_updates=500,
        double=True,
        dueling=True,
    ),
    "atari-gpu": Config(
        num_envs=128,
        batch_size=512,
        samples_per_step=8,
        epsilon=Linear(1.0, 0.01, 0, 250_000),
        buffer_size=1_000_000,
        learning_rate=Linear(7e-4, 7e-5, 500_000, 2_000_000),
        n_step=Linear(20, 5, 500_000, 2_000_000),
        action_gap=0.5,
        ema_updates=1_000,
        learning_starts_steps=50_000,
    ),
    "nature": Config(
        total_steps=50_000_000,
        num_envs=4,
        torso="nature",
        hidden=512,
        n_step=constant(1),
        layer_norm=False,
        optimizer="nature_rmsprop",
        optimizer_epsilon=0.1 / 32,
        gamma=0.99,
        learning_rate=constant(2.5e-4),
        batch_size=32,
        samples_per_step=8.0,
        max_grad_norm=0.0,
        buffer_size=1_000_000,
        learning_starts_steps=50_000,
        priority_exponent=0.0,
        target_every_updates=10_000,
        epsilon=Linear(1.0, 0.1, 0, 1_000_000),
        eval_epsilon=0.05,
        eval_every_steps=1_000_000,
        standardize_pixels=False,
    ),
}


def build(config: Config, spaces: Spaces, device: torch.device) -> DQN:
    learner = Learner(make_q_network(config, spaces), config, device)
    return DQN(config, spaces, learner, Replay(config, spaces, device))


class DQN:
    """Acts ε-greedily, remembers, and fits Q to its own bootstrapped n-step returns."""

    explores_by, horizon_steps, can_overlap, memory_size = "epsilon", 1, True, 0

    def __init__(self, config: Config, spaces: Spaces, learner: Learner, replay: Replay):
        self.config, self.spaces, self.learner, self.replay = config, spaces, learner, replay
        self.target, self.replay_store = learner.target_copy(), ReplayStore(replay)
        self.exploration = config.epsilon.until(config.total_steps)
        self.n_step = config.n_step.until(config.total_steps)
        self.steps, self.updates, self.updates_due = 0, 0, 0.0

    def prepare(self) -> None:
        self.replay.allocate()
        copy_weights(self.learner.network, self.target)

    def act(self, obs: Obs, memory_NS: Tensor, rng: EnvRng, exploration: float) -> ActOutput:
        index_N = epsilon_greedy(self.learner, obs, rng, exploration)
        return ActOutput(self.spaces.playable_combination(index_N), memory_NS)

    def observe(self, step: Step) -> None:
        self.replay.add(step)
        self.steps += len(step.action_N)

    def end_episodes(self) -> None:
        self.replay.end_episodes()

    def learn(self) -> dict[str, Tensor]:
        metrics, size, every = {}, self.config.batch_size, self.config.target_every_updates
        if self.steps < self.config.learning_starts_steps or not self.replay.ready:
            return metrics
        self.replay.set_n_step(round(self.n_step(self.steps)))
        self.updates_due += self.config.samples_per_step * self.spaces.num_envs / size
        while count := min(int(self.updates_due), every - self.updates % every):
            uniform_UB = self.replay.draw(count, size)
            metrics = self.learner.repeat(self.fit, uniform_UB)
            self.updates, self.updates_due = self.updates + count, self.updates_due - count
            if self.updates % every == 0:
                copy_weights(self.learner.network, self.target)
        return metrics

    def fit(self, uniform_UB: Tensor) -> dict[str, Tensor]:
        """U updates, each on a minibatch drawn by its row; returns the last one's means."""
        metrics: dict[str, Tensor] = {}
        for uniform_B in uniform_UB:
            batch = self.replay.sample(uniform_B)
            metrics, values = self.learner.update(self.loss, batch)
            self.replay.update_priorities(batch.slot_B, values["losses/td_error"])
        return metrics

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            q_next_BA = self.target(batch.next_obs)
            select_BA = self.learner.network(batch.next_obs) if self.config.double else q_next_BA
        q_BA = self.learner.network(batch.obs)
        td_B = losses.td_error(q_BA, *batch.outcome, q_next_BA, select_BA, self.config.action_gap)
        loss_B = losses.PENALTIES[self.config.loss](td_B)
        values = {"losses/q_values": q_BA.mean(dim=1), "losses/td_loss": loss_B}
        return loss_B, values | {"losses/td_error": td_B.abs()}

    def state_dict(self, store: ChunkStore) -> dict[str, Any]:
        return {
            "learner": self.learner.state_dict(),
            "target": dict(self.target.state_dict()),
            "replay": self.replay_store.state_dict(store),
            "counters": [self.steps, self.updates, self.updates_due],
        }

    def load_state_dict(self, state: dict[str, Any], store: ChunkStore) -> None:
        kinds = tuple[schema.Natural, schema.Natural, float]
        counters = schema.convert(state["counters"], kinds, "counters")
        if not 0 <= counters[2] < 1:
            raise ValueError(f"{counters[2]} updates cannot be due between two steps")
        self.learner.load_state_dict(state["learner"])
        self.target.load_state_dict(all_like(state["target"], self.target.state_dict(), "target"))
        self.replay_store.load_state_dict(state["replay"], store)
        self.steps, self.updates, self.updates_due = counters


if __name__ == "__main__":
    main("dqn")
