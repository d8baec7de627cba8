"""A pool of any environment that is registered with Gymnasium."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import Env, Space, spaces

from envs import kwargs as kwargs_of_file
from envs.catalog import require_trusted
from envs.drawn_env import DrawnEnv
from envs.errors import UserError, first_line
from envs.kwargs import in_words
from envs.masks import KEY, stacked
from envs.observations import Reader, Unfit, images_read_as_numbers, reader
from envs.output import warn_once
from envs.own_code import FAULTS, raised
from envs.pool import Transition
from envs.screens import expect_no_window
from envs.spec import EnvSpec
from envs.text import plain
from envs.user_env import ALWAYS, UserEnv, require_finite

_SUPPORTED_ACTIONS = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary, spaces.Box)


class RegisteredPool:
    """A `Pool` of Gymnasium environments, stepped one after the other in `recv`.

    Observations are copied at once, because an environment may reuse its array.
    """

    single_observation_space: Space
    single_action_space: Space
    legal: np.ndarray | None = None

    def __init__(self, spec: EnvSpec, num_envs: int, num_threads: int, *, rgb: bool) -> None:
        del num_threads
        self._spec = spec
        self._rgb = rgb
        self._used = np.zeros(num_envs, bool)
        self._masked: bool | None = None
        self._lives = np.zeros(num_envs, np.int32)
        first = self._build()
        self._declared = observed, done = spaces_of(first)
        self.single_action_space = playable_space(spec.env_id, done)
        if rgb:
            # Only an environment that was reset can be rendered.
            drawn = DrawnEnv(spec.env_id, first)
            drawn.reset()
            self._used[0] = True
            self.single_observation_space = spaces.Box(0, 255, drawn.picture().shape, np.uint8)
        else:
            self._reader = readable(spec.env_id, observed)
            self.single_observation_space = self._reader.space
        rest = [self._build() for _ in range(num_envs - 1)]
        self._envs = [self._checked(env) for env in (first, *rest)]
        self._obs = self._rows()

    def reset(self, seeds: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `Pool.reset`; it builds each used environment anew.

        Some environments keep state across a seeded reset, such as MinAtar's last action. A tape
        must not depend on earlier tapes.
        """
        obs = self._obs.copy()
        for i in np.flatnonzero(mask).tolist():
            if self._used[i]:
                self._envs[i].close()
                self._envs[i] = self._checked(self._build())
            env = self._envs[i]
            env.write(env.reset(seed=int(seeds[i]), options={}), obs[i])
        self._used |= mask
        require_finite(self._envs, obs)
        self._obs = obs
        self._read_masks()
        return obs, self._lives

    def send(self, actions: np.ndarray) -> None:
        """As `Pool.send`."""
        self._actions = actions.copy()

    def recv(self) -> Transition:
        """As `Pool.recv`; the environments step now."""
        num_envs = len(self._envs)
        obs = self._rows()
        final_obs = None
        final_legal = None if self.legal is None else np.ones_like(self.legal)
        rewards: list[float] = []
        terminated, truncated = np.zeros((2, num_envs), bool)
        for i, (env, action, row) in enumerate(zip(self._envs, self._actions, obs, strict=True)):
            reached, reward, terminates, truncates = env.step(action)
            rewards.append(reward)
            if not (terminates or truncates):
                env.write(reached, row)
                continue
            terminated[i] = terminates
            truncated[i] = truncates
            if final_obs is None:
                final_obs = np.zeros_like(obs)
            env.write(reached, final_obs[i])
            require_finite([env], final_obs[i : i + 1])
            if final_legal is not None and not terminates:
                final_legal[i] = env.legal
            env.write(env.reset(), row)
        require_finite(self._envs, obs)
        self._obs = obs
        self._read_masks()
        return Transition(
            obs=obs,
            reward=np.array(rewards, np.float32),
            terminated=terminated,
            truncated=truncated,
            lives=self._lives,
            final_obs=final_obs,
            final_legal=None if final_obs is None else final_legal,
        )

    def close(self) -> None:
        """As `Pool.close`."""
        for env in self._envs:
            env.close()

    def _read_masks(self) -> None:
        """Collects the masks of the current observations; the first reset decides if there are any.

        Raises:
            UserError: only some of the resets returned a mask.
        """
        if self._masked is None:
            self._masked = self._envs[0].legal is not None
        for env in self._envs:
            if (env.legal is not None) != self._masked:
                raise env.fault(f"some resets returned an {KEY}, and others did not", ALWAYS)
        self.legal = stacked([env.legal for env in self._envs])

    def _rows(self) -> np.ndarray:
        space = self.single_observation_space
        assert space.shape is not None
        return np.empty((len(self._envs), *space.shape), space.dtype)

    def _build(self) -> Env:
        if not self._rgb:
            return make_env(self._spec, {})
        expect_no_window()
        return make_env(self._spec, {"render_mode": "rgb_array"})

    def _checked(self, env: Env) -> UserEnv:
        ours = spaces_of(env)
        if ours != self._declared:
            before, now = next((a, b) for a, b in zip(self._declared, ours, strict=True) if a != b)
            raise UserError(
                f"{self._spec.env_id} must have the same spaces each time it is built, but has"
                f" {before}, then {now}"
            )
        if self._rgb:
            return DrawnEnv(self._spec.env_id, env)
        return UserEnv(self._spec.env_id, env, self._reader)


def spaces_of(env: Env) -> tuple[Any, Any]:
    """The declared observation space and action space of an environment; None for a missing one."""
    return getattr(env, "observation_space", None), getattr(env, "action_space", None)


def playable_space(env_id: str, space: Any) -> Space:
    """Returns the action space if tapes support it, or raises a UserError."""
    if not isinstance(space, _SUPPORTED_ACTIONS):
        raise UserError(
            f"{env_id} has the action space {type(space).__name__},"
            " allowed are Discrete, MultiDiscrete, MultiBinary and Box;"
            " gymnasium.wrappers.TransformAction makes one of them"
        )
    return space


def readable(env_id: str, space: Any) -> Reader:
    """Returns the reader of an environment's observations; warns if it reads images as numbers.

    Raises:
        UserError: the space has no arrays of one fixed shape.
    """
    if not isinstance(space, Space):
        raise UserError(f"{env_id}: observation_space is {space!r}, but must be a Space")
    images = images_read_as_numbers(space)
    if images:
        warn_once(
            f"{env_id}: {images} are read as numbers, not as images; an image must be the whole"
            " observation, uint8 or floats in [0, 1] or [0, 255]"
        )
    try:
        return reader(space)
    except Unfit as unfit:
        raise UserError(
            f"{env_id} cannot be observed: {unfit}; leave it out with"
            " gymnasium.wrappers.FilterObservation or TransformObservation"
        ) from None


def make_env(spec: EnvSpec, kwargs: dict[str, Any]) -> Env:
    """Builds one environment with `gymnasium.make`; raises a UserError if that fails."""
    require_trusted(spec.env_id)
    kwargs_of_file.require_trusted(spec.env_id, spec.env_kwargs)
    try:
        return gymnasium.make(
            spec.env_id,
            max_episode_steps=spec.max_episode_frames or None,
            disable_env_checker=True,
            **(spec.env_kwargs | kwargs),
        )
    except FAULTS as error:
        # A constructor may raise any exception.
        given = f" with {plain(in_words(spec.env_kwargs))}" if spec.env_kwargs else ""
        ours = isinstance(error, gymnasium.error.Error | ImportError)
        why = first_line(error) if ours else f"it {raised(error)}"
        raise UserError(f"{spec.env_id} cannot be built here{given}: {why}") from error
