"""An episode: the actions from a seeded reset to an end, with digests that prove the outcome."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

import numpy as np

from envs import EnvSpec, Tape, UserError
from envs.tapes import seeds_end
from envs.text import plain

DIGEST_EVERY_STEPS = 256
DIGEST_BYTES = 16


class Witness:
    """Watches an episode and computes a digest every 256 steps and at its end.

    A digest is BLAKE2b over the newest frame of each observation, the rewards and the ends so far.
    So a change of an early step changes all later digests.
    """

    def __init__(self, spec: EnvSpec, first_obs: np.ndarray):
        self._spec = spec
        self._hash = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self._digests: list[bytes] = []
        self.steps = 0
        self._see(first_obs)

    def step(self, obs: np.ndarray, reward: float, terminated: bool, truncated: bool) -> None:
        """Adds one step and the observation after it; at an end, the final observation."""
        self._see(obs)
        self._hash.update(struct.pack("<f??", reward, terminated, truncated))
        self.steps += 1
        if self.steps % DIGEST_EVERY_STEPS == 0:
            self._digests.append(self._hash.copy().digest())

    def digests(self) -> np.ndarray:
        """The digests at steps 256, 512, ... and at the last step, uint8 (ceil(T / 256), 16)."""
        unfinished = [self._hash.copy().digest()] if self.steps % DIGEST_EVERY_STEPS else []
        every = b"".join(self._digests + unfinished)
        return np.frombuffer(every, np.uint8).reshape(-1, DIGEST_BYTES)

    def _see(self, obs: np.ndarray) -> None:
        self._hash.update(np.ascontiguousarray(newest(self._spec, obs)).data)


def newest(spec: EnvSpec, obs: np.ndarray) -> np.ndarray:
    """The newest frame of a stack of frames; any other observation as it is."""
    return obs[-1] if spec.frame_stack > 1 else obs


@dataclass(frozen=True, eq=False)
class Episode:
    """One whole episode of T steps, with read-only arrays.

    Raises:
        UserError: the parts do not fit together; the message names them and their sizes.
    """

    spec: EnvSpec
    seed: int | None
    """Seed of the reset that the episode begins with; None if it is unknown."""
    actions: np.ndarray
    """(T, ...) as on a tape."""
    rewards: np.ndarray
    """float32 (T,), raw."""
    terminated: bool
    """The episode ended in a terminal state; else it was truncated."""
    digests: np.ndarray
    """uint8 (ceil(T / 256), 16), as `Witness.digests`."""
    policy: str
    """Who played, as `record --policy` names it."""
    observations: np.ndarray | None = None
    """(T + 1, ...) in the environment's dtype: the observations after the reset and each action. A
    frame stack contributes its newest frame. None if the episode replays."""
    labels: np.ndarray | None = None
    """(T, ...) as `actions`: the actions of an expert in the same states. None if none was asked;
    then the player's own actions are the ones to imitate."""
    labeled: np.ndarray | None = None
    """bool (T,): the expert gave the step's label. None without labels."""

    def __post_init__(self) -> None:
        steps = len(self.actions)
        if steps == 0:
            raise UserError("an episode must have at least 1 step, but this one has 0")
        if self.seed is None and self.observations is None:
            raise UserError("an episode without a seed needs its observations")
        if not 0 <= (self.seed or 0) < seeds_end(self.spec):
            most = seeds_end(self.spec) - 1
            raise UserError(f"an episode's seed is {plain(self.seed, 40)}, allowed is 0 to {most}")
        expected = {
            "rewards": ((steps,), np.dtype(np.float32)),
            "digests": ((-(-steps // DIGEST_EVERY_STEPS), DIGEST_BYTES), np.dtype(np.uint8)),
        }
        for name, (shape, dtype) in expected.items():
            value = getattr(self, name)
            if value.shape != shape or value.dtype != dtype:
                raise UserError(
                    f"{name} are {value.dtype} {value.shape}, but an episode of {steps} steps has"
                    f" {dtype} {shape}"
                )
        if not np.isfinite(self.rewards).all():
            step = int(np.flatnonzero(~np.isfinite(self.rewards))[0]) + 1
            raise UserError(f"the reward of step {step} is {self.rewards[step - 1]}")
        require_finite(self.actions, "action")
        self._require_labels()
        if self.observations is not None and len(self.observations) != steps + 1:
            raise UserError(
                f"there are {len(self.observations)} observations, but an episode of {steps}"
                f" steps has {steps + 1}"
            )
        for name in ("actions", "rewards", "digests", "observations", "labels", "labeled"):
            array = getattr(self, name)
            if array is not None:
                if array.dtype.kind not in "buif":
                    raise UserError(f"{name} are {array.dtype}, allowed are numbers")
                array = array.copy()
                array.setflags(write=False)
                object.__setattr__(self, name, array)

    def _require_labels(self) -> None:
        """Raises a UserError unless there are labels that fit the actions, or none."""
        labels = self.labels
        labeled = self.labeled
        if labels is None and labeled is None:
            return
        if labels is None or labeled is None:
            raise UserError("labels and labeled must both be there, or neither")
        actions = self.actions
        if labels.shape != actions.shape or labels.dtype != actions.dtype:
            raise UserError(
                f"labels are {labels.dtype} {labels.shape}, but the actions are"
                f" {actions.dtype} {actions.shape}"
            )
        if labeled.shape != (len(actions),) or labeled.dtype != np.dtype(bool):
            raise UserError(
                f"labeled is {labeled.dtype} {labeled.shape}, but an episode of {len(actions)}"
                f" steps has bool ({len(actions)},)"
            )
        require_finite(labels, "label")

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def score(self) -> float:
        """The return: the sum of raw rewards."""
        return float(self.rewards.sum(dtype=np.float64))

    @property
    def tape(self) -> Tape:
        """The tape that replays the episode; raises a UserError if the episode does not replay."""
        if self.observations is not None or self.seed is None:
            raise UserError(
                f"an episode of {self.spec.env_id} cannot be replayed: its observations are stored,"
                " because its seed and actions do not reproduce them"
            )
        return Tape(self.spec, self.seed, self.actions)


def require_finite(actions: np.ndarray, what: str) -> None:
    """Raises a UserError unless all numbers of actions (T, ...) are finite."""
    if actions.dtype.kind != "f" or np.isfinite(actions).all():
        return
    finite_T = np.isfinite(actions.reshape(len(actions), -1)).all(1)
    step = int(np.flatnonzero(~finite_T)[0]) + 1
    raise UserError(f"the {what} of step {step} is {actions[step - 1]}, not finite")
