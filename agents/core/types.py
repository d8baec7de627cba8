"""What passes between environments, the loop and an agent."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from envs import TapedVectorEnv
from envs.errors import UserError

if TYPE_CHECKING:
    from agents.core.learner import Learner


@dataclass(frozen=True)
class Spaces:
    """What an agent is built for: N environments, observations of (stack, ...), A actions."""

    num_envs: int
    obs_shape: tuple[int, ...]
    obs_dtype: torch.dtype
    stack: int
    num_actions: int
    atari: bool

    @classmethod
    def of(cls, env: TapedVectorEnv) -> Spaces:
        """Raises a UserError for spaces that no agent here takes."""
        obs, action, spec = env.single_observation_space, env.single_action_space, env.env_spec
        if not isinstance(action, gym.spaces.Discrete):
            raise UserError(f"{spec.env_id}: actions are {action}; this agent needs Discrete")
        if not isinstance(obs, gym.spaces.Box):
            raise UserError(f"{spec.env_id}: observations are {obs}; this agent needs Box")
        dtype = torch.uint8 if obs.dtype == np.uint8 else torch.float32
        atari = spec.family == "atari"
        return cls(env.num_envs, obs.shape, dtype, spec.frame_stack, int(action.n), atari)


@dataclass(frozen=True)
class Step:
    """One step of N environments: rewards are raw, `obs` is what the actions were chosen on.

    `final_obs` rows hold the last observation of the episodes that ended; None when none did.
    """

    obs: np.ndarray
    action_N: np.ndarray
    reward_N: np.ndarray
    terminated_N: np.ndarray
    truncated_N: np.ndarray
    life_lost_N: np.ndarray
    final_obs: np.ndarray | None


@dataclass(frozen=True)
class Batch:
    """Transitions for a loss: s, a, n-step reward, discount, s', weight and where they are."""

    obs: Tensor
    action_B: Tensor
    reward_B: Tensor
    discount_B: Tensor
    next_obs: Tensor
    weight_B: Tensor
    slot_B: Tensor

    def split(self, shards: int) -> list[Batch]:
        """The batch in `shards` nearly equal parts, in order; views, not copies."""
        columns = [getattr(self, field.name).chunk(shards) for field in fields(self)]
        return [Batch(*parts) for parts in zip(*columns, strict=True)]


class Agent(Protocol):
    """The contract of every online agent.

    `prepare` reserves what training needs and evaluation does not, or raises a UserError.
    `epsilon(step)` is the exploration of training at a step, and what `act` is given; `learn`
    returns {} when it is not time. Weights are the learner's; `state_dict` holds all the rest.
    """

    config: Any
    learner: Learner

    def prepare(self) -> None: ...

    def epsilon(self, step: int) -> float: ...

    def act(self, obs: np.ndarray, generator: torch.Generator, epsilon: float) -> np.ndarray: ...

    def observe(self, step: Step) -> None: ...

    def learn(self) -> dict[str, Tensor]: ...

    def state_dict(self, store: Any) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], store: Any) -> None: ...
