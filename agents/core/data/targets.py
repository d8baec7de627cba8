"""Targets: what a kind of agent stores of a rollout, and what its losses see of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from agents.core.math import returns
from agents.core.nets.previous import NO_PREVIOUS, PreviousInputs
from agents.core.types.batches import ReturnSequences, Sequences
from agents.core.types.spaces import Spaces

Field = tuple[tuple[int, ...], torch.dtype]
"""The shape of a step's number, and its dtype."""


@dataclass(frozen=True)
class Chosen:
    """The steps of a minibatch: B sequences of L steps of this rank, among M of all ranks.

    Attributes:
        fields: the stored extras and `start` of all steps of this rank, (T * N, ...).
        index_LB: int64, the steps.
        targets_LM: the targets of all ranks' steps, by name.
        mine_B: int64, the places of this rank's sequences among all.
    """

    fields: dict[str, Tensor]
    index_LB: Tensor
    targets_LM: dict[str, Tensor]
    mine_B: Tensor

    @property
    def size(self) -> int:
        """Steps in the minibatch over all ranks."""
        return next(iter(self.targets_LM.values())).numel()

    def stored(self, name: str) -> Tensor:
        """A field of the steps, (L, B, ...)."""
        return rows_at(self.fields[name], self.index_LB)

    def first(self, name: str) -> Tensor:
        """A field of the first step of each sequence, (B, ...)."""
        return self.fields[name][self.index_LB[0]]

    def mine(self, target_LM: Tensor) -> Tensor:
        """This rank's part (L, B) of a target."""
        return target_LM.index_select(1, self.mine_B)


def rows_at(field: Tensor, index: Tensor) -> Tensor:
    """The rows of a field (R, ...) at indices of any shape, (*index.shape, ...)."""
    return field.index_select(0, index.flatten()).unflatten(0, index.shape)


class Targets(Protocol):
    """What a kind of agent learns from a rollout."""

    def stored(self, spaces: Spaces) -> dict[str, Field]:
        """The policy's extras to store, beside obs, memory and value."""
        ...

    def make(
        self,
        reward_TN: Tensor,
        discount_TN: Tensor,
        value_TN: Tensor,
        next_value_TN: Tensor,
        ended_TN: Tensor,
    ) -> dict[str, Tensor]:
        """The targets (T, N) of all ranks' steps, by name; arguments as in `returns.gae`."""
        ...

    def minibatch(self, chosen: Chosen) -> Any:
        """The minibatch of the chosen steps."""
        ...


class AdvantageTargets:
    """Advantages and returns of an actor-critic: generalized advantage estimates.

    Args:
        config: has `gae_lambda` and `normalize_advantages`.
        previous: the encoding of the previous action and reward that the network sees.
    """

    def __init__(self, config: Any, previous: PreviousInputs = NO_PREVIOUS):
        self.previous = previous
        self.gae_lambda = config.gae_lambda
        self.normalizes = config.normalize_advantages

    def stored(self, spaces: Spaces) -> dict[str, Field]:
        action_dtype = torch.float32 if spaces.continuous else torch.int64
        legal: dict[str, Field] = {}
        if spaces.masked:
            legal["legal"] = ((spaces.num_actions,), torch.bool)
        return {
            "previous": ((self.previous.width,), torch.float32),
            "action": ((spaces.action_parts,), action_dtype),
            "log_prob": ((), torch.float32),
            **legal,
        }

    def make(
        self,
        reward_TN: Tensor,
        discount_TN: Tensor,
        value_TN: Tensor,
        next_value_TN: Tensor,
        ended_TN: Tensor,
    ) -> dict[str, Tensor]:
        given = (reward_TN, discount_TN, value_TN, next_value_TN, ended_TN)
        advantage_TN = returns.gae(*given, self.gae_lambda)
        return {"advantage": advantage_TN, "return": advantage_TN + value_TN}

    def minibatch(self, chosen: Chosen) -> Sequences:
        advantage_LM = chosen.targets_LM["advantage"]
        if self.normalizes and advantage_LM.numel() > 1:
            deviation, mean = torch.std_mean(advantage_LM)
            advantage_LM = (advantage_LM - mean) / (deviation + 1e-8)
        return Sequences(
            obs_LB=chosen.stored("obs"),
            memory_BS=chosen.first("memory"),
            start_LB=chosen.stored("start"),
            action_LBK=chosen.stored("action"),
            log_prob_LB=chosen.stored("log_prob"),
            value_LB=chosen.stored("value"),
            advantage_LB=chosen.mine(advantage_LM),
            return_LB=chosen.mine(chosen.targets_LM["return"]),
            size=chosen.size,
            previous_LBP=chosen.stored("previous"),
            legal_LBA=chosen.stored("legal") if "legal" in chosen.fields else None,
        )


class ReturnTargets:
    """Returns Q(λ) of a value network.

    Args:
        trace_lambda: λ.
        previous: the encoding of the previous action and reward that the network sees.
    """

    def __init__(self, trace_lambda: float, previous: PreviousInputs):
        self.trace_lambda = trace_lambda
        self.previous = previous

    def stored(self, spaces: Spaces) -> dict[str, Field]:
        return {
            "action": ((), torch.int64),
            "previous": ((self.previous.width,), torch.float32),
        }

    def make(
        self,
        reward_TN: Tensor,
        discount_TN: Tensor,
        value_TN: Tensor,
        next_value_TN: Tensor,
        ended_TN: Tensor,
    ) -> dict[str, Tensor]:
        given = (reward_TN, discount_TN, next_value_TN, ended_TN)
        return {"return": returns.q_lambda(*given, self.trace_lambda)}

    def minibatch(self, chosen: Chosen) -> ReturnSequences:
        # The network flattens sequences batch first, so frames are copied in this order at once.
        index_BL = chosen.index_LB.T
        fields = {
            name: rows_at(chosen.fields[name], index_BL)
            for name in ("obs", "previous", "start", "action")
        }
        return ReturnSequences(
            obs_BL=fields["obs"],
            previous_BLP=fields["previous"],
            memory_BS=chosen.first("memory"),
            start_BL=fields["start"],
            action_BL=fields["action"],
            return_BL=chosen.mine(chosen.targets_LM["return"]).T,
            size=chosen.size,
        )
