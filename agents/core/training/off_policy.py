"""Off-policy algorithms: they learn repeatedly from a replay of steps, whatever policy took them.

This module holds counters, sampling and schedules. An algorithm's own file holds its losses.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor, nn

from agents.core.data.replay import Replay
from agents.core.data.replay_store import ChunkStore, ReplayStore
from agents.core.data.samplers import Sampler
from agents.core.optimize.learner import LossOutput, Update
from agents.core.policies.policy import Policy, copy_weights, frozen_copy
from agents.core.system.codec import all_like
from agents.core.training.algorithm import OnlineAlgorithm
from agents.core.types.batches import Batch
from agents.core.types.step import Step
from envs import schema


class ReplayAlgorithm(OnlineAlgorithm):
    """Stores steps in a replay, and takes updates on minibatches of them.

    An algorithm of this kind says what an update is, and what a renewal of its targets is.

    Args:
        target: holds the networks that give targets, and takes no gradient.
        renew_every_updates: two calls of `renew` are this many updates apart.
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
        target: nn.Module,
        renew_every_updates: int,
        sampler: Callable[[Replay], Sampler] | None = None,
    ):
        super().__init__(config, policy)
        self.target = target
        self.renew_every_updates = renew_every_updates
        self.replay = Replay(config, policy.spaces, policy.device)
        self.replay_store = ReplayStore(self.replay)
        self.sampler: Sampler = self.replay if sampler is None else sampler(self.replay)
        self.n_step = config.n_step.until(config.total_steps)
        self.steps = 0
        self.updates = 0
        self.updates_due = 0.0

    @abstractmethod
    def improve(self, batch: Batch) -> Update:
        """Takes an update on a minibatch."""

    @abstractmethod
    def renew(self) -> None:
        """Brings the target up to date, in place."""

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
            count = min(int(self.updates_due), self._until_renewal)
            metrics = self.policy.compute.graphed(self._fit, *self.draw(count))
            self.updates += count
            self.updates_due -= count
            if self.updates % self.renew_every_updates == 0:
                self.renew()
        return metrics

    def draw(self, count: int) -> tuple[Tensor, ...]:
        """Draws the random numbers of U updates: tensors (U, ...), in [0, 1) for the sampler."""
        return (self.sampler.draw(count, self.config.batch_size),)

    def minibatch(self, uniform_B: Tensor) -> Batch:
        """Makes the minibatch of an update from its row of each tensor of `draw`."""
        return self.sampler.sample(uniform_B)

    @property
    def _until_renewal(self) -> int:
        """Number of updates before the target is renewed."""
        every = self.renew_every_updates
        return every - self.updates % every

    def _fit(self, *random: Tensor) -> dict[str, Tensor]:
        """Takes U updates; returns the metrics of the last one.

        Args:
            random: the tensors (U, ...) of `draw`; each row is for one update.
        """
        metrics: dict[str, Tensor] = {}
        for rows in zip(*random, strict=True):
            batch = self.minibatch(*rows)
            metrics, priority_B = self.improve(batch)
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


class Method(Protocol):
    """The mathematics of an off-policy algorithm."""

    def loss(self, batch: Batch) -> LossOutput:
        """The loss, priority and metrics of each transition."""
        ...


class OffPolicyAlgorithm(ReplayAlgorithm):
    """Fits one network to bootstrapped n-step returns.

    Args:
        method: makes the algorithm's `Method` from its config, the network and the target network.
            The target network is a copy, renewed every `target_every_updates` updates.
        sampler: makes the source of minibatches from the replay; by default the replay itself.
    """

    def __init__(
        self,
        config: Any,
        policy: Policy,
        method: Callable[[Any, Any, Any], Method],
        sampler: Callable[[Replay], Sampler] | None = None,
    ):
        target = frozen_copy(policy.network)
        super().__init__(config, policy, target, config.target_every_updates, sampler)
        self.method = method(config, policy.network, target)
        self.loss = self.method.loss
        self.epsilon = config.epsilon.until(config.total_steps)

    def exploration(self, step: int) -> float:
        return self.epsilon(step)

    def improve(self, batch: Batch) -> Update:
        return self.learner.update(self.loss, batch)

    def renew(self) -> None:
        copy_weights(self.policy.network, self.target)
