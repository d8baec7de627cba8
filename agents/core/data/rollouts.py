"""Rollouts: the last T steps of N environments, time first, for on-policy algorithms.

With data parallelism a rollout holds the environments of its rank. Ranks exchange rewards and
values, so that every rank knows all targets. Every rank draws the same minibatches and trains
on its own part of each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.core.data.settings import RolloutConfig
from agents.core.data.targets import Chosen, Field, Targets, rows_at
from agents.core.math.schedules import stream_seed
from agents.core.nets.normalize import RewardScaler
from agents.core.system import distributed
from agents.core.system.device import reserve, to_device
from agents.core.types.spaces import Spaces
from agents.core.types.step import PolicyInputs, State, Step
from envs.errors import UserError


@dataclass(frozen=True)
class Beyond:
    """States after a truncation or after the rollout; their values complete the returns.

    Attributes:
        inputs: the policy's inputs in these B states; observations are on the rollout's device.
        state: the policy's state for these inputs.
        t: index of the step before them.
        rows_B: their environments.
    """

    inputs: PolicyInputs
    state: State
    t: int
    rows_B: np.ndarray


class Rollout:
    """Storage for T steps of N environments; each rollout overwrites the previous one.

    Args:
        memory_size: size S of the policy's memory for an environment.
        targets: says what else is stored, and makes the targets and the minibatches.
    """

    def __init__(
        self,
        config: RolloutConfig,
        spaces: Spaces,
        device: torch.device,
        memory_size: int,
        targets: Targets,
    ):
        self.config = config
        self.spaces = spaces
        self.device = device
        self.memory_size = memory_size
        self.targets = targets
        longest = min(config.sequence_steps, config.horizon_steps)
        self.sequence_steps = 1 if config.core == "none" else longest
        if config.horizon_steps % self.sequence_steps:
            raise UserError(
                f"--horizon-steps {config.horizon_steps}: must be a multiple of the "
                f"{self.sequence_steps} steps of a sequence (--sequence-steps)"
            )
        self.clip_reward = config.clip_reward and spaces.atari
        self.all_envs = spaces.num_envs * distributed.size()
        self.first_env = spaces.num_envs * distributed.rank()
        self.scaler = RewardScaler(self.all_envs, config.gamma, config.normalize_rewards)
        self.generator = torch.Generator().manual_seed(stream_seed(config.seed, "minibatches"))
        self._time = np.zeros(spaces.num_envs, np.int64)
        self._prepared: tuple[dict[str, Tensor], dict[str, Tensor]] | None = None
        self._allocate()

    def _allocate(self) -> None:
        """Reserves the memory, or raises a UserError if the rollout does not fit."""
        steps = self.config.horizon_steps
        spaces = self.spaces
        device = self.device
        num_bytes = (
            steps * spaces.num_envs * math.prod(spaces.obs_shape) * spaces.obs_dtype.itemsize
        )
        what = f"a rollout of {steps} steps of {spaces.num_envs} environments"
        reserve(what, num_bytes, device, lambda share: "use fewer --horizon-steps or --num-envs")
        kept: dict[str, Field] = {
            "obs": (spaces.obs_shape, spaces.obs_dtype),
            "memory": ((self.memory_size,), torch.float32),
            "value": ((), torch.float32),
            **self.targets.stored(spaces),
        }
        shape = (steps, spaces.num_envs)
        self.kept = {
            name: torch.zeros(*shape, *rest, dtype=dtype, device=device)
            for name, (rest, dtype) in kept.items()
        }
        self.reward_TN = np.zeros(shape, np.float32)
        self.terminal_TN, self.truncated_TN, self.ended_TN = np.zeros((3, *shape), bool)
        self.bootstrap_TN = torch.zeros(shape, device=device)

    @property
    def size(self) -> int:
        """Steps in a full rollout, over all ranks."""
        return self.config.horizon_steps * self.all_envs

    def add(self, step: Step) -> Beyond | None:
        """Stores one step of some environments; a lost life ends the return but not the episode.

        Returns:
            The states whose values `complete` needs; None if no return is cut off.
        """
        rows = step.rows
        t = int(self._time[step.rows][0])
        self._time[rows] += 1
        for name, stored in self.kept.items():
            stored[t, rows] = to_device(step.extras[name], self.device)
        ended_N = step.terminated_N | step.truncated_N
        terminal_N = step.terminated_N | (step.life_lost_N & self.config.life_loss_ends_return)
        self.reward_TN[t, rows] = np.sign(step.reward_N) if self.clip_reward else step.reward_N
        self.terminal_TN[t, rows] = terminal_N
        self.ended_TN[t, rows] = ended_N
        self.truncated_TN[t, rows] = step.truncated_N & ~step.terminated_N
        cut_N = self.truncated_TN[t, rows] | ((t == self.config.horizon_steps - 1) & ~ended_N)
        return self._beyond(t, step, np.flatnonzero(cut_N)) if cut_N.any() else None

    def complete(self, beyond: Beyond, value_B: Tensor) -> None:
        """Completes the returns that are cut off, with the values (B,) of what lies beyond."""
        self.bootstrap_TN[beyond.t, to_device(beyond.rows_B, self.device)] = value_B

    def _beyond(self, t: int, step: Step, cut: np.ndarray) -> Beyond:
        assert step.next_obs is not None
        device = self.device
        index = to_device(cut, device)
        obs = to_device(step.next_obs, device)[index]
        legal_BA = None if step.next_legal_NA is None else step.next_legal_NA[cut]
        if step.final_obs is not None:
            truncated = np.flatnonzero(step.truncated_N[cut])
            final_obs = to_device(step.final_obs[cut[truncated]], device)
            obs[to_device(truncated, device)] = final_obs
            if legal_BA is not None and step.final_legal_NA is not None:
                legal_BA[truncated] = step.final_legal_NA[cut[truncated]]
        inputs = PolicyInputs(
            obs,
            step.reward_N[cut],
            np.zeros(len(cut), bool),
            None if legal_BA is None else torch.from_numpy(legal_BA),
            self.spaces.remembered(step.action_N)[cut],
        )
        rows = np.arange(self.spaces.num_envs)[step.rows][cut]
        state = {name: each[index] for name, each in step.next_state.items()}
        return Beyond(inputs, state, t, rows)

    def minibatches(self, batch_size: int) -> Iterator[Any]:
        """Passes over the rollout once in random order, in minibatches of `batch_size` steps.

        The first call for a rollout computes its targets. `clear` must follow the last call.
        """
        if self._prepared is None:
            self._prepared = self._prepare()
        fields, targets = self._prepared
        steps = self.sequence_steps
        each = max(1, batch_size // self.sequence_steps)
        ours = self.spaces.num_envs
        first = self.first_env
        count = self.config.horizon_steps // steps * self.all_envs
        order = torch.randperm(count, generator=self.generator)
        offset_L1 = torch.arange(steps).unsqueeze(1)
        # The host chooses the steps, so that it never waits for a GPU.
        for chosen_M in order.split(each):
            start_M = chosen_M // self.all_envs * steps
            env_M = chosen_M % self.all_envs
            everyone_LM = self._on_device((start_M + offset_L1) * self.all_envs + env_M)
            mine_B = ((env_M >= first) & (env_M < first + ours)).nonzero().squeeze(1)
            index_LB = (start_M[mine_B] + offset_L1) * ours + env_M[mine_B] - first
            targets_LM = {name: rows_at(each, everyone_LM) for name, each in targets.items()}
            chosen = (fields, self._on_device(index_LB), targets_LM, self._on_device(mine_B))
            yield self.targets.minibatch(Chosen(*chosen))

    def _on_device(self, index: Tensor) -> Tensor:
        return index.to(self.device, non_blocking=True)

    def _prepare(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The stored fields with the starts, and the targets of all environments, by step."""
        device = self.device
        value_TN = self.kept["value"]
        next_value_TN = self.bootstrap_TN.clone()
        truncated_TN = to_device(self.truncated_TN, device)
        next_value_TN[:-1] = torch.where(truncated_TN[:-1], next_value_TN[:-1], value_TN[1:])
        host = np.stack([self.reward_TN, self.terminal_TN, self.ended_TN])
        local = torch.cat([to_device(host, device), torch.stack([value_TN, next_value_TN])])
        reward_TN, terminal_TN, ended_TN, value_TN, next_value_TN = distributed.columns(local)
        targets = self.targets.make(
            self.scaler(reward_TN, ended_TN.bool()),
            self.config.gamma * (1 - terminal_TN),
            value_TN,
            next_value_TN,
            ended_TN.bool(),
        )
        start_TN = to_device(self.ended_TN, device).roll(1, dims=0)
        # Where an episode begins at the first step, the stored memory is already empty.
        start_TN[0] = False
        fields = self.kept | {"start": start_TN}
        return by_step(fields), by_step(targets)

    def clear(self) -> None:
        """Begins the next rollout."""
        self._time[:] = 0
        self._prepared = None

    def end_episodes(self) -> None:
        """Ends all episodes: the reward scale sums the next episodes from zero."""
        self.scaler.running_N = torch.zeros_like(self.scaler.running_N)

    def state_dict(self) -> dict[str, Any]:
        """The generator and the reward scale; only an empty rollout is saved."""
        return {"generator": self.generator.get_state(), "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["generator"])
        self.scaler.load_state_dict(state["scaler"])


def by_step(fields: dict[str, Tensor]) -> dict[str, Tensor]:
    """Fields (T, N, ...) as one row for each step, (T * N, ...); views, not copies."""
    return {name: each.flatten(0, 1) for name, each in fields.items()}
