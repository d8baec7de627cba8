"""The vector environment: a pool of environments that keeps the tape of each."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from gymnasium.error import AlreadyPendingCallError, NoAsyncCallError
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs import progress
from envs.backends import open_pool
from envs.errors import NotReproduced, UserError, at_least
from envs.pool import Transition
from envs.probe import digest
from envs.spec import EnvSpec
from envs.tape_recorder import OpenTapes
from envs.tapes import Tape, playable_actions

Step = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


class TapedVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """N environments, reset in the same step in which an episode ends, each with its open tape.

    The info of a step has "life_lost" (bool (N,): a life was lost and the episode goes on) and,
    when an episode ended, as Gymnasium's RecordEpisodeStatistics has it,

    - "final_obs" (N, ...) and "_final_obs" bool (N,), the rows that are valid;
    - "episode": {"r": float64 (N,) raw return, "l": int64 (N,) environment steps} and "_episode";
    - where a new tape began, "tape": object (N,) of the `Tape` that was closed, and "_tape".

    Attributes:
        env_spec: what is played.
        tape_steps: an episode's end begins a new tape when the tape holds this many actions.
    """

    def __init__(
        self,
        env_spec: EnvSpec,
        num_envs: int,
        seed: int,
        tape_steps: int,
        num_threads: int,
        first_env: int = 0,
    ) -> None:
        self._pool = open_pool(env_spec, num_envs, num_threads)
        self.env_spec = env_spec
        self.tape_steps = tape_steps
        self.num_envs = num_envs
        self.single_observation_space = self._pool.single_observation_space
        self.single_action_space = self._pool.single_action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}

        self._tapes = OpenTapes(env_spec, num_envs, self.single_action_space, seed, first_env)
        self._pending = False
        self._obs = np.zeros(0)
        self._lives = np.zeros(num_envs, np.int32)
        self._episode_return = np.zeros(num_envs, np.float64)
        self._episode_length = np.zeros(num_envs, np.int64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts a new tape in every environment.

        Args:
            seed: restarts the run with this seed; None goes on with the run's next tapes.
            options: not supported: they would not be on the tape.

        Returns:
            The observations (N, ...) and an info with "life_lost".
        """
        self._refuse_while_pending("reset")
        if options:
            raise UserError(f"reset options {sorted(options)} are not kept on tapes: use none")
        if seed is not None:
            self._tapes.rewind(at_least(0, "seed", seed))
        self._obs = self._start_tapes(np.ones(self.num_envs, bool))
        return self._obs, {"life_lost": np.zeros(self.num_envs, bool)}

    def step(self, actions: np.ndarray) -> Step:
        """Steps every environment: `send`, then `recv`."""
        self.send(actions)
        return self.recv()

    def send(self, actions: np.ndarray) -> None:
        """Hands over one action per environment; Atari games step while the caller goes on.

        Args:
            actions: (N, ...), integers for discrete actions.

        Raises:
            UserError: wrong shape, or an action that does not exist.
        """
        self._refuse_while_pending("send")
        playable = playable_actions(self.single_action_space, actions)
        if len(playable) != self.num_envs:
            raise UserError(f"{len(playable)} actions were sent to {self.num_envs} environments")
        self._tapes.append(playable)
        self._pool.send(playable)
        self._pending = True

    def recv(self) -> Step:
        """Waits for what the actions sent last led to.

        Returns:
            obs (N, ...), reward float32 (N,), raw, terminated bool (N,), truncated bool (N,), info.
        """
        if not self._pending:
            raise NoAsyncCallError("recv() without a send() before it", "recv")
        transition = self._pool.recv()
        self._pending = False
        obs = transition.obs
        info = self._account(transition)
        if "episode" in info:
            closing = info["_episode"] & (self._tapes.lengths >= self.tape_steps)
            if closing.any():
                info["tape"], info["_tape"] = self._tapes.tapes(closing), closing
                obs = self._start_tapes(closing)
        self._obs = obs
        return obs, transition.reward, transition.terminated, transition.truncated, info

    def tapes(self) -> list[Tape]:
        """Returns the open tape of every environment."""
        self._refuse_while_pending("tapes")
        return self._tapes.tapes(np.ones(self.num_envs, bool)).tolist()

    def state_dict(self) -> dict[str, Any]:
        """Returns the open tapes and what they led to: ints, floats, str, lists, one array."""
        self._refuse_while_pending("state_dict")
        return {
            "env_spec": json.dumps(self.env_spec.to_json()),
            "tape_steps": self.tape_steps,
            **self._tapes.state_dict(),
            **self._reached(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        """Replays the saved tapes and leaves everything as it was when they were saved.

        Returns:
            The observations (N, ...) and an info with "life_lost", as `reset` does.

        Raises:
            UserError: the state is of another environment or number of environments.
            NotReproduced: the tapes did not lead to where they led when they were saved.
        """
        self._load_tapes(state)
        self._obs = self._relive()
        self._require_reached(state)
        return self._obs, {"life_lost": np.zeros(self.num_envs, bool)}

    def begin_anew(self, state: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins the tapes that come after the saved ones, which are not replayed.

        Returns:
            As `load_state_dict`.

        Raises:
            UserError: the state is of another environment or number of environments.
        """
        self._load_tapes(state)
        return self.reset()

    def _load_tapes(self, state: dict[str, Any]) -> None:
        self._refuse_while_pending("load_state_dict")
        saved_spec = EnvSpec.from_json(json.loads(state["env_spec"]))
        self.env_spec.require_same(saved_spec, "the saved tapes are")
        if (saved := len(state["tape_lengths"])) != self.num_envs:
            raise UserError(f"{saved} tapes were saved, but num_envs is {self.num_envs}")
        self._tapes.load_state_dict(state)
        self.tape_steps = state["tape_steps"]

    def close_extras(self, **kwargs: Any) -> None:
        """Closes the environments."""
        self._pool.close()

    def _relive(self) -> np.ndarray:
        # The shorter tapes begin later, so that all end at the same step of the pool; what their
        # environments did until then, their seeded reset makes forgotten.
        actions, begins = self._tapes.aligned_at_end()
        obs = self._reset_rows(np.ones(self.num_envs, bool))
        replayed = progress.watched(actions, len(actions), "replaying the environments' tapes")
        for step, batch in enumerate(replayed, start=1):
            self._pool.send(playable_actions(self.single_action_space, batch))
            transition = self._pool.recv()
            self._account(transition)
            beginning = begins == step
            obs = self._reset_rows(beginning) if beginning.any() else transition.obs
        return obs

    def _start_tapes(self, mask: np.ndarray) -> np.ndarray:
        self._tapes.begin(mask)
        return self._reset_rows(mask)

    def _reset_rows(self, mask: np.ndarray) -> np.ndarray:
        obs, self._lives = self._pool.reset(self._tapes.seeds, mask)
        self._episode_return[mask] = 0.0
        self._episode_length[mask] = 0
        return obs

    def _account(self, transition: Transition) -> dict[str, Any]:
        ended = transition.terminated | transition.truncated
        self._episode_return += transition.reward
        self._episode_length += 1
        info: dict[str, Any] = {"life_lost": (transition.lives < self._lives) & ~ended}
        self._lives = transition.lives
        if ended.any():
            info["final_obs"], info["_final_obs"] = transition.final_obs, ended
            info["episode"] = {
                "r": np.where(ended, self._episode_return, 0.0),
                "l": np.where(ended, self._episode_length, 0),
            }
            info["_episode"] = ended.copy()
            self._episode_return[ended] = 0.0
            self._episode_length[ended] = 0
        return info

    def _reached(self) -> dict[str, Any]:
        return {
            "episode_return": self._episode_return.tolist(),
            "episode_length": self._episode_length.tolist(),
            "lives": self._lives.tolist(),
            "obs_crc32": [digest(self._obs[i]) for i in range(self.num_envs)],
        }

    def _require_reached(self, state: dict[str, Any]) -> None:
        for name, here in self._reached().items():
            # Checkpoints of older versions lack the digests of the observations.
            there = state.get(name, here)
            for i in range(self.num_envs):
                if here[i] != there[i]:
                    raise NotReproduced(
                        f"{self.env_spec.env_id} is not reproducible here: its tape leads"
                        f" environment {i} to {name} {here[i]}, but led it to"
                        f" {there[i]} when it was saved"
                    )

    def _refuse_while_pending(self, name: str) -> None:
        if self._pending:
            raise AlreadyPendingCallError(f"{name}() between send() and recv()", name)
