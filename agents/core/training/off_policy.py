"""Off-policy algorithms: they learn repeatedly from a replay of steps, whatever policy took them.

This module holds counters, sampling and schedules. An algorithm's own file holds its losses.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from agents.core.data.replay import Layout, Replay
from agents.core.data.replay_store import ChunkStore, ReplayStore
from agents.core.data.samplers import Sampler
from agents.core.data.sequences import SequenceSampler
from agents.core.math.schedules import stream_seed
from agents.core.optimize.learner import LossOutput, Update
from agents.core.policies.policy import Policy, copy_weights, frozen_copy
from agents.core.system.codec import all_like
from agents.core.system.device import to_device
from agents.core.training.algorithm import OnlineAlgorithm
from agents.core.types.batches import FORWARD_PASSES
from agents.core.types.step import Step
from envs import schema


class ReplayAlgorithm(OnlineAlgorithm):
    """Stores steps in a replay, and takes updates on minibatches of them.

    An algorithm of this kind says what an update is, and what a renewal of its targets is.

    Args:
        target: holds the networks that give targets, and takes no gradient.
        renew_every_updates: two calls of `renew` are this many updates apart.
        sampler: makes the source of minibatches from the replay; by default the replay itself, or
            its sequences if the policy has a memory.

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
        self.replay = Replay(config, policy.spaces, policy.device, layout_of(config, policy))
        self.replay_store = ReplayStore(self.replay)
        self.sampler: Sampler = (sampler or default_sampler)(self.replay)
        self.n_step = config.n_step.until(config.total_steps)
        self.steps = 0
        self.updates = 0
        self.updates_due = 0.0

    @abstractmethod
    def improve(self, batch: Any) -> Update:
        """Takes an update on a minibatch."""

    @abstractmethod
    def renew(self) -> dict[str, Tensor]:
        """Brings the target up to date, in place; returns metrics of what it learned, if any."""

    def observe(self, step: Step) -> None:
        self.replay.add(step)
        self.steps += len(step.action_N)

    def end_episodes(self) -> None:
        self.replay.end_episodes()

    def update(self) -> dict[str, Tensor]:
        """Takes the updates that are due; returns the metrics of the last one."""
        config = self.config
        if self.steps < config.learning_starts_steps or not self.sampler.ready:
            return {}
        graphed = self.policy.compute.graphed
        return self.learn(
            config.samples_per_step, lambda count: graphed(self._fit, *self.draw(count))
        )

    def set_n_step(self, n_step: int) -> None:
        """Sets how many rewards a return sums, in all sources of transitions."""
        self.replay.set_n_step(n_step)

    def learn(
        self, samples_per_step: float, fit: Callable[[int], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Takes the updates that are due after a step of all environments, and renews the target.

        Args:
            samples_per_step: transitions of minibatches for each step.
            fit: takes so many updates; returns the metrics of the last one.
        """
        metrics: dict[str, Tensor] = {}
        self.set_n_step(round(self.n_step(self.steps)))
        samples = samples_per_step * self.policy.spaces.num_envs
        self.updates_due += samples / self.config.batch_size
        while self.updates_due >= 1:
            count = min(int(self.updates_due), self._until_renewal)
            metrics = fit(count)
            self.updates += count
            self.updates_due -= count
            if self.updates % self.renew_every_updates == 0:
                metrics = {**metrics, **self.renew()}
        return metrics

    def draw(self, count: int) -> tuple[Tensor, ...]:
        """Draws the random numbers of U updates: tensors (U, ...), in [0, 1) for the sampler."""
        return (self.sampler.draw(count, self.config.batch_size),)

    def minibatch(self, *random: Tensor) -> Any:
        """Makes the minibatch of an update from its row of each tensor of `draw`."""
        return self.sampler.sample(*random)

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

    def loss(self, batch: Any) -> LossOutput:
        """The loss, priority and metrics of each transition."""
        ...


class LossNoise:
    """Random numbers for losses: uniform ones for each transition, normal ones for each minibatch.

    Args:
        num_uniform: uniform numbers for a transition, U.
        num_normal: normal numbers for a forward pass, E; each of the forward passes has its own.
    """

    def __init__(self, seed: int, device: torch.device, num_uniform: int, num_normal: int):
        self.generator = torch.Generator().manual_seed(stream_seed(seed, "losses"))
        self.device = device
        self.num_uniform = num_uniform
        self.num_normal = num_normal

    def draw(self, updates: int, *rows: int) -> tuple[Tensor, Tensor]:
        """Draws uniform numbers (updates, *rows, U) and normal ones (updates, 1, K, E)."""
        uniform = torch.rand(updates, *rows, self.num_uniform, generator=self.generator)
        shape = (updates, 1, FORWARD_PASSES, self.num_normal)
        normal = torch.randn(shape, generator=self.generator)
        return to_device(uniform, self.device), to_device(normal, self.device)

    def add(self, batch: Any, uniform: Tensor, normal: Tensor) -> Any:
        """The minibatch with the random numbers of its update."""
        if self.num_uniform:
            batch = replace(batch, uniform=uniform)
        if self.num_normal:
            batch = replace(batch, noise_BKE=normal.expand(len(batch.slot_B), -1, -1))
        return batch


class OffPolicyAlgorithm(ReplayAlgorithm):
    """Fits one network to bootstrapped n-step returns.

    Args:
        method: makes the algorithm's `Method` from its config, the network and the target network.
            The target network is a copy, renewed every `target_every_updates` updates.
        sampler: makes the source of minibatches from the replay; by default the replay itself, or
            its sequences if the network has a memory.
        num_uniform: uniform random numbers that the loss needs for each transition.
    """

    def __init__(
        self,
        config: Any,
        policy: Policy,
        method: Callable[[Any, Any, Any], Method],
        sampler: Callable[[Replay], Sampler] | None = None,
        num_uniform: int = 0,
    ):
        target = frozen_copy(policy.network)
        super().__init__(config, policy, target, config.target_every_updates, sampler)
        self.method = method(config, policy.network, target)
        self.loss = self.method.loss
        self.noise = LossNoise(config.seed, policy.device, num_uniform, policy.network.num_noise)
        self.epsilon = config.epsilon.until(config.total_steps)

    def exploration(self, step: int) -> float:
        return self.epsilon(step)

    def improve(self, batch: Any) -> Update:
        return self.learner.update(self.loss, batch)

    def renew(self) -> dict[str, Tensor]:
        copy_weights(self.policy.network, self.target)
        return {}

    def draw(self, count: int) -> tuple[Tensor, ...]:
        (uniform_UB,) = super().draw(count)
        steps = (self.replay.layout.sequence_steps,) if self.replay.layout.in_sequences else ()
        return uniform_UB, *self.noise.draw(*uniform_UB.shape, *steps)

    def minibatch(self, *random: Tensor) -> Any:
        uniform_B, *of_loss = random
        return self.noise.add(super().minibatch(uniform_B), *of_loss)

    def state_dict(self, store: ChunkStore) -> dict[str, Any]:
        return {**super().state_dict(store), "noise": self.noise.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any], store: ChunkStore) -> None:
        super().load_state_dict(state, store)
        # Earlier versions had no losses with random numbers.
        self.noise.generator.set_state(state.get("noise", self.noise.generator.get_state()))


def layout_of(config: Any, policy: Policy) -> Layout:
    """What the replay of a policy stores, and how long its draws are."""
    if not config.draws_sequences:
        return Layout(policy.previous)
    return Layout(policy.previous, policy.memory_size, config.sequence_steps, config.burn_in_steps)


def default_sampler(replay: Replay) -> Sampler:
    """The replay itself, or its sequences."""
    return SequenceSampler(replay) if replay.layout.in_sequences else replay
