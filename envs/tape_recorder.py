"""Records the actions of a pool's environments on tapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from gymnasium import Space
from gymnasium.error import ResetNeeded
from msgspec import Meta

from envs import schema
from envs.schema import Malformed
from envs.spec import EnvSpec
from envs.tapes import Tape, action_dtype, tape_seed


@dataclass(frozen=True)
class About:
    """The fields of a saved state of `OpenTapes`, without the actions."""

    seed: Annotated[int, Meta(ge=0)]
    tape_steps: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    tape_index: list[schema.Natural]
    tape_seeds: list[schema.Natural]
    tape_lengths: list[schema.Natural]


class OpenTapes:
    """One open tape for each of N environments, in an array that grows.

    Attributes:
        seeds: int64 (N,), the seed of each tape.
        lengths: int64 (N,), the number of actions on each tape.
    """

    def __init__(
        self,
        env_spec: EnvSpec,
        num_envs: int,
        action_space: Space,
        run_seed: int,
        first_env: int = 0,
    ):
        assert action_space.shape is not None
        self._spec = env_spec
        self._run_seed = run_seed
        self._first_env = first_env
        self._rows = np.arange(num_envs)
        self._index = np.full(num_envs, -1)
        self.seeds = np.zeros(num_envs, np.int64)
        self.lengths = np.zeros(num_envs, np.int64)
        dtype = action_dtype(action_space)
        self._actions = np.empty((num_envs, 0, *action_space.shape), dtype)
        self._room = 0

    def rewind(self, run_seed: int) -> None:
        """Restarts the run with this seed: the tapes that begin next are its first ones."""
        self._run_seed = run_seed
        self._index[:] = -1

    def begin(self, mask: np.ndarray) -> None:
        """Begins the next tape of each environment in `mask`, bool (N,)."""
        self._index[mask] += 1
        for i in np.flatnonzero(mask):
            self.seeds[i] = tape_seed(self._run_seed, self._first_env + int(i), int(self._index[i]))
        self.lengths[mask] = 0

    def append(self, actions: np.ndarray) -> None:
        """Records one action per environment, (N, ...)."""
        if self._room == 0:
            self._make_room()
        self._actions[self._rows, self.lengths] = actions
        self.lengths += 1
        self._room -= 1

    def tapes(self, mask: np.ndarray) -> np.ndarray:
        """Returns copies of the tapes in `mask` as an object array (N,), with None elsewhere."""
        tapes = np.full(len(mask), None, object)
        for i in np.flatnonzero(mask):
            actions = self._actions[i, : self.lengths[i]].copy()
            tapes[i] = Tape(self._spec, int(self.seeds[i]), actions)
        return tapes

    def aligned_at_end(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the actions of all tapes, aligned so that all tapes end together.

        Returns:
            actions (max L, N, ...) and begins int (N,), the index of each tape's first action.
            Before its first action, a tape has some valid action.
        """
        steps = int(self.lengths.max())
        begins = steps - self.lengths
        # The longest tape's first action fills the steps before a tape begins.
        waiting = self._actions[begins.argmin(), :1]
        actions = np.repeat(waiting[:, None], len(begins), axis=1).repeat(steps, axis=0)
        for i, begin in enumerate(begins):
            actions[begin:, i] = self._actions[i, : self.lengths[i]]
        return actions, begins

    def state_dict(self) -> dict[str, Any]:
        """Returns ints, lists of ints and one array, the concatenated actions of all tapes."""
        if self._index[0] < 0:
            raise ResetNeeded("state_dict() before the first reset()")
        rows = zip(self._actions, self.lengths, strict=True)
        return {
            "seed": self._run_seed,
            "tape_index": self._index.tolist(),
            "tape_seeds": self.seeds.tolist(),
            "tape_lengths": self.lengths.tolist(),
            "actions": np.concatenate([actions[:length] for actions, length in rows]),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replaces the open tapes by the saved ones; raises Malformed if they do not fit."""
        about = schema.convert(state, About, "the saved tapes")
        actions = state["actions"]
        if not isinstance(actions, np.ndarray) or sum(about.tape_lengths) != len(actions):
            raise Malformed("the saved tapes: the number of actions differs from their lengths")
        self._run_seed = about.seed
        self._index[:] = about.tape_index
        self.seeds[:] = about.tape_seeds
        self.lengths[:] = about.tape_lengths
        shape = (len(self._rows), int(self.lengths.max()) + 1, *self._actions.shape[2:])
        self._actions = np.empty(shape, self._actions.dtype)
        self._room = 1
        begin = 0
        for row, length in zip(self._actions, self.lengths, strict=True):
            row[:length] = actions[begin : begin + length]
            begin += length

    def _make_room(self) -> None:
        if self._index[0] < 0:
            raise ResetNeeded("send() before the first reset()")
        num_envs, capacity, *shape = self._actions.shape
        longest = int(self.lengths.max())
        if longest == capacity:
            grown = np.empty((num_envs, max(1024, 2 * capacity), *shape), self._actions.dtype)
            grown[:, :capacity] = self._actions
            self._actions = grown
        self._room = self._actions.shape[1] - longest


def join_states(states: list[dict[str, Any]]) -> dict[str, Any]:
    """Joins the states of several vector environments of a run into one, in their order."""
    joined = dict(states[0])
    for name, value in joined.items():
        if isinstance(value, list):
            joined[name] = [item for state in states for item in state[name]]
    joined["actions"] = np.concatenate([state["actions"] for state in states])
    return joined


def rows_of_state(state: dict[str, Any], rows: slice) -> dict[str, Any]:
    """Cuts the state of the environments `rows` out of a vector environment's state."""
    ends = np.cumsum(state["tape_lengths"])
    begins = ends - state["tape_lengths"]
    cut = {name: v[rows] if isinstance(v, list) else v for name, v in state.items()}
    cut["actions"] = state["actions"][begins[rows][0] : ends[rows][-1]]
    return cut
