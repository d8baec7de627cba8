"""Off-policy algorithms: they learn repeatedly from a replay of steps, whatever policy took them.

This module holds counters, target copies, sampling and schedules. An algorithm's own file holds its
loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from agents.core.data.replay import Replay
from agents.core.data.replay_store import ChunkStore, ReplayStore
from agents.core.data.samplers import Sampler
from agents.core.optimize.learner import LossOutput
from agents.core.policies.policy import Policy, copy_weights, frozen_copy
from agents.core.system.codec import all_like
from agents.core.training.algorithm import OnlineAlgorithm
from agents.core.types.batches import Batch
from agents.core.types.step import Step
from envs import schema


class Method(Protocol):
    """The mathematics of an off-policy algorithm."""

    def loss(self, batch: Batch) -> LossOutput:
        """The loss, priority and metrics of each transition."""
        ...


class OffPolicyAlgorithm(OnlineAlgorithm):
    """Stores steps in a replay, and fits a network to bootstrapped n-step returns.

    Args:
        method: makes the algorithm's `Method` from its config, the network and the target network.
            The target network is a copy, renewed every `target_every_updates` updates.
        sampler: makes the source of minibatches from the replay; by default the replay itself.

    Attributes:
        steps: environment steps observed.
        updates: optimization steps taken.
        updates_due: updates to take now; between two steps, a fraction below 1.
    """

    can_overlap = True
    horizon_steps = 1

    def __init__(
        self,
        config: Any,
        policy: Policy,
        method: Callable[[Any, Any, Any], Method],
        sampler: Callable[[Replay], Sampler] | None = None,
    ):
        super().__init__(config, policy)
        self.target = frozen_copy(policy.network)
        self.replay = Replay(config, policy.spaces, policy.device)
        self.replay_store = ReplayStore(self.replay)
        self.sampler: Sampler = self.replay if sampler is None else sampler(self.replay)
        self.method = method(config, policy.network, self.target)
        self.loss = self.method.loss
        self.epsilon = config.epsilon.until(config.total_steps)
        self.n_step = config.n_step.until(config.total_steps)
        self.steps = 0
        self.updates = 0
        self.updates_due = 0.0

    def exploration(self, step: int) -> float:
        return self.epsilon(step)

    def observe(self, step: Step) -> None:
        self.replay.add(step)
        self.steps += len(step.action_N)

    def end_episodes(self) -> None:
        self.replay.end_episodes()

    def update(self) -> dict[str, Tensor]:
        """Takes the updates that are due; returns the metrics of the last one."""
        metrics: dict[str, Tensor] = {}
        config = self.config
        if self.steps < config.learning_starts_steps or not self.sampler.ready:
            return metrics
        self.replay.set_n_step(round(self.n_step(self.steps)))
        samples = config.samples_per_step * self.policy.spaces.num_envs
        self.updates_due += samples / config.batch_size
        while self.updates_due >= 1:
            count = min(int(self.updates_due), self._until_target_copy)
            uniform_UB = self.sampler.draw(count, config.batch_size)
            metrics = self.policy.compute.graphed(self._fit, uniform_UB)
            self.updates += count
            self.updates_due -= count
            if self.updates % config.target_every_updates == 0:
                copy_weights(self.policy.network, self.target)
        return metrics

    @property
    def _until_target_copy(self) -> int:
        """Number of updates before the target network is renewed."""
        every = self.config.target_every_updates
        return every - self.updates % every

    def _fit(self, uniform_UB: Tensor) -> dict[str, Tensor]:
        """Takes U updates; returns the metrics of the last one.

        Args:
            uniform_UB: random numbers in [0, 1); each row draws a minibatch of B transitions.
        """
        metrics: dict[str, Tensor] = {}
        for uniform_B in uniform_UB:
            batch = self.sampler.sample(uniform_B)
            metrics, priority_B = self.learner.update(self.loss, batch)
            if priority_B is not None:
                self.sampler.update_priorities(batch, priority_B)
        return metrics

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
