"""Environments that step together, and what an agent remembers of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.core.system.codec import like
from agents.core.system.device import to_device
from agents.core.training.agent import Agent
from agents.core.types.env_rng import EnvRng
from agents.core.types.step import Obs, Step
from envs import TapedVectorEnv
from envs.tape_recorder import rows_of_state


class DeviceFrameStack:
    """Observations (N, stack, ...) on their way to a device: only the newest frames travel.

    The others are there already; those of before an episode are zero, as the emulator has them.
    """

    def __init__(self, obs_N: np.ndarray, device: torch.device):
        self.obs_N, self.device = to_device(obs_N, device), device

    def next(self, obs_N: np.ndarray, began_N: np.ndarray) -> Tensor:
        """The next observations there; in the environments `began_N` an episode began."""
        newest_N = to_device(obs_N[:, -1:], self.device)
        goes_on_N = to_device(~began_N, self.device).view(-1, *[1] * (obs_N.ndim - 1))
        self.obs_N = torch.cat([self.obs_N[:, 1:] * goes_on_N, newest_N], dim=1)
        return self.obs_N


class EnvGroup:
    """Environments that step together, from an observation to the next one.

    Attributes:
        rows: which of the process's environments these are.
        obs: what the next actions are chosen on: a tensor on the learner's device where only
            frames travel (`DeviceFrameStack`), else an array.
        memory_NS: what the agent remembers of the episodes, zero where one begins.
    """

    def __init__(self, agent: Agent, env: TapedVectorEnv, rng: EnvRng, rows: slice | None = None):
        self.agent, self.env, self.rng = agent, env, rng
        self.rows = rows or slice(env.num_envs)
        self.memory_NS = torch.zeros(env.num_envs, agent.memory_size, device=agent.learner.device)
        self.device = agent.learner.device
        self.screens: DeviceFrameStack | None = None

    def reset(self) -> None:
        self.begin(self.env.reset()[0])

    def begin(self, obs: np.ndarray) -> None:
        """Go on from these observations, whatever was before."""
        self.obs: Obs = obs
        if self.device.type != "cpu" and self.env.env_spec.frame_stack > 1:
            self.screens = DeviceFrameStack(obs, self.device)
            self.obs = self.screens.obs_N

    def send(self, exploration: float) -> None:
        """Choose actions and hand them to the environments, which step while others are served."""
        self._decision = self.agent.act(self.obs, self.memory_NS, self.rng, exploration)
        self.env.send(self._decision.action_N)

    def recv(self) -> tuple[Step, dict[str, Any]]:
        """What the actions led to, and the environments' info."""
        decision = self._decision
        next_obs, reward_N, terminated_N, truncated_N, info = self.env.recv()
        if self.screens is not None:
            next_obs = self.screens.next(next_obs, terminated_N | truncated_N)
        step = Step(
            obs=self.obs,
            action_N=decision.action_N,
            reward_N=reward_N,
            terminated_N=terminated_N,
            truncated_N=truncated_N,
            life_lost_N=info["life_lost"],
            final_obs=info.get("final_obs"),
            next_obs=next_obs,
            next_memory_NS=decision.memory_NS,
            extras=decision.extras,
            rows=self.rows,
        )
        self.obs, self.memory_NS = next_obs, decision.memory_NS
        if self.memory_NS.shape[1] and (terminated_N | truncated_N).any():
            goes_on_N = to_device(~(terminated_N | truncated_N), self.memory_NS.device)
            self.memory_NS = self.memory_NS * goes_on_N.unsqueeze(1)
        return step, info

    def state_dict(self) -> dict[str, Any]:
        return {
            "env": self.env.state_dict(),
            "memory": self.memory_NS.cpu(),
            "generator": self.rng.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up where the run's environments were, of which these are a part.

        Raises:
            NotReproduced: the environments do not lead there.
        """
        rows = self.rng.rows
        self.begin(self.env.load_state_dict(rows_of_state(state["env"], rows))[0])
        memory_NS = state["memory"][rows].to(self.memory_NS.device)
        self.memory_NS = like(memory_NS, self.memory_NS, "memory")
        self.rng.generator.set_state(state["generator"])

    def begin_anew(self, state: dict[str, Any]) -> None:
        """Begin new episodes in place of the saved ones; random draws go on as they were."""
        rows = self.rng.rows
        self.begin(self.env.begin_anew(rows_of_state(state["env"], rows))[0])
        self.memory_NS = torch.zeros_like(self.memory_NS)
        self.rng.generator.set_state(state["generator"])
