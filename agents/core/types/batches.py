"""Minibatches, the inputs of losses. Each splits into shards, in order, without copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """A minibatch of B transitions over n steps.

    Attributes:
        obs: observations s (B, ...).
        action_B: actions a, int64 (B,), or float32 (B, K) if actions are continuous.
        reward_B: discounted sum of the n rewards.
        discount_B: factor of the value of s': γⁿ, or 0 if the return ends.
        next_obs: observations s' (B, ...), n steps later.
        weight_B: importance of each transition's loss.
        slot_B: position of each transition in its replay.
    """

    obs: Tensor
    action_B: Tensor
    reward_B: Tensor
    discount_B: Tensor
    next_obs: Tensor
    weight_B: Tensor
    slot_B: Tensor

    @property
    def outcome(self) -> tuple[Tensor, Tensor, Tensor]:
        """The action, the n-step reward and the discount."""
        return self.action_B, self.reward_B, self.discount_B

    @property
    def size(self) -> int:
        """Number of transitions, B."""
        return len(self.slot_B)

    @property
    def weight(self) -> Tensor:
        """Importance of each transition's loss."""
        return self.weight_B

    def split(self, shards: int) -> list[Batch]:
        """The batch in `shards` nearly equal parts, in order; views, not copies."""
        return shards_of(self, shards)

    def cut(self, count: int) -> tuple[Batch, Batch]:
        """The first `count` transitions, and the others; views, not copies."""
        first = {name: each[:count] for name, each in tensors(self).items()}
        others = {name: each[count:] for name, each in tensors(self).items()}
        return replace(self, **first), replace(self, **others)


@dataclass(frozen=True)
class Sequences:
    """A minibatch of B sequences of L consecutive steps, (L, B, ...); L is 1 without a core.

    Attributes:
        memory_BS: the policy's memory before the first step of each sequence.
        start_LB: bool, the step is the first of its episode.
        return_LB: advantage plus value, the target of the value.
        size: steps in the minibatch over all ranks.
    """

    obs_LB: Tensor
    memory_BS: Tensor
    start_LB: Tensor
    action_LBK: Tensor
    log_prob_LB: Tensor
    value_LB: Tensor
    advantage_LB: Tensor
    return_LB: Tensor
    size: int

    weight = 1.0
    """Every step has the same weight."""

    def split(self, shards: int) -> list[Sequences]:
        """The minibatch in `shards` nearly equal parts, in order; views, not copies."""
        return shards_of(self, shards, lambda name: 0 if name == "memory_BS" else 1)


@dataclass(frozen=True)
class DemoBatch:
    """A minibatch of demonstrated steps.

    Attributes:
        action_BK: the demonstrator's actions, in the form of `agents.core.nets.distributions`.
        kept_BF: float, the dropout factors of the features: 0, or the scale of a kept feature.
        weight_B: importance of each step's loss.
    """

    obs: Tensor
    action_BK: Tensor
    kept_BF: Tensor
    weight_B: Tensor

    @property
    def size(self) -> int:
        """Number of steps, B."""
        return len(self.weight_B)

    @property
    def weight(self) -> Tensor:
        """Importance of each step's loss."""
        return self.weight_B

    def split(self, shards: int) -> list[DemoBatch]:
        """The minibatch in `shards` nearly equal parts, in order; views, not copies."""
        return shards_of(self, shards)


def joined(batches: list[Batch]) -> Batch:
    """Joins several minibatches into one, in order."""
    names = tensors(batches[0])
    return Batch(**{name: torch.cat([getattr(batch, name) for batch in batches]) for name in names})


M = TypeVar("M", Batch, Sequences, DemoBatch)


def shards_of(batch: M, shards: int, dim_of: Callable[[str], int] = lambda name: 0) -> list[M]:
    """Splits a minibatch into nearly equal parts; `dim_of` gives the dimension of each tensor."""
    parts = {name: t.tensor_split(shards, dim_of(name)) for name, t in tensors(batch).items()}
    columns = zip(*parts.values(), strict=True)
    return [replace(batch, **dict(zip(parts, column, strict=True))) for column in columns]


def tensors(batch: Any) -> dict[str, Tensor]:
    """The fields of a minibatch that are tensors."""
    return {name: value for name, value in vars(batch).items() if isinstance(value, Tensor)}
