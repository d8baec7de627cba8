"""Minibatches, the inputs of losses. Each splits into shards, in order, without copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from agents.core.types.inputs import Inputs


class Transitions(Protocol):
    """N transitions over n steps, as the loss of a value agent sees them.

    A `Batch` or a `SequenceBatch` holds them.

    Attributes:
        inputs: the network's inputs in s.
        next_inputs: the target network's inputs in s'.
        selection_inputs: the network's inputs in s', when it chooses the next action.
        action_B: actions a, int64 (N,), or float32 (N, K) if actions are continuous.
        reward_B: discounted sums of n rewards.
        discount_B: factors of the value of s': γⁿ, or 0 if the return ends.
        legal_BA, next_legal_BA: bool, the legal actions in s and s'; None if all are legal.
        uniform_BU: uniform random numbers in [0, 1) for the loss.
    """

    @property
    def inputs(self) -> Inputs: ...
    @property
    def next_inputs(self) -> Inputs: ...
    @property
    def selection_inputs(self) -> Inputs: ...
    @property
    def action_B(self) -> Tensor: ...
    @property
    def reward_B(self) -> Tensor: ...
    @property
    def discount_B(self) -> Tensor: ...
    @property
    def legal_BA(self) -> Tensor | None: ...
    @property
    def next_legal_BA(self) -> Tensor | None: ...
    @property
    def uniform_BU(self) -> Tensor: ...


FORWARD_PASSES = 3
"""Forward passes of a loss with noise of their own: in s, in s', and to choose in s'."""


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
        previous_BP, next_previous_BP: the previous action and reward before s and s'; None if the
            network does not see them.
        legal_BA, next_legal_BA: bool, the legal actions in s and s'; None if all are legal.
        uniform: uniform random numbers (B, U); None if the loss needs none.
        noise_BKE: normal numbers for noisy layers, the same in each row, for each of the K forward
            passes; None without noisy layers.
        is_demo: bool (B,), the transition was demonstrated; None if all are the agent's own.
    """

    obs: Tensor
    action_B: Tensor
    reward_B: Tensor
    discount_B: Tensor
    next_obs: Tensor
    weight_B: Tensor
    slot_B: Tensor
    previous_BP: Tensor | None = None
    next_previous_BP: Tensor | None = None
    legal_BA: Tensor | None = None
    next_legal_BA: Tensor | None = None
    uniform: Tensor | None = None
    noise_BKE: Tensor | None = None
    is_demo: Tensor | None = None

    @property
    def inputs(self) -> Inputs:
        """The network's inputs in s."""
        return Inputs.of(self.obs, self.previous_BP, noise_BE=noise_of(self, 0))

    @property
    def next_inputs(self) -> Inputs:
        """The target network's inputs in s'."""
        return Inputs.of(self.next_obs, self.next_previous_BP, noise_BE=noise_of(self, 1))

    @property
    def selection_inputs(self) -> Inputs:
        """The network's inputs in s', with noise of their own."""
        return replace(self.next_inputs, noise_BE=noise_of(self, 2))

    @property
    def uniform_BU(self) -> Tensor:
        """Uniform random numbers for the loss."""
        assert self.uniform is not None
        return self.uniform

    @property
    def is_demo_B(self) -> Tensor:
        """Whether each transition was demonstrated."""
        assert self.is_demo is not None
        return self.is_demo

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


@dataclass(frozen=True, kw_only=True)
class PairedBatch(Batch):
    """A minibatch of transitions over n steps, with the same transitions over one step.

    Attributes:
        one_reward_B, one_discount_B, one_next_obs, one_next_previous_BP, one_next_legal_BA: the
            fields of `one_step` that differ.
    """

    one_reward_B: Tensor
    one_discount_B: Tensor
    one_next_obs: Tensor
    one_next_previous_BP: Tensor | None = None
    one_next_legal_BA: Tensor | None = None

    @classmethod
    def of(cls, batch: Batch, one_step: Batch) -> PairedBatch:
        """Joins the transitions over n steps and over one step."""
        return cls(
            **vars(batch),
            one_reward_B=one_step.reward_B,
            one_discount_B=one_step.discount_B,
            one_next_obs=one_step.next_obs,
            one_next_previous_BP=one_step.next_previous_BP,
            one_next_legal_BA=one_step.next_legal_BA,
        )

    @property
    def one_step(self) -> Batch:
        """The transitions over one step."""
        return replace(
            self,
            reward_B=self.one_reward_B,
            discount_B=self.one_discount_B,
            next_obs=self.one_next_obs,
            next_previous_BP=self.one_next_previous_BP,
            next_legal_BA=self.one_next_legal_BA,
        )


