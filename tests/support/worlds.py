"""Environments whose every step is known: the slow reference of what a replay holds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.core.runs.snapshots import DamagedCheckpoint
from agents.core.types.spaces import Spaces
from agents.core.types.step import Step
from support.settings import Settings


@dataclass(frozen=True)
class Plan:
    """How an episode goes: its length, its end, and the steps that lose a life.

    A `cut` one ends where nobody saw its end: its last step may have lost a life.
    """

    length: int
    truncated: bool
    lives_lost: frozenset[int] = frozenset()
    cut: bool = False


@dataclass
class Episode:
    """What happened: one more frame than actions."""

    plan: Plan
    frames: list[np.ndarray] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)

    @property
    def over(self) -> bool:
        return len(self.actions) == self.plan.length


class World:
    """Environments that follow plans over and over, and remember everything."""

    def __init__(self, plans: list[list[Plan]], obs: str, seed: int = 0):
        self.plans, self.obs, self.num_envs = plans, obs, len(plans)
        self.random = np.random.default_rng(seed)
        self.num_frames = 0
        self.episodes: list[list[Episode]] = [[] for _ in plans]
        for env in range(self.num_envs):
            self.begin_episode(env)

    @property
    def spaces(self) -> Spaces:
        shape, dtype, stack = {
            "vector": ((3,), torch.float32, 1),
            "image": ((1, 2, 2), torch.uint8, 1),
            "stack": ((4, 2, 2), torch.uint8, 4),
        }[self.obs]
        return Spaces(self.num_envs, shape, dtype, stack, num_actions=5, atari=True)

    def new_frame(self) -> np.ndarray:
        """A frame unlike all others, and not of zeros."""
        self.num_frames += 1
        if self.obs == "vector":
            return np.array([self.num_frames, -self.num_frames, 0.5], np.float32)
        return np.frombuffer(np.int32(self.num_frames).tobytes(), np.uint8).reshape(2, 2)

    def begin_episode(self, env: int) -> None:
        done = self.episodes[env]
        plan = self.plans[env][len(done) % len(self.plans[env])]
        done.append(Episode(plan, frames=[self.new_frame()]))

    def observation(self, episode: Episode, t: int) -> np.ndarray:
        if self.obs == "vector":
            return episode.frames[t]
        blank = np.zeros((2, 2), np.uint8)
        stack = self.spaces.stack
        return np.stack(
            [episode.frames[t - k] if k <= t else blank for k in range(stack - 1, -1, -1)]
        )

    def step(self) -> Step:
        current = [episodes[-1] for episodes in self.episodes]
        obs = np.stack([self.observation(e, len(e.actions)) for e in current])
        final_obs = np.full_like(obs, 99)
        action_N = self.random.integers(5, size=self.num_envs)
        reward_N = self.random.choice([-3.0, -0.5, 0.0, 1.0, 2.0], self.num_envs)
        terminated_N, truncated_N, life_lost_N = np.zeros((3, self.num_envs), bool)
        for env, episode in enumerate(current):
            t = len(episode.actions)
            episode.actions.append(int(action_N[env]))
            episode.rewards.append(float(reward_N[env]))
            episode.frames.append(self.new_frame())
            if episode.over:
                terminated_N[env] = not episode.plan.truncated
                truncated_N[env] = episode.plan.truncated
                final_obs[env] = self.observation(episode, t + 1)
                self.begin_episode(env)
            else:
                life_lost_N[env] = t in episode.plan.lives_lost
        return Step(
            obs=obs,
            action_N=action_N,
            reward_N=reward_N.astype(np.float32),
            terminated_N=terminated_N,
            truncated_N=truncated_N,
            life_lost_N=life_lost_N,
            final_obs=final_obs if (terminated_N | truncated_N).any() else None,
        )

    def end_episodes(self) -> None:
        """Others begin; where the last step of each led is not known, so it counts for nothing."""
        for env, episodes in enumerate(self.episodes):
            last = episodes[-1]
            if last.actions:
                for recorded in (last.frames, last.actions, last.rewards):
                    recorded.pop()
                length = len(last.actions)
                last.plan = replace(last.plan, length=length, truncated=True, cut=True)
                self.begin_episode(env)

    def written(self, env: int) -> list[tuple[Episode, int]]:
        """Episode and time of every observation a replay was given, in order."""
        return [
            (episode, t)
            for episode in self.episodes[env]
            for t in range(len(episode.actions) + episode.over)
        ]

    def drawable(self, config: Settings) -> dict[int, tuple[Episode, int]]:
        """Slot, episode and time of every transition that a replay should be able to draw.

        The stack - 1 slots before it must not be overwritten (even where they are of another
        episode, which costs each ring its oldest three), the n slots after it must be written,
        and it must be a step: nothing was done on the last observation of an episode.
        """
        length, found = config.buffer_size // self.num_envs, {}
        for env in range(self.num_envs):
            written = self.written(env)
            oldest = max(0, len(written) - length + self.spaces.stack - 1)
            for position in range(oldest, len(written) - config.n_step.end):
                episode, t = written[position]
                if t < episode.plan.length:
                    found[env * length + position % length] = (episode, t)
        return found

    def transition(
        self, config: Settings, episode: Episode, t: int, n_step: int
    ) -> tuple[np.ndarray, int, float, float, np.ndarray]:
        """The n-step transition from time t: obs, action, return, discount, next obs."""
        total, power, now = 0.0, 1.0, t
        for _ in range(n_step):
            reward = episode.rewards[now]
            total += power * (float(np.sign(reward)) if config.clip_reward else reward)
            power *= config.gamma
            lost = config.life_loss_ends_return and now in episode.plan.lives_lost
            now += 1
            ended = now == episode.plan.length
            if lost and (episode.plan.cut or not ended):
                power = 0.0
                break
            if ended:
                if not episode.plan.truncated:
                    power = 0.0
                break
        obs, next_obs = self.observation(episode, t), self.observation(episode, now)
        return obs, episode.actions[t], total, power, next_obs


class DictStore:
    """Chunks in memory; `forget` is what a run does with those that no checkpoint names."""

    def __init__(self) -> None:
        self.chunks: dict[str, dict[str, Tensor]] = {}
        self.frames_appended = 0
        self.fails_after: int | None = None

    def append_chunk(self, name: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
        if self.fails_after is not None and len(self.chunks) >= self.fails_after:
            raise OSError(28, "No space left on device")
        assert name not in self.chunks, "a chunk is written once"
        self.chunks[name] = {key: value.clone() for key, value in tensors.items()}
        self.frames_appended += len(tensors["frames"])
        return {"name": name}

    def read_chunk(self, reference: dict[str, Any]) -> dict[str, Tensor]:
        if reference["name"] not in self.chunks:
            raise DamagedCheckpoint(f"{reference['name']} is missing")
        return self.chunks[reference["name"]]

    def forget(self, state: dict[str, Any]) -> None:
        named = {chunk["chunk"]["name"] for chunk in state["chunks"]}
        self.chunks = {name: chunk for name, chunk in self.chunks.items() if name in named}
