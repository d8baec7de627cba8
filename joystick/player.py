"""A trained policy for the user's own loop, with NumPy arrays in and out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from agents.core.policies.policy import Policy
from agents.core.training.demonstrator import Loaded, own_exploration
from agents.core.types.env_rng import EnvRng
from agents.core.types.step import PolicyInputs, State
from envs import UserError
from envs.masks import as_mask
from envs.observations import Reader, Unfit, described
from envs.registered import make_env, readable


@dataclass(frozen=True)
class EpisodeState:
    """The state of a policy between two calls of `Player.act`, for N episodes.

    Attributes:
        tensors: the state of the policy's network.
        rng: the random numbers of the episodes.
        action_N: the last actions, as `Spaces.remembered` gives them.
    """

    tensors: State
    rng: EnvRng
    action_N: np.ndarray


class Player:
    """A trained policy.

        policy = joystick.load("runs/<run>")
        obs, _ = env.reset(seed=0)
        state = None
        while True:
            action, state = policy.act(obs, state)
            obs, reward, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                break

    Attributes:
        policy: the underlying policy, with tensors in and out.
        spec: the environment of the training.
        step: the environment step at which the weights were saved.
        exploration: ε or temperature of the actions; by default the run's evaluation value.
        seed: seed of the random numbers of the next new episodes.
    """

    def __init__(self, loaded: Loaded, seed: int = 0, exploration: float | None = None):
        self.policy: Policy = loaded.policy
        self.spec = loaded.spec
        self.step = loaded.step
        self.exploration = own_exploration(loaded.policy, exploration)
        self.seed = seed

    def __repr__(self) -> str:
        how = f"{self.policy.explores_by} {self.exploration:g}"
        return f"<policy for {self.spec.protocol}, step {self.step:,}, {how}>"

    def act(
        self,
        obs: Any,
        state: EpisodeState | None = None,
        *,
        reward: float | np.ndarray = 0.0,
        first: bool | np.ndarray | None = None,
        action_mask: Any = None,
    ) -> tuple[Any, EpisodeState]:
        """Chooses an action for an observation, or for each observation of a batch.

        Args:
            obs: one observation of the environment, or observations (N, ...).
            state: the state that the last call returned; None begins new episodes.
            reward: the reward of the previous step, one number or (N,); 0 at an episode's begin.
            first: bool or (N,); true if the observation is the first of its episode, which resets
                the policy's memory. By default it is true if `state` is None.
            action_mask: the environment's `info["action_mask"]`, one mask or masks (N, A); needed
                if the environment has masks.

        Returns:
            The action in the environment's form, or actions (N, ...), and the state for the next
            call.

        Raises:
            UserError: the observation is not in the environment's space, N has changed, or the
                mask is missing or wrong.
        """
        obs_N, single = self._batch(obs)
        num_envs = len(obs_N)
        began = False
        if state is None:
            rng = EnvRng(self.seed, num_envs)
            self.seed += 1
            began = True
            none_N = self.policy.spaces.remembered_none(num_envs)
            state = EpisodeState(self.policy.initial_state(num_envs), rng, none_N)
        elif state.rng.total != num_envs:
            raise UserError(
                f"there are {num_envs} observations, but the state is of {state.rng.total} episodes"
            )
        first_N = np.broadcast_to(np.asarray(began if first is None else first), num_envs)
        action_N = state.action_N.copy()
        action_N[first_N] = 0
        inputs = PolicyInputs(
            obs_N,
            np.broadcast_to(np.asarray(reward, np.float32), num_envs),
            first_N,
            self._legal(action_mask, num_envs),
            action_N,
        )
        output = self.policy.act(inputs, state.tensors, state.rng, self.exploration)
        action = output.action_N[0] if single else output.action_N
        remembered_N = self.policy.spaces.remembered(output.action_N)
        return action, EpisodeState(output.state, state.rng, remembered_N)

    def _legal(self, action_mask: Any, num_envs: int) -> torch.Tensor | None:
        """The masks bool (N, A); None if the environment has none."""
        env_id = self.spec.env_id
        count = self.policy.spaces.num_actions
        if action_mask is None and self.policy.spaces.masked:
            raise UserError(f"{env_id} has masks: act must get action_mask=info['action_mask']")
        if action_mask is None:
            return None
        several = np.ndim(action_mask) == 2
        if several and len(action_mask) != num_envs:
            raise UserError(f"there are {num_envs} observations, but {len(action_mask)} masks")
        try:
            rows = action_mask if several else [action_mask] * num_envs
            return torch.from_numpy(np.stack([as_mask(row, count) for row in rows]))
        except Unfit as unfit:
            raise UserError(f"{env_id}: act got {unfit}") from None

    def _batch(self, obs: Any) -> tuple[np.ndarray, bool]:
        """Observations (N, ...) in the network's form, and whether `obs` was a single one."""
        shape = self.policy.spaces.obs_shape
        if isinstance(obs, np.ndarray):
            if obs.shape == shape:
                return self._cast(obs[None]), True
            if obs.shape[1:] == shape:
                return self._cast(obs), False
        if self.spec.family != "gymnasium":
            raise UserError(f"{described(obs)} as an observation; {self.spec.env_id} has {shape}")
        try:
            return self._read([obs]), True
        except Unfit as unfit:
            try:
                return self._read(list(obs)), False
            except (Unfit, TypeError):
                raise UserError(f"{unfit} as an observation of {self.spec.env_id}") from None

    def _cast(self, obs_N: np.ndarray) -> np.ndarray:
        """Converts vectors to float32; images of bytes stay unchanged."""
        return obs_N if obs_N.dtype == np.uint8 else obs_N.astype(np.float32)

    def _read(self, observations: list[Any]) -> np.ndarray:
        """Converts observations in the environment's own space, such as numbers or dicts."""
        space = self._reader.space
        rows = np.empty((len(observations), *space.shape), space.dtype)
        for number, each in enumerate(observations):
            self._reader.write(each, rows[number])
        return rows

    @cached_property
    def _reader(self) -> Reader:
        env = make_env(self.spec, {})
        try:
            return readable(self.spec.env_id, env.observation_space)
        finally:
            env.close()
