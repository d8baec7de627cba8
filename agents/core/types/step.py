"""What passes between environments, a policy and an algorithm."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

Obs = np.ndarray | Tensor
"""Observations (N, ...): an array, or a tensor that is on the policy's device already."""

State = dict[str, Tensor]
"""What a policy remembers of N episodes: named tensors (N, ...), {} where it remembers nothing."""


@dataclass(frozen=True)
class PolicyInputs:
    """What a policy chooses N actions on.

    Attributes:
        obs: observations (N, ...).
        reward_N: rewards of the steps before, unclipped float; 0 at the start of an episode.
        is_first_N: bool, the observation is the first of its episode: its state is forgotten.
        legal_NA: bool, the actions that may be chosen; None where all may.
    """

    obs: Obs
    reward_N: np.ndarray
    is_first_N: np.ndarray
    legal_NA: Tensor | None = None


@dataclass(frozen=True)
class ActOutput:
    """What a policy chose for N environments.

    Attributes:
        action_N: actions as the environments take them.
        state: what the policy remembers from here on.
        extras: tensors (N, ...) of the choice, which come back to the algorithm in `Step.extras`.
    """

    action_N: np.ndarray
    state: State = field(default_factory=dict)
    extras: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One step of N environments.

    Attributes:
        obs: what the actions were chosen on.
        action_N: actions as the environments take them.
        reward_N: rewards, unclipped float.
        terminated_N, truncated_N: bool, how the episode ended, if it did.
        life_lost_N: bool, a life was lost; always False outside Atari.
        final_obs: rows hold the last observation of each episode that ended; None when none did.
        next_obs: what the next actions are chosen on.
        next_state: what the policy remembered after this step.
        extras: `ActOutput.extras` of the step's actions.
        rows: which of the process's environments these are.
    """

    obs: Obs
    action_N: np.ndarray
    reward_N: np.ndarray
    terminated_N: np.ndarray
    truncated_N: np.ndarray
    life_lost_N: np.ndarray
    final_obs: np.ndarray | None
    next_obs: Obs | None = None
    next_state: State = field(default_factory=dict)
    extras: dict[str, Tensor] = field(default_factory=dict)
    rows: slice = field(default_factory=lambda: slice(None))
