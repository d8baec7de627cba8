"""What passes between environments, the loop and an agent."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

Obs = np.ndarray | Tensor
"""Observations (N, ...): an array, or a tensor that is on the learner's device already."""


@dataclass(frozen=True)
class ActOutput:
    """What an agent chose for N environments.

    Attributes:
        action_N: actions as the environments take them.
        memory_NS: what the agent remembers from here on (`agents.core.nets.recurrence`).
        extras: tensors (N, ...) of the choice that the agent wants back in `Step.extras`.
    """

    action_N: np.ndarray
    memory_NS: Tensor
    extras: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One step of N environments: rewards are raw, `obs` is what the actions were chosen on.

    `final_obs` rows hold the last observation of the episodes that ended; None when none did.
    `next_obs` is what the next actions are chosen on, `next_memory_NS` what the agent remembered
    after this step, `rows` says which of the process's environments these are.
    """

    obs: Obs
    action_N: np.ndarray
    reward_N: np.ndarray
    terminated_N: np.ndarray
    truncated_N: np.ndarray
    life_lost_N: np.ndarray
    final_obs: np.ndarray | None
    next_obs: Obs | None = None
    next_memory_NS: Tensor | None = None
    extras: dict[str, Tensor] = field(default_factory=dict)
    rows: slice = field(default_factory=lambda: slice(None))
