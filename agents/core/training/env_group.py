"""Environment groups: environments that step together, with the policy's state for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.core.policies.policy import Policy, begun
from agents.core.system.codec import all_like, like
from agents.core.system.device import to_device
from agents.core.types.env_rng import EnvRng
from agents.core.types.spaces import Spaces
from agents.core.types.step import Obs, PolicyInputs, State, Step
from envs import TapedVectorEnv, masks
from envs.tape_recorder import rows_of_state


class DeviceFrameStack:
    """Copies observations (N, stack, ...) to a device, of each step only the newest frame.

    The device already has the older frames. Frames before an episode's start are zero, as in the
    emulator.
    """

    def __init__(self, obs_N: np.ndarray, device: torch.device):
        self.obs_N = to_device(obs_N, device)
        self.device = device

    def next(self, obs_N: np.ndarray, began_N: np.ndarray) -> Tensor:
        """The next observations on the device.

        Args:
            obs_N: the next observations.
            began_N: bool, the observation begins an episode.
        """
        newest_N = to_device(obs_N[:, -1:], self.device)
        goes_on_N = to_device(~began_N, self.device).view(-1, *[1] * (obs_N.ndim - 1))
        self.obs_N = torch.cat([self.obs_N[:, 1:] * goes_on_N, newest_N], dim=1)
        return self.obs_N


class EnvGroup:
    """N environments that step together, with the policy that acts in them.

    Attributes:
        rows: the group's slice of the process's environments.
        obs: the present observations, from which the next actions are chosen. A tensor on the
            learner's device if a `DeviceFrameStack` holds them, else an array.
        state: the policy's state for these episodes.
        is_first_N: bool, `obs` is the first observation of its episode.
        action_N: the previous actions, as `Spaces.remembered` gives them; 0 where `is_first_N`.
        reward_N: the previous rewards; 0 where `is_first_N`.
        legal_NA: bool, the actions allowed at `obs`; None if the environments have no masks.
    """

    def __init__(self, policy: Policy, env: TapedVectorEnv, rng: EnvRng, rows: slice | None = None):
        self.policy = policy
        self.env = env
        self.rng = rng
        self.rows = rows or slice(env.num_envs)
        self.device = policy.device
        self.screens: DeviceFrameStack | None = None
        self._forget()

    def reset(self) -> None:
        """Resets the environments."""
        self.begin(*self.env.reset())

    def _forget(self) -> None:
        """Sets state, action, reward and `is_first_N` to their values at an episode's start."""
        num_envs = self.env.num_envs
        self.state = self.policy.initial_state(num_envs)
        self.action_N = self.policy.spaces.remembered_none(num_envs)
        self.reward_N = np.zeros(num_envs, np.float32)
        self.is_first_N = np.ones(num_envs, bool)

    def begin(self, obs: np.ndarray, info: dict[str, Any]) -> None:
        """Makes `obs` the present observations, with the info that came with them."""
        self.obs: Obs = obs
        self.legal_NA = masks.legal_in(info)
        if self.device.type != "cpu" and self.env.env_spec.frame_stack > 1:
            self.screens = DeviceFrameStack(obs, self.device)
            self.obs = self.screens.obs_N

    def send(self, exploration: float) -> None:
        """Chooses actions and sends them; the environments step while other groups are served."""
        legal_NA = None if self.legal_NA is None else torch.from_numpy(self.legal_NA)
        inputs = PolicyInputs(self.obs, self.reward_N, self.is_first_N, legal_NA, self.action_N)
        self._output = self.policy.act(inputs, self.state, self.rng, exploration)
        self.env.send(self._output.action_N)

    def recv(self) -> tuple[Step, dict[str, Any]]:
        """Waits for the environments; returns the step and their info."""
        output = self._output
        next_obs, reward_N, terminated_N, truncated_N, info = self.env.recv()
        if self.screens is not None:
            next_obs = self.screens.next(next_obs, terminated_N | truncated_N)
        step = Step(
            obs=self.obs,
            action_N=output.action_N,
            reward_N=reward_N,
            terminated_N=terminated_N,
            truncated_N=truncated_N,
            life_lost_N=info["life_lost"],
            final_obs=info.get("final_obs"),
            next_obs=next_obs,
            next_state=output.state,
            extras=output.extras,
            rows=self.rows,
            legal_NA=self.legal_NA,
            next_legal_NA=masks.legal_in(info),
            final_legal_NA=masks.legal_in(info.get("final_info", {})),
        )
        self.obs = next_obs
        self.legal_NA = step.next_legal_NA
        self.state = output.state
        self.is_first_N = terminated_N | truncated_N
        self.reward_N = np.where(self.is_first_N, 0.0, reward_N).astype(np.float32)
        self.action_N = self.policy.spaces.remembered(output.action_N)
        self.action_N[self.is_first_N] = 0
        return step, info

    @property
    def begun_state(self) -> State:
        """The policy's state for the next actions; zero for environments that begin an episode."""
        return begun(self.state, self.is_first_N)

    def state_dict(self) -> dict[str, Any]:
        return {
            "env": self.env.state_dict(),
            "state": {name: each.cpu() for name, each in self.begun_state.items()},
            "action": self.action_N.copy(),
            "reward": self.reward_N.copy(),
            "is_first": self.is_first_N.copy(),
            "generator": self.rng.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads this group's part of the state of all the run's environments.

        Raises:
            NotReproduced: the environments do not reproduce their saved states.
        """
        rows = self.rng.rows
        self.begin(*self.env.load_state_dict(rows_of_state(state["env"], rows)))
        state = earlier_state(state, self.policy.spaces)
        saved = {name: each[rows].to(self.device) for name, each in state["state"].items()}
        self.state = all_like(saved, self.state, "state")
        self.action_N = like(state["action"][rows], self.action_N, "action")
        self.reward_N = like(state["reward"][rows], self.reward_N, "reward")
        self.is_first_N = like(state["is_first"][rows], self.is_first_N, "is_first")
        self.rng.generator.set_state(state["generator"])

    def begin_anew(self, state: dict[str, Any]) -> None:
        """Begins new episodes instead of the saved ones; the random numbers go on from theirs."""
        rows = self.rng.rows
        self.begin(*self.env.begin_anew(rows_of_state(state["env"], rows)))
        self._forget()
        self.rng.generator.set_state(state["generator"])


def earlier_state(state: dict[str, Any], spaces: Spaces) -> dict[str, Any]:
    """A checkpoint's state by its present names; version 0.1 saved only a memory.

    Earlier versions saved no previous action, and had no policy that sees one.
    """
    if "action" in state:
        return state
    if "state" in state:
        return {**state, "action": spaces.remembered_none(len(state["reward"]))}
    memory_NS = state["memory"]
    num_envs = len(memory_NS)
    return {
        **state,
        "state": {"memory": memory_NS} if memory_NS.shape[1] else {},
        "action": spaces.remembered_none(num_envs),
        "reward": np.zeros(num_envs, np.float32),
        "is_first": np.zeros(num_envs, bool),
    }
