"""Off-policy actor-critics: critics judge replayed actions, and an actor follows the critics.

This module holds the critics, their target copies and the random numbers of the actions that losses
draw. An algorithm's own file holds its losses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from agents.core.data.replay import Replay
from agents.core.data.replay_store import ChunkStore
from agents.core.data.samplers import Sampler
from agents.core.math.schedules import stream_seed
from agents.core.nets.critics import move_toward
from agents.core.nets.pixels import Pixels
from agents.core.optimize.learner import Part
from agents.core.policies.policy import Policy, frozen_copy
from agents.core.system.codec import like
from agents.core.system.device import to_device
from agents.core.training.off_policy import ReplayAlgorithm
from agents.core.types.batches import Batch


@dataclass(frozen=True, kw_only=True)
class NoisyBatch(Batch):
    """A minibatch with normal numbers for the actions that a loss draws.

    Attributes:
        normal_BK: for the actions in s; K is 0 if actions are discrete.
        next_normal_BK: for the actions in s'.
    """

    normal_BK: Tensor
    next_normal_BK: Tensor


class OffPolicyActorCritic(ReplayAlgorithm):
    """Trains the parts "policy" and "critic"; target copies follow slowly.

    Every `target_every_updates` updates, the copies move toward their originals by `target_share`.

    Args:
        critic: the critics, which the policy's weights do not hold.
        leading: the networks that target copies follow; by default the critics.
        sampler: makes the source of minibatches from the replay; by default the replay itself.
        num_uniform: uniform random numbers that a loss needs for each transition.

    Attributes:
        actor: the policy's network, which maps observations to a distribution.
        critic: the critics, which the policy's weights do not hold.
    """

    target: Any

    def __init__(
        self,
        config: Any,
        policy: Policy,
        critic: nn.Module,
        leading: nn.Module | None = None,
        sampler: Callable[[Replay], Sampler] | None = None,
        num_uniform: int = 0,
    ):
        critic = critic.to(policy.device)
        see_alike(policy.network, critic)
        self.leading = leading or critic
        target = frozen_copy(self.leading)
        super().__init__(config, policy, target, config.target_every_updates, sampler)
        self.actor: Any = policy.network
        self.critic: Any = critic
        self.learner.parts["critic"] = Part(critic, config, in_policy=False)
        self.num_uniform = num_uniform
        self.generator = torch.Generator().manual_seed(stream_seed(config.seed, "drawn actions"))

    def exploration(self, step: int) -> float:
        """The temperature 1; infinite, for uniform actions, until learning starts."""
        return 1.0 if step >= self.config.learning_starts_steps else float("inf")

    def renew(self) -> dict[str, Tensor]:
        target = list(self.target.parameters())
        move_toward(target, list(self.leading.parameters()), self.config.target_share)
        return {}

    def draw(self, count: int) -> tuple[Tensor, ...]:
        spaces = self.policy.spaces
        size = (count, 2, self.config.batch_size, spaces.action_parts * spaces.continuous)
        normal = torch.randn(size, generator=self.generator)
        uniform = torch.rand(count, size[2], self.num_uniform, generator=self.generator)
        device = self.policy.device
        return (*super().draw(count), to_device(normal, device), to_device(uniform, device))

    def minibatch(self, *random: Tensor) -> NoisyBatch:
        of_sampler_B, normal_2BK, uniform_BU = random
        batch = super().minibatch(of_sampler_B)
        if self.num_uniform:
            batch = replace(batch, uniform=uniform_BU)
        return NoisyBatch(**vars(batch), normal_BK=normal_2BK[0], next_normal_BK=normal_2BK[1])

    def state_dict(self, store: ChunkStore) -> dict[str, Any]:
        return {**super().state_dict(store), "drawn_actions": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any], store: ChunkStore) -> None:
        drawn = like(state["drawn_actions"], self.generator.get_state(), "drawn_actions")
        super().load_state_dict(state, store)
        self.generator.set_state(drawn)


def see_alike(network: nn.Module, other: nn.Module) -> None:
    """Gives a second network the first one's scales of pixels."""
    own = [module for module in other.modules() if isinstance(module, Pixels)]
    theirs = [module for module in network.modules() if isinstance(module, Pixels)]
    for mine, first in zip(own, theirs, strict=True):
        mine.load_state_dict(first.state_dict())
