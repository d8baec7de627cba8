"""`Pool`: the common interface of the environment families, stepped as a batch."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from gymnasium import Space


class Transition(NamedTuple):
    """The outcome of one step of the pool; an ended episode is reset within the same step."""

    obs: np.ndarray
    """(N, ...); after an end, the first observation of the next episode."""
    reward: np.ndarray
    """float32 (N,), raw."""
    terminated: np.ndarray
    """bool (N,)"""
    truncated: np.ndarray
    """bool (N,)"""
    lives: np.ndarray
    """int (N,), 0 in an environment without lives; after an end, the lives of the next episode."""
    final_obs: np.ndarray | None
    """(N, ...), the last observations of the ended episodes; other rows are invalid. None if no
    episode ended."""
    final_legal: np.ndarray | None = None
    """bool (N, A), the actions allowed at `final_obs`; all after a termination. None if no episode
    ended, or if the environments have no masks."""


class Pool(Protocol):
    """N environments of one kind. A seeded reset erases all earlier state.

    Attributes:
        legal: bool (N, A), the actions allowed at the current observations (`envs.masks`); None if
            the environments have no masks. The pool never reuses the array.
    """

    single_observation_space: Space
    single_action_space: Space
    legal: np.ndarray | None

    def reset(self, seeds: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Seeds and resets the environments in `mask`; the first call must include all of them.

        Args:
            seeds: integers (N,), below `tapes.seeds_end`; seeds outside the mask are ignored.
            mask: bool (N,), with at least one True.

        Returns:
            The current observations (N, ...) and lives int (N,) of all environments.
        """
        ...

    def send(self, actions: np.ndarray) -> None:
        """Starts a step with actions (N, ...), one each; the caller may reuse the array."""
        ...

    def recv(self) -> Transition:
        """Waits for the step and returns its outcome; the pool never reuses the arrays."""
        ...

    def close(self) -> None:
        """Releases threads, windows and emulators."""
        ...
