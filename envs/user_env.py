"""One environment that a person wrote: what it returns is checked, and its faults are one line."""

from __future__ import annotations

import inspect
import traceback
from pathlib import Path
from typing import Any, NoReturn

import gymnasium
import numpy as np
from gymnasium import Env

from envs.errors import UserError, first_line
from envs.observations import Reader, Unfit, described
from envs.output import warn
from envs.own_code import FAULTS, file_of, raised

MOST_REWARD = float(np.finfo(np.float32).max)
"""Greater rewards are infinite in the float32 that agents learn from."""

SCALARS = (float, np.floating, np.integer)
FIVE = "return observation, reward, terminated, truncated, info"
TWO = "return a tuple of two: observation, info"
UNFIT = "observations must be of the observation_space"
_GYMNASIUM = str(Path(gymnasium.__file__).parent)


class UserEnv:
    """An environment whose observations go into rows of a batch; what `info` holds is not read.

    Args:
        env_id: what errors call it.
        env: as `envs.registered.make_env` builds it.
        reader: of its observations; None where nothing is written.

    Raises:
        UserError: its `reset` does not take a seed and options. Every method raises one where
            the environment breaks Gymnasium's contract or raises anything itself.
    """

    def __init__(self, env_id: str, env: Env, reader: Reader | None = None) -> None:
        self.env_id, self.env, self.reader = env_id, env, reader
        self._step, self.steps = env.step, 0
        require_reset_arguments(env_id, env)

    def reset(self, **arguments: Any) -> Any:
        """Reset it with these arguments; returns the first observation as it is."""
        self.steps = 0
        try:
            returned = self.env.reset(**arguments)
        except FAULTS as error:
            raise UserError(f"{self.env_id}: reset() {raised(error, self.source)}") from error
        if type(returned) is not tuple or len(returned) != 2:
            raise self.fault(f"reset() returned {described(returned)}", TWO)
        return returned[0]

    def step(self, action: Any) -> tuple[Any, float, bool, bool]:
        """Take a step; returns the observation as it is, reward, terminated and truncated."""
        self.steps += 1
        try:
            obs, reward, terminated, truncated, _ = self._step(action)
        except FAULTS as error:
            self._refuse_step(error)
        if type(reward) is not float:
            reward = self._number(reward)
        if not -MOST_REWARD <= reward <= MOST_REWARD:
            raise self.fault(f"step() returned a reward of {reward}", "rewards are finite float32")
        if type(terminated) is not bool:
            terminated = self._flag(terminated, "terminated")
        if type(truncated) is not bool:
            truncated = self._flag(truncated, "truncated")
        return obs, reward, terminated, truncated

    def write(self, obs: Any, row: np.ndarray) -> None:
        """Write an observation that `step` or `reset` returned into `row`."""
        try:
            assert self.reader is not None
            self.reader.write(obs, row)
        except Unfit as unfit:
            raise self.fault(f"{self._last_call} returned {unfit}", UNFIT) from None

    def close(self) -> None:
        """Close it; a failure is a warning, because what it did is done."""
        try:
            self.env.close()
        except FAULTS as error:
            warn(f"{self.env_id}: close() {raised(error, self.source)}")

    def not_finite(self, worst: float, place: list[int]) -> UserError:
        """The error for an observation that holds `worst` at `place`."""
        what = f"{self._last_call} returned an observation with {worst} at {place}"
        return self.fault(what, "observations are finite float32")

    def fault(self, what: str, cure: str) -> UserError:
        """The error for something that the environment returned in the present step."""
        when = f" in step {self.steps} of an episode" if self.steps else ""
        return UserError(f"{self.env_id}: {what}{when}; {cure}")

    @property
    def source(self) -> str | None:
        """The file of the person's own class, to name places in."""
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

    def _number(self, reward: Any) -> float:
        if isinstance(reward, SCALARS):
            return float(reward)
        number = only_number(reward)
        if number is None:
            what = f"step() returned {described(reward)} as the reward"
            raise self.fault(what, "a reward is one number")
        return number

    def _flag(self, value: Any, name: str) -> bool:
        number = only_number(value)
        if number not in (0, 1):
            what = f"step() returned {described(value)} as {name}"
            raise self.fault(what, f"{name} is True or False")
        return bool(number)


def only_number(value: Any) -> float | None:
    """The number that a value is, or the only one of an array; None where it is something else."""
    try:
        array = np.asarray(value)
    except Exception:
        return None
    return float(array.item()) if array.size == 1 and array.dtype.kind in "biuf" else None


def require_finite(envs: list[UserEnv], obs_N: np.ndarray) -> None:
    """Pass when the observations (N, ...) of environments are finite.

    A network answers NaN to one NaN and learns NaN from it, so that all weights are lost at once.
    The check takes a microsecond for a batch, about 2% of a step of 8 CartPoles.

    Raises:
        UserError: names the first environment where they are not, and what it returned.
    """
    if obs_N.dtype.kind != "f" or np.isfinite(obs_N).all():
        return
    index, *place = np.argwhere(~np.isfinite(obs_N))[0].tolist()
    raise envs[index].not_finite(obs_N[index][tuple(place)], place)


def require_reset_arguments(env_id: str, env: Env) -> None:
    """Pass when `reset` takes what Gymnasium's own wrappers give it, as far as can be seen."""
    try:
        signature = inspect.signature(env.unwrapped.reset)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(seed=0, options={})
    except TypeError:
        raise UserError(
            f"{env_id}: reset{signature} takes no seed or no options; write"
            " def reset(self, *, seed=None, options=None) and call super().reset(seed=seed)"
        ) from None


def returned_another_number(error: BaseException) -> bool:
    """Whether an error says that `step` returned more or fewer values than five."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    ours = last.filename == __file__ or last.filename.startswith(_GYMNASIUM)
    return ours and isinstance(error, TypeError | ValueError) and "unpack" in str(error)
