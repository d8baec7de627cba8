"""Wraps an environment of the user: checks what it returns, and reports its errors in one line."""

from __future__ import annotations

import inspect
import traceback
from pathlib import Path
from typing import Any, NoReturn

import gymnasium
import numpy as np
from gymnasium import Env

from envs.errors import UserError, first_line
from envs.masks import KEY, legal_actions, mask_in
from envs.observations import Reader, Unfit, described
from envs.output import warn
from envs.own_code import FAULTS, file_of, raised

MOST_REWARD = float(np.finfo(np.float32).max)
"""Largest reward; agents use float32, in which a larger one would be infinite."""

SCALARS = (float, np.floating, np.integer)
FIVE = "return observation, reward, terminated, truncated, info"
TWO = "return a tuple of two: observation, info"
UNFIT = "observations must be in the observation_space"
MASK = f"info['{KEY}'] must be a 0 or 1 for each action of a Discrete space, with at least one 1"
ALWAYS = f"an environment must put {KEY} into the info of each reset and step, or of none"
_GYMNASIUM = str(Path(gymnasium.__file__).parent)


class UserEnv:
    """One environment that checks its results and writes its observations into rows of a batch.

    Of `info` it reads only the action mask (`envs.masks`).

    Args:
        env_id: the environment's name in errors.
        env: as `envs.registered.make_env` builds it.
        reader: the reader of its observations; None if `write` is not called.

    Attributes:
        legal: bool (A,), the actions allowed at the last observation, and at a termination some
            earlier mask; None if the last reset gave no mask.

    Raises:
        UserError: `reset` does not take a seed and options. Each method raises a UserError if the
            environment breaks Gymnasium's contract or raises anything.
    """

    def __init__(self, env_id: str, env: Env, reader: Reader | None = None) -> None:
        self.env_id = env_id
        self.env = env
        self.reader = reader
        self.steps = 0
        self.legal: np.ndarray | None = None
        self._step = env.step
        require_reset_arguments(env_id, env)

    def reset(self, **arguments: Any) -> Any:
        """Resets the environment with these arguments; returns the first observation unchanged."""
        self.steps = 0
        try:
            returned = self.env.reset(**arguments)
        except FAULTS as error:
            raise UserError(f"{self.env_id}: reset() {raised(error, self.source)}") from error
        if type(returned) is not tuple or len(returned) != 2:
            raise self.fault(f"reset() returned {described(returned)}", TWO)
        obs, info = returned
        mask = mask_in(info)
        self.legal = None if mask is None else self._legal(mask)
        return obs

    def step(self, action: Any) -> tuple[Any, float, bool, bool]:
        """Takes a step; returns the unchanged observation, reward, terminated and truncated."""
        self.steps += 1
        try:
            obs, reward, terminated, truncated, info = self._step(action)
        except FAULTS as error:
            self._refuse_step(error)
        if type(reward) is not float:
            reward = self._number(reward)
        if not -MOST_REWARD <= reward <= MOST_REWARD:
            cure = "rewards must be finite float32"
            raise self.fault(f"step() returned a reward of {reward}", cure)
        if type(terminated) is not bool:
            terminated = self._flag(terminated, "terminated")
        if type(truncated) is not bool:
            truncated = self._flag(truncated, "truncated")
        mask = mask_in(info)
        if mask is not None or self.legal is not None:
            self._read_mask(mask, terminated)
        return obs, reward, terminated, truncated

    def write(self, obs: Any, row: np.ndarray) -> None:
        """Writes an observation that `step` or `reset` returned into `row`."""
        try:
            assert self.reader is not None
            self.reader.write(obs, row)
        except Unfit as unfit:
            raise self.fault(f"{self._last_call} returned {unfit}", UNFIT) from None

    def close(self) -> None:
        """Closes the environment; an error becomes a warning, because no result can be lost."""
        try:
            self.env.close()
        except FAULTS as error:
            warn(f"{self.env_id}: close() {raised(error, self.source)}")

    def not_finite(self, worst: float, place: list[int]) -> UserError:
        """The error for an observation that holds `worst` at `place`."""
        what = f"{self._last_call} returned an observation with {worst} at {place}"
        return self.fault(what, "observations must be finite float32")

    def fault(self, what: str, cure: str) -> UserError:
        """The error for a wrong result of the current step.

        Args:
            what: the wrong result.
            cure: what is allowed.
        """
        when = f" in step {self.steps} of an episode" if self.steps else ""
        return UserError(f"{self.env_id}: {what}{when}; {cure}")

    @property
    def source(self) -> str | None:
        """The file of the user's class, in which errors name a line; None if it is unknown."""
        try:
            return file_of(type(self.env.unwrapped))
        except FAULTS:
            return None

    @property
    def _last_call(self) -> str:
        return "step()" if self.steps else "reset()"

    def _refuse_step(self, error: BaseException) -> NoReturn:
        if returned_another_number(error):
            what = f"step() did not return five values ({first_line(error)})"
            raise self.fault(what, FIVE) from error
        when = f" (step {self.steps} of an episode)"
        raise UserError(f"{self.env_id}: step() {raised(error, self.source)}{when}") from error

    def _read_mask(self, mask: Any, terminated: bool) -> None:
        """Reads the mask of a step; no agent acts after a termination, which needs no mask."""
        if self.legal is None:
            raise self.fault(f"step() returned an {KEY}, but reset() did not", ALWAYS)
        if terminated:
            return
        if mask is None:
            raise self.fault(f"step() returned no {KEY}, but reset() did", ALWAYS)
        self.legal = self._legal(mask)

    def _legal(self, mask: Any) -> np.ndarray:
        try:
            return legal_actions(mask, self.env.action_space)
        except Unfit as unfit:
            raise self.fault(f"{self._last_call} returned {unfit}", MASK) from None

    def _number(self, reward: Any) -> float:
        if isinstance(reward, SCALARS):
            return float(reward)
        number = only_number(reward)
        if number is None:
            what = f"step() returned {described(reward)} as the reward"
            raise self.fault(what, "a reward must be one number")
        return number

    def _flag(self, value: Any, name: str) -> bool:
        number = only_number(value)
        if number not in (0, 1):
            what = f"step() returned {described(value)} as {name}"
            raise self.fault(what, f"{name} must be True or False")
        return bool(number)


