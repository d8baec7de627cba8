"""The types that environments, a policy and an algorithm exchange."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

Obs = np.ndarray | Tensor
"""Observations (N, ...): an array, or a tensor on the policy's device."""

State = dict[str, Tensor]
"""A policy's state for N episodes: named tensors (N, ...); {} if it remembers nothing."""


@dataclass(frozen=True)
class PolicyInputs:
    """The inputs from which a policy chooses N actions.

    Attributes:
        obs: observations (N, ...).
        reward_N: rewards of the previous steps, unclipped float; 0 at the start of an episode.
        is_first_N: bool, the observation is the first of its episode; the policy resets its state.
        legal_NA: bool, the allowed actions; None if all are allowed.
        action_N: the previous actions as `Spaces.remembered` gives them; 0 at the start of an
            episode. None if the caller does not know them.
    """

    obs: Obs
    reward_N: np.ndarray
    is_first_N: np.ndarray
    legal_NA: Tensor | None = None
    action_N: np.ndarray | None = None


@dataclass(frozen=True)
class ActOutput:
    """A policy's actions for N environments.

    Attributes:
        action_N: actions in the environments' form.
        state: the policy's state for the next call.
        extras: other outputs (N, ...), which the algorithm receives in `Step.extras`.
    """

    action_N: np.ndarray
    state: State = field(default_factory=dict)
    extras: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One step of N environments.

    Attributes:
        obs: observations from which the actions were chosen.
        action_N: actions in the environments' form.
        reward_N: rewards, unclipped float.
        terminated_N, truncated_N: bool, the step terminated or truncated the episode.
        life_lost_N: bool, the step lost a life; always False outside Atari.
        final_obs: rows of ended episodes hold their last observation; None if no episode ended.
        next_obs: observations from which the next actions are chosen.
        next_state: the policy's state after this step.
        extras: `ActOutput.extras` of the step's actions.
        rows: slice of the process's environments that took the step.
        legal_NA: bool, the actions allowed at `obs`; None if the environments have no masks.
        next_legal_NA: bool, the actions allowed at `next_obs`; None as above.
        final_legal_NA: bool, the actions allowed at `final_obs`, where a terminated episode allows
            all; None as above, or if no episode ended.
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
    legal_NA: np.ndarray | None = None
    next_legal_NA: np.ndarray | None = None
    final_legal_NA: np.ndarray | None = None