@dataclass(frozen=True)
class SequenceBatch:
    """A minibatch of B sequences from a replay, each of L steps: a burn-in, T steps, and n more.

    The loss learns from the T steps; it sees them as one minibatch of N = B * T transitions. The n
    more steps are those in which the last returns bootstrap. A slot that holds the last observation
    of an episode has no action; it stays in its sequence with a weight of 0.

    Attributes:
        obs_BL: observations (B, L, ...).
        start_BL: bool, the step is the first of its episode.
        memory_BS: the core's memory before the first step, when the policy acted.
        action_BT, reward_BT, discount_BT: as in `Batch`, for each of the T steps.
        next_time_BT: index in 0 to L - 1 of the step s' in which a return bootstraps.
        weight_BT: importance of each step's loss; 0 without an action.
        ended_BT: bool, the return ends with the step's last reward, or the episode does.
        slot_B: position of each sequence's first step in its replay.
        burn_in: number of steps before the T steps, which only warm up the memory.
        previous_BLP: previous actions and rewards; None if the network does not see them.
        legal_BLA: bool, the legal actions; None if all are legal.
        uniform: uniform random numbers (B, T, U); None if the loss needs none.
        noise_BKE: as in `Batch`.
    """

    obs_BL: Tensor
    start_BL: Tensor
    memory_BS: Tensor
    action_BT: Tensor
    reward_BT: Tensor
    discount_BT: Tensor
    next_time_BT: Tensor
    weight_BT: Tensor
    ended_BT: Tensor
    slot_B: Tensor
    burn_in: int = 0
    previous_BLP: Tensor | None = None
    legal_BLA: Tensor | None = None
    uniform: Tensor | None = None
    noise_BKE: Tensor | None = None

    @property
    def steps(self) -> int:
        """Steps of a sequence to learn from, T."""
        return self.action_BT.shape[1]

    @property
    def inputs(self) -> Inputs:
        """The network's inputs in the burn-in and in the T steps."""
        used, _ = self._whole(0).cut(self.burn_in + self.steps)
        return replace(used, burn_in=self.burn_in)

    @property
    def next_inputs(self) -> Inputs:
        """The target network's inputs, which return only the steps s'."""
        return replace(self._whole(1), row_N=self._next_row_N)

    @property
    def selection_inputs(self) -> Inputs:
        """The network's inputs, which return only the steps s'."""
        return replace(self._whole(2), row_N=self._next_row_N)

    def _whole(self, number: int) -> Inputs:
        """The inputs of whole sequences, with the noise of a forward pass."""
        previous_BLP = self.previous_BLP
        if previous_BLP is None:
            previous_BLP = torch.empty(*self.obs_BL.shape[:2], 0, device=self.obs_BL.device)
        noise = noise_of(self, number)
        return Inputs(self.obs_BL, previous_BLP, self.memory_BS, self.start_BL, noise)

    @property
    def _next_row_N(self) -> Tensor:
        """Indices of the steps s' among all B * L steps."""
        size, length = self.obs_BL.shape[:2]
        first_B1 = torch.arange(size, device=self.obs_BL.device).unsqueeze(1) * length
        return (first_B1 + self.next_time_BT).flatten()

    @property
    def action_B(self) -> Tensor:
        """Actions (N,)."""
        return self.action_BT.flatten(0, 1)

    @property
    def reward_B(self) -> Tensor:
        """Discounted sums of the n rewards, (N,)."""
        return self.reward_BT.flatten()

    @property
    def discount_B(self) -> Tensor:
        """Factors of the values of s', (N,)."""
        return self.discount_BT.flatten()

    @property
    def legal_BA(self) -> Tensor | None:
        """Legal actions (N, A) in s."""
        if self.legal_BLA is None:
            return None
        return self.legal_BLA[:, self.burn_in : self.burn_in + self.steps].flatten(0, 1)

    @property
    def next_legal_BA(self) -> Tensor | None:
        """Legal actions (N, A) in s'."""
        if self.legal_BLA is None:
            return None
        return self.legal_BLA.flatten(0, 1)[self._next_row_N]

    @property
    def uniform_BU(self) -> Tensor:
        """Uniform random numbers (N, U) for the loss."""
        assert self.uniform is not None
        return self.uniform.flatten(0, 1)

    @property
    def size(self) -> int:
        """Number of transitions, N."""
        return self.action_BT.shape[0] * self.steps

    @property
    def weight(self) -> Tensor:
        """Importance (N,) of each transition's loss."""
        return self.weight_BT.flatten()

    def split(self, shards: int) -> list[SequenceBatch]:
        """The sequences in `shards` nearly equal parts at most, in order; views, not copies."""
        return shards_of(self, shards)


def noise_of(batch: Batch | SequenceBatch, number: int) -> Tensor | None:
    """The noise (1, E) of a forward pass; None without noisy layers."""
    return None if batch.noise_BKE is None else batch.noise_BKE[:1, number]


@dataclass(frozen=True)
class Sequences:
    """A minibatch of B sequences of L consecutive steps, (L, B, ...); L is 1 without a core.

    Attributes:
        memory_BS: the policy's memory before the first step of each sequence.
        start_LB: bool, the step is the first of its episode.
        return_LB: advantage plus value, the target of the value.
        size: steps in the minibatch over all ranks.
        previous_LBP: previous actions and rewards; None if the network does not see them.
        legal_LBA: bool, the legal actions; None if all are legal.
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
    previous_LBP: Tensor | None = None
    legal_LBA: Tensor | None = None

    weight = 1.0
    """Every step has the same weight."""

    @property
    def inputs(self) -> tuple[Tensor | None, ...]:
        """The arguments of an actor-critic's `forward`."""
        return self.obs_LB, self.memory_BS, self.start_LB, self.previous_LBP, self.legal_LBA

    def split(self, shards: int) -> list[Sequences]:
        """The minibatch in `shards` nearly equal parts, in order; views, not copies."""
        return shards_of(self, shards, lambda name: 0 if name == "memory_BS" else 1)


