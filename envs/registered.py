"""Any environment registered with Gymnasium, behind the pool's seam."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import Env, Space, spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import DtypeObservation, FlattenObservation, TransformObservation

from envs.catalog import require_trusted
from envs.errors import UserError
from envs.pool import Transition
from envs.screens import expect_no_window
from envs.spec import EnvSpec

_SUPPORTED_ACTIONS = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary, spaces.Box)


class RegisteredPool:
    """Gymnasium environments, stepped one after the other in `recv`."""

    single_observation_space: Space
    single_action_space: Space

    def __init__(self, spec: EnvSpec, num_envs: int, num_threads: int, *, rgb: bool) -> None:
        del num_threads
        self._spec, self._rgb = spec, rgb
        self._envs = SyncVectorEnv([self._build] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)
        self._used = np.zeros(num_envs, bool)
        self._lives = np.zeros(num_envs, np.int32)
        self.single_observation_space = self._envs.single_observation_space
        self.single_action_space = self._envs.single_action_space

    def reset(self, seeds: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `Pool.reset`, on newly built environments.

        Some keep a trace of their past across a seeded reset (MinAtar's last action, which its
        sticky actions repeat), and a tape must not depend on what was before it.
        """
        for i in np.flatnonzero(mask & self._used):
            self._envs.envs[i].close()
            self._envs.envs[i] = self._build()
        self._used |= mask
        obs, _ = self._envs.reset(seed=seeds.tolist(), options={"reset_mask": mask})
        return obs, self._lives

    def send(self, actions: np.ndarray) -> None:
        """As `Pool.send`."""
        self._actions = actions.copy()

    def recv(self) -> Transition:
        """As `Pool.recv`; the environments step now."""
        obs, reward, terminated, truncated, info = self._envs.step(self._actions)
        final_obs = None
        if "final_obs" in info:
            final_obs = np.zeros_like(obs)
            for i in np.flatnonzero(info["_final_obs"]):
                final_obs[i] = info["final_obs"][i]
        return Transition(
            obs=obs,
            reward=reward.astype(np.float32),
            terminated=terminated,
            truncated=truncated,
            lives=self._lives,
            final_obs=final_obs,
        )

    def close(self) -> None:
        """As `Pool.close`."""
        self._envs.close()

    def _build(self) -> Env:
        if self._rgb:
            expect_no_window()
        env = make_env(self._spec, {"render_mode": "rgb_array"} if self._rgb else {})
        if not isinstance(env.action_space, _SUPPORTED_ACTIONS):
            raise UserError(
                f"{self._spec.env_id} has actions of the kind {type(env.action_space).__name__},"
                " allowed are Discrete, MultiDiscrete, MultiBinary and Box"
            )
        return _Pictures(env) if self._rgb else _plain_observations(env)


def make_env(spec: EnvSpec, kwargs: dict[str, Any]) -> Env:
    """Builds one environment as Gymnasium has it; a UserError says why it cannot be."""
    require_trusted(spec.env_id)
    try:
        return gymnasium.make(
            spec.env_id,
            max_episode_steps=spec.max_episode_frames or None,
            disable_env_checker=True,
            **kwargs,
        )
    except (gymnasium.error.Error, ImportError, TypeError) as error:
        raise UserError(f"{spec.env_id} cannot be built here: {error}") from error


def _plain_observations(env: Env) -> Env:
    """Images become uint8 or float32 (C, H, W), everything else a float32 array.

    Dicts, tuples and discrete observations are flattened, the latter to one-hot vectors.
    """
    if not isinstance(env.observation_space, spaces.Box):
        try:
            env = FlattenObservation(env)
        except (NotImplementedError, ValueError) as error:
            raise UserError(f"{env.spec and env.spec.id} cannot be observed: {error}") from error
    space = env.observation_space
    assert isinstance(space, spaces.Box)
    is_image = len(space.shape) == 3 and space.dtype in (np.uint8, np.bool_)
    if is_image and space.shape[2] <= space.shape[0]:
        height, width, channels = space.shape
        brightest = 255 if space.dtype == np.uint8 else 1
        chw = spaces.Box(0, brightest, (channels, height, width), np.uint8)
        env = TransformObservation(env, lambda hwc: hwc.transpose(2, 0, 1), chw)
    keeps_dtype = space.dtype == np.float32 or (is_image and space.dtype == np.uint8)
    return env if keeps_dtype else DtypeObservation(env, np.float32)


class _Pictures(gymnasium.ObservationWrapper):
    """Observes what the environment renders, uint8 (H, W, 3)."""

    def __init__(self, env: Env) -> None:
        super().__init__(env)
        if "rgb_array" not in env.metadata.get("render_modes", []):
            raise UserError(f"{env.spec and env.spec.id} has no pictures to render")
        # Only a reset environment can be rendered, and the space must know the picture's size.
        env.reset()
        picture = self.observation(None)
        self.observation_space = spaces.Box(0, 255, picture.shape, np.uint8)

    def observation(self, observation: object) -> np.ndarray:
        try:
            picture = np.asarray(self.env.render())
        except (gymnasium.error.DependencyNotInstalled, ImportError, NameError) as error:
            # NameError is what MinAtar raises when its import of seaborn failed.
            raise UserError(
                f"{self.spec and self.spec.id} cannot be rendered here: {error}"
            ) from error
        if picture.dtype.kind == "f":
            picture = (255 * picture).astype(np.uint8)
        return picture