def only_number(value: Any) -> float | None:
    """A number, or the only number of an array, as a float; None for any other value."""
    try:
        array = np.asarray(value)
    except Exception:
        return None
    return float(array.item()) if array.size == 1 and array.dtype.kind in "biuf" else None


def require_finite(envs: list[UserEnv], obs_N: np.ndarray) -> None:
    """Checks that the observations (N, ...) of N environments are finite.

    A single NaN in an observation would turn all weights of a network into NaN. The check takes a
    microsecond per batch, about 2% of a step of 8 CartPoles.

    Raises:
        UserError: an observation is not finite; the message names the first such environment.
    """
    if obs_N.dtype.kind != "f" or np.isfinite(obs_N).all():
        return
    index, *place = np.argwhere(~np.isfinite(obs_N))[0].tolist()
    raise envs[index].not_finite(obs_N[index][tuple(place)], place)


def require_reset_arguments(env_id: str, env: Env) -> None:
    """Checks that `reset` takes the arguments `seed` and `options`; unknown signatures pass."""
    try:
        signature = inspect.signature(env.unwrapped.reset)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(seed=0, options={})
    except TypeError:
        raise UserError(
            f"{env_id}: reset{signature} must take seed and options; write"
            " def reset(self, *, seed=None, options=None) and call super().reset(seed=seed)"
        ) from None


def returned_another_number(error: BaseException) -> bool:
    """Whether an error says that `step` returned more or fewer values than five."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    ours = last.filename == __file__ or last.filename.startswith(_GYMNASIUM)
    return ours and isinstance(error, TypeError | ValueError) and "unpack" in str(error)
