"""Builds ale-py's vector environment, with every argument given. No other module builds one."""

from __future__ import annotations

import numpy as np
from ale_py.vector_env import AtariVectorEnv
from gymnasium import Space

from envs.pool import Transition
from envs.spec import EnvSpec


def atari_vector_env(
    spec: EnvSpec, num_envs: int, num_threads: int, *, rgb: bool = False
) -> AtariVectorEnv:
    """Builds the vector environment that `spec` describes.

    With `rgb`, the observation is the screen itself, uint8 (N, 1, 210, 160, 3).
    """
    assert spec.game is not None, f"{spec.env_id} is not an Atari game"
    height, width = (210, 160) if rgb else (spec.screen_size, spec.screen_size)
    return AtariVectorEnv(
        spec.game,
        num_envs,
        batch_size=num_envs,
        num_threads=num_threads,
        thread_affinity_offset=-1,
        max_num_frames_per_episode=spec.max_episode_frames,
        repeat_action_probability=spec.repeat_action_probability,
        full_action_space=spec.full_action_space,
        continuous=False,
        autoreset_mode="SameStep",
        img_height=height,
        img_width=width,
        grayscale=spec.grayscale and not rgb,
        stack_num=1 if rgb else spec.frame_stack,
        frameskip=spec.frameskip,
        maxpool=spec.maxpool,
        noop_max=spec.noop_max,
        episodic_life=False,
        life_loss_info=False,
        reward_clipping=False,
        use_fire_reset=spec.fire_reset,
    )


class AtariPool:
    """A `Pool` of Atari games; threads step them between `send` and `recv`."""

    single_observation_space: Space
    single_action_space: Space
    legal: np.ndarray | None = None

    def __init__(self, spec: EnvSpec, num_envs: int, num_threads: int, *, rgb: bool) -> None:
        self._envs = atari_vector_env(spec, num_envs, num_threads, rgb=rgb)
        self.single_observation_space = self._envs.single_observation_space
        self.single_action_space = self._envs.single_action_space

    def reset(self, seeds: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `Pool.reset`; it takes about 75 ms a game, because the emulator reloads the ROM."""
        obs, info = self._envs.reset(
            seed=seeds[mask].astype(np.int32), options={"reset_mask": mask}
        )
        return np.asarray(obs), info["lives"]

    def send(self, actions: np.ndarray) -> None:
        """As `Pool.send`; it returns at once. An action out of range would hang the emulator."""
        self._envs.send(actions)

    def recv(self) -> Transition:
        """As `Pool.recv`; other Python threads run while this one waits."""
        obs, reward, terminated, truncated, info = self._envs.recv()
        return Transition(
            obs=obs,
            reward=reward.astype(np.float32),
            terminated=terminated,
            truncated=truncated,
            lives=info["lives"],
            final_obs=info.get("final_obs"),
        )

    def close(self) -> None:
        """As `Pool.close`."""
        self._envs.close()
