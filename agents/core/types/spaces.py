"""The observations and actions for which an agent is built."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from envs import EnvSpec
from envs.errors import UserError
from envs.tapes import first_and_last

MOST_CHOICES = 100_000
"""Most outputs of a policy; with more, the last layer alone would fill the memory."""

MOST_COMBINATIONS = 1_024
"""Most combinations of an action's parts for an agent that has a value for each combination."""


@dataclass(frozen=True)
class Spaces:
    """The spaces of N environments, with observations (stack, ...).

    An agent numbers the choices in each part of a discrete action from 0.

    Attributes:
        num_actions: number of actions in a Discrete space; 0 for other spaces.
        nvec: number of choices in each part of a MultiDiscrete or MultiBinary action.
        first_choices: the environment's number for the first choice in each part; () if all are 0.
        action_low, action_high: bounds of a continuous action, flattened; infinite without a bound.
        action_shape: shape of an action in the environment.
        about: the environment and its actions in words, for errors.
        masked: the environment says before each action which ones are legal (`envs.masks`).
    """

    num_envs: int
    obs_shape: tuple[int, ...]
    obs_dtype: torch.dtype
    stack: int
    num_actions: int
    atari: bool
    nvec: tuple[int, ...] = ()
    first_choices: tuple[int, ...] = ()
    action_low: tuple[float, ...] = ()
    action_high: tuple[float, ...] = ()
    action_shape: tuple[int, ...] = ()
    about: str = ""
    masked: bool = False

    @classmethod
    def of(
        cls,
        spec: EnvSpec,
        num_envs: int,
        obs: gym.Space,
        action: gym.Space,
        masked: bool = False,
    ) -> Spaces:
        """Makes the spaces of a spec's environments.

        Raises:
            UserError: no agent here supports the spaces.
        """
        if not isinstance(obs, gym.spaces.Box):
            raise UserError(f"{spec.env_id}: observations are {obs}; agents need Box")
        about = f"{spec.env_id}: actions are {action}"
        return cls(
            num_envs=num_envs,
            obs_shape=obs.shape,
            obs_dtype=torch.uint8 if obs.dtype == np.uint8 else torch.float32,
            stack=spec.frame_stack,
            atari=spec.family == "atari",
            about=about,
            masked=masked,
            **fields_of_actions(action, about),
        )

    @property
    def continuous(self) -> bool:
        """Whether actions are continuous."""
        return bool(self.action_low)

    @property
    def action_sizes(self) -> tuple[int, ...]:
        """Number of choices in each part of an action that is not continuous."""
        return self.nvec or (self.num_actions,)

    @property
    def action_parts(self) -> int:
        """Number of parts in an action, K."""
        return len(self.action_low) or len(self.action_sizes)

    @property
    def combinations(self) -> int:
        """Number of combinations of an action's parts; 0 if actions are continuous."""
        return 0 if self.continuous else prod(self.action_sizes)

    def require_discrete(self) -> None:
        """Raises a UserError unless the action space is Discrete."""
        if not self.num_actions:
            raise UserError(f"{self.about}; this agent needs Discrete")

    def require_continuous(self) -> None:
        """Raises a UserError unless the action space is a Box."""
        if not self.continuous:
            raise UserError(f"{self.about}; this agent needs continuous actions: use sac or ppo")

    def require_few_combinations(self) -> None:
        """Raises a UserError unless each combination of an action's parts can have a value."""
        if self.continuous:
            raise UserError(f"{self.about}; this agent needs discrete actions: use ppo")
        if self.nvec and self.combinations > MOST_COMBINATIONS:
            raise UserError(
                f"{self.about}, of {self.combinations:,} combinations; this agent takes"
                f" {MOST_COMBINATIONS:,} at most: use ppo"
            )

    def playable(self, action_NK: np.ndarray) -> np.ndarray:
        """Converts a policy's actions to the environment's shape, bounds and numbering."""
        if self.continuous:
            action_NK = action_NK.clip(self.action_low, self.action_high)
        elif self.first_choices:
            action_NK = action_NK + np.array(self.first_choices)
        return action_NK.reshape(len(action_NK), *self.action_shape)

    def chosen(self, action_N: np.ndarray) -> np.ndarray:
        """Converts the environment's actions (N, ...) to a policy's (N, K); inverts `playable`."""
        action_NK = action_N.reshape(len(action_N), -1)
        if self.continuous:
            return action_NK.astype(np.float32)
        return action_NK.astype(np.int64) - np.array(self.first_choices or 0)

    def playable_combination(self, index_N: np.ndarray) -> np.ndarray:
        """Converts numbers (N,) of combinations to the environment's actions."""
        if self.num_actions and not self.first_choices:
            return index_N
        return self.playable(np.stack(np.unravel_index(index_N, self.action_sizes), axis=-1))

    def combination(self, action_N: np.ndarray) -> np.ndarray:
        """Converts actions to numbers of combinations, int (N,); inverts `playable_combination`."""
        if self.num_actions and not self.first_choices:
            return action_N
        return self.combination_of(self.chosen(action_N))

    def combination_of(self, choice_NK: np.ndarray) -> np.ndarray:
        """Converts the choices in an action's parts to numbers of combinations, int (N,)."""
        return np.asarray(np.ravel_multi_index(tuple(choice_NK.T), self.action_sizes))

    def remembered(self, action_N: np.ndarray) -> np.ndarray:
        """Converts actions to the form of `PolicyInputs.action_N`.

        Returns:
            Numbers of combinations, int64 (N,); for continuous actions, or for more combinations
            than `MOST_COMBINATIONS`, the parts (N, K), float32 or int64.
        """
        if self.continuous or self.combinations > MOST_COMBINATIONS:
            return self.chosen(action_N)
        return self.combination(action_N).astype(np.int64)

    def remembered_parts(self, remembered_N: np.ndarray) -> np.ndarray:
        """The parts (N, K) of actions in the form of `remembered`."""
        if remembered_N.ndim == 2:
            return remembered_N
        return np.stack(np.unravel_index(remembered_N, self.action_sizes), axis=-1)

    def remembered_none(self, num_envs: int) -> np.ndarray:
        """Zeros in the form of `remembered`: no action was taken yet."""
        if self.continuous:
            return np.zeros((num_envs, self.action_parts), np.float32)
        if self.combinations > MOST_COMBINATIONS:
            return np.zeros((num_envs, self.action_parts), np.int64)
        return np.zeros(num_envs, np.int64)