@dataclass(frozen=True)
class ReturnSequences:
    """A minibatch of B sequences of L consecutive steps, batch first, with their returns.

    L is 1 without a core. A loss sees the steps as N = B * L rows.

    Attributes:
        obs_BL, previous_BLP, memory_BS, start_BL: the fields of `Inputs`.
        action_BL: int64, the numbers of the actions' combinations.
        return_BL: targets of the actions' values.
        size: steps in the minibatch over all ranks.
    """

    obs_BL: Tensor
    previous_BLP: Tensor
    memory_BS: Tensor
    start_BL: Tensor
    action_BL: Tensor
    return_BL: Tensor
    size: int

    weight = 1.0
    """Every step has the same weight."""

    @property
    def inputs(self) -> Inputs:
        """The network's inputs."""
        return Inputs(self.obs_BL, self.previous_BLP, self.memory_BS, self.start_BL)

    @property
    def action_B(self) -> Tensor:
        """Actions (N,)."""
        return self.action_BL.flatten()

    @property
    def return_B(self) -> Tensor:
        """Targets (N,) of the actions' values."""
        return self.return_BL.flatten()

    def split(self, shards: int) -> list[ReturnSequences]:
        """The sequences in `shards` nearly equal parts, in order; views, not copies."""
        return shards_of(self, shards)


@dataclass(frozen=True)
class DemoBatch:
    """A minibatch of demonstrated steps: B sequences of a burn-in and T steps.

    T is 1 without a core. A loss sees the steps as N = B * T rows.

    Attributes:
        obs_BL, previous_BLP, memory_BS, start_BL, burn_in: the fields of `Inputs`.
        action_BTK: the demonstrator's actions, in the form of `agents.core.nets.distributions`.
        kept_BTF: float, the dropout factors of the features: 0, or the scale of a kept feature.
        weight_BT: importance of each step's loss; 0 without an action to imitate.
        legal_BTA: bool, the legal actions; None if all are legal.
    """

    obs_BL: Tensor
    previous_BLP: Tensor
    memory_BS: Tensor
    start_BL: Tensor
    action_BTK: Tensor
    kept_BTF: Tensor
    weight_BT: Tensor
    legal_BTA: Tensor | None = None
    burn_in: int = 0

    @property
    def inputs(self) -> tuple[Inputs, Tensor, Tensor | None]:
        """The arguments of a policy network's `forward`."""
        legal_NA = None if self.legal_BTA is None else self.legal_BTA.flatten(0, 1)
        fields = (self.obs_BL, self.previous_BLP, self.memory_BS, self.start_BL)
        return Inputs(*fields, burn_in=self.burn_in), self.kept_BTF.flatten(0, 1), legal_NA

    @property
    def action_NK(self) -> Tensor:
        """The demonstrator's actions (N, K)."""
        return self.action_BTK.flatten(0, 1)

    @property
    def size(self) -> int:
        """Number of steps, N."""
        return self.weight_BT.numel()

    @property
    def weight(self) -> Tensor:
        """Importance (N,) of each step's loss."""
        return self.weight_BT.flatten()

    def split(self, shards: int) -> list[DemoBatch]:
        """The sequences in `shards` nearly equal parts, in order; views, not copies."""
        return shards_of(self, shards)


J = TypeVar("J", Batch, DemoBatch)


def joined(batches: list[J]) -> J:
    """Joins several minibatches into one, in order."""
    names = tensors(batches[0])
    whole = {name: torch.cat([getattr(batch, name) for batch in batches]) for name in names}
    return replace(batches[0], **whole)


M = TypeVar("M", Batch, SequenceBatch, Sequences, ReturnSequences, DemoBatch)


def shards_of(batch: M, shards: int, dim_of: Callable[[str], int] = lambda name: 0) -> list[M]:
    """Splits a minibatch into nearly equal parts; `dim_of` gives the dimension of each tensor.

    No part is empty, so a minibatch of a few rows has fewer parts. A sequence is a row.
    """
    whole = tensors(batch)
    rows = min(each.shape[dim_of(name)] for name, each in whole.items())
    shards = min(shards, rows)
    parts = {name: each.tensor_split(shards, dim_of(name)) for name, each in whole.items()}
    columns = zip(*parts.values(), strict=True)
    return [replace(batch, **dict(zip(parts, column, strict=True))) for column in columns]


def tensors(batch: Any) -> dict[str, Tensor]:
    """The fields of a minibatch that are tensors."""
    return {name: value for name, value in vars(batch).items() if isinstance(value, Tensor)}
