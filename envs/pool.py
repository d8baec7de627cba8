"""The seam between the two families of environments: one pool, stepped as a batch."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from gymnasium import Space


class Transition(NamedTuple):
    """What one step of the whole pool led to; automatic resets happen in the same step."""

    obs: np.ndarray
    """(N, ...): where an episode ended, the first observation of the next one."""
    reward: np.ndarray
    """float32 (N,), raw."""
    terminated: np.ndarray
    """bool (N,)"""
    truncated: np.ndarray
    """bool (N,)"""
    lives: np.ndarray
    """int (N,), 0 where there is no such thing; after an end, the next episode's."""
    final_obs: np.ndarray | None
    """(N, ...), rows valid where an episode ended; None when none did."""


class Pool(Protocol):
    """N environments of one kind. A seeded reset leaves no trace of what was before it."""

    single_observation_space: Space
    single_action_space: Space

    def reset(self, seeds: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Seeds and resets the environments in `mask`; the first call must name all of them.

        Args:
            seeds: integers (N,), below `tapes.seeds_end`; those outside the mask are not used.
            mask: bool (N,), at least one of them True.

        Returns:
            The current observation (N, ...) and lives int (N,) of every environment.
        """
        ...

    def send(self, actions: np.ndarray) -> None:
        """Hands over one action per environment, (N, ...); the caller may reuse the array."""
        ...

    def recv(self) -> Transition:
        """Waits for what the actions sent last led to. Its arrays are not written to again."""
        ...

    def close(self) -> None:
        """Releases threads, windows and emulators."""
        ...
