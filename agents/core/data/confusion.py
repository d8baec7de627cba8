"""The choices of a demonstrator and of its clone in the same states, counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agents.core.types.spaces import Spaces
from envs import EnvSpec
from envs.action_names import action_name

MOST_ACTIONS = 32
"""Most actions that are counted; a larger table tells little."""


@dataclass(frozen=True)
class Confusion:
    """How often a clone chose each action where its demonstrator chose each.

    Attributes:
        count_AA: int64; a row is an action of the demonstrator, a column one of the clone.
        names: the names of the actions.
    """

    count_AA: Tensor
    names: tuple[str, ...]

    @classmethod
    def of(cls, action_NK: Tensor, chosen_NK: Tensor, names: tuple[str, ...]) -> Confusion:
        """Counts the demonstrator's actions (N, 1) and the clone's, int64."""
        size = len(names)
        pair_N = action_NK[:, 0] * size + chosen_NK[:, 0]
        count_AA = torch.bincount(pair_N, minlength=size * size).view(size, size)
        return cls(count_AA.cpu(), names)

    def metrics(self) -> dict[str, Tensor]:
        """The share of each action of the demonstrator that the clone chose too."""
        total_A = self.count_AA.sum(dim=1)
        share_A = self.count_AA.diagonal() / total_A.clamp_min(1)
        rows = zip(self.names, share_A, total_A, strict=True)
        return {f"agreement/{name}": share for name, share, total in rows if total > 0}

    def to_json(self) -> dict[str, Any]:
        return {"actions": list(self.names), "counts": self.count_AA.tolist()}


def names_of(spec: EnvSpec, spaces: Spaces) -> tuple[str, ...]:
    """The names of the actions; () if actions are not single choices, or are too many."""
    single = not spaces.continuous and spaces.action_parts == 1
    if not single or spaces.num_actions > MOST_ACTIONS:
        return ()
    first = spaces.first_choices[0] if spaces.first_choices else 0
    return tuple(action_name(spec, first + each) for each in range(spaces.num_actions))