def fields_of_actions(action: gym.Space, about: str) -> dict[str, Any]:
    """The fields of `Spaces` that describe an action space.

    Raises:
        UserError: no agent supports the space; the error begins with `about`.
    """
    if not isinstance(action, gym.spaces.Discrete) and 0 in (action.shape or ()):
        raise UserError(f"{about}, which have no parts; agents need at least one part")
    if isinstance(action, gym.spaces.Box) and action.dtype.kind == "f":
        low, high = (tuple(bound.ravel().tolist()) for bound in (action.low, action.high))
        bounds = {"action_low": low, "action_high": high, "action_shape": action.shape}
        return {"num_actions": 0, **bounds}
    if (bounds := first_and_last(action)) is None:
        kinds = "Discrete, MultiDiscrete, MultiBinary or Box"
        raise UserError(f"{about}; agents need {kinds}")
    # Python's ints do not overflow; a space of int64 may have 2^64 choices.
    first, last = ([int(each) for each in bound.ravel()] for bound in bounds)
    sizes = tuple(high - low + 1 for low, high in zip(first, last, strict=True))
    if sum(sizes) > MOST_CHOICES:
        raise UserError(
            f"{about}, of {sum(sizes):,} choices; agents take {MOST_CHOICES:,} at most;"
            " if actions are amounts, declare a Box of float32"
        )
    shared = {"first_choices": tuple(first) if any(first) else ()}
    if isinstance(action, gym.spaces.Discrete):
        return {"num_actions": sizes[0], **shared}
    return {"num_actions": 0, "nvec": sizes, "action_shape": action.shape, **shared}
