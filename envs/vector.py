"""The vector environment: a pool of environments that records a tape of each."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from gymnasium.error import AlreadyPendingCallError, NoAsyncCallError
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs import masks, progress
from envs.backends import open_pool
from envs.errors import NotReproduced, UserError, at_least
from envs.pool import Transition
from envs.probe import digest
from envs.spec import EnvSpec
from envs.tape_recorder import OpenTapes
from envs.tapes import Tape, playable_actions

Step = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


class TapedVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """N environments, each with an open tape; an ended episode is reset within the same step.

    The info of a step has "life_lost", bool (N,): a life was lost and the episode goes on. If the
    environments give masks (`envs.masks`), it has "action_mask", int8 (N, A): the actions allowed
    at the returned observations, also after an automatic reset. After an episode's end it also has
    the keys of Gymnasium's RecordEpisodeStatistics:

    - "final_obs" (N, ...), and "_final_obs" bool (N,) for its valid rows;
    - with masks, "final_info": {"action_mask" int8 (N, A), the actions allowed at "final_obs"};
    - "episode": {"r": float64 (N,) raw return, "l": int64 (N,) environment steps}, and "_episode";
    - if a new tape began, "tape": object (N,) with the closed `Tape`, and "_tape".

    Attributes:
        env_spec: the spec of the environments.
        tape_steps: an episode's end begins a new tape once the tape holds this many actions.
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
        """Begins a new tape in each environment.

        Args:
            seed: restarts the run with this seed; None continues with the run's next tapes.
            options: must be empty, because a tape does not hold options.

        Returns:
            The observations (N, ...) and an info with "life_lost", and "action_mask" if there is
            one.
        """
        self._refuse_while_pending("reset")
        if options:
            raise UserError(f"reset options {sorted(options)}: a tape holds no options, give none")
        if seed is not None:
            self._tapes.rewind(at_least(0, "seed", seed))
        self._obs = self._start_tapes(np.ones(self.num_envs, bool))
        return self._obs, self._begun_info()

    def step(self, actions: np.ndarray) -> Step:
        """Steps all environments: calls `send`, then `recv`."""
        self.send(actions)
        return self.recv()

    def send(self, actions: np.ndarray) -> None:
        """Starts a step; Atari games step in threads while the caller continues.

        Args:
            actions: (N, ...), one per environment; integers for discrete actions.

        Raises:
            UserError: the shape is wrong, or an action does not exist.
        """
        self._refuse_while_pending("send")
        playable = playable_actions(self.single_action_space, actions)
        if len(playable) != self.num_envs:
            raise UserError(f"{len(playable)} actions were sent to {self.num_envs} environments")
        self._tapes.append(playable)
        self._pool.send(playable)
        self._pending = True

    def recv(self) -> Step:
        """Waits for the step that `send` started, and returns its outcome.

        Returns:
            obs (N, ...), raw reward float32 (N,), terminated bool (N,), truncated bool (N,), info.
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
                info["tape"] = self._tapes.tapes(closing)
                info["_tape"] = closing
                obs = self._start_tapes(closing)
        self._obs = obs
        info |= masks.info_of(self._pool.legal)
        return obs, transition.reward, transition.terminated, transition.truncated, info

    def tapes(self) -> list[Tape]:
        """Returns copies of the open tapes, one per environment."""
        self._refuse_while_pending("tapes")
        return self._tapes.tapes(np.ones(self.num_envs, bool)).tolist()

    def state_dict(self) -> dict[str, Any]:
        """Returns the open tapes, and facts that verify the state after them.

        The values are ints, floats, strings, lists and one array.
        """
        self._refuse_while_pending("state_dict")
        return {
            "env_spec": json.dumps(self.env_spec.to_json()),
            "tape_steps": self.tape_steps,
            **self._tapes.state_dict(),
            **self._reached(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        """Replays the saved tapes, which restores the state at the time of saving.

        Returns:
            The observations (N, ...) and an info, as `reset` does.

        Raises:
            UserError: the state is of another environment or number of environments.
            NotReproduced: the replay ends in another state than the saved one.
        """
        self._load_tapes(state)
        self._obs = self._replayed()
        self._require_reached(state)
        return self._obs, self._begun_info()

    def begin_anew(self, state: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins the tapes that follow the saved ones, without a replay.

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
        saved = len(state["tape_lengths"])
        if saved != self.num_envs:
            raise UserError(f"{saved} tapes were saved, but num_envs is {self.num_envs}")
        self._tapes.load_state_dict(state)
        self.tape_steps = state["tape_steps"]

    def close_extras(self, **kwargs: Any) -> None:
        """Closes the environments."""
        self._pool.close()

    def _replayed(self) -> np.ndarray:
        """Replays the open tapes; returns the observations (N, ...) at their ends."""
        # Shorter tapes begin later, so that all tapes end at the same step of the pool. The seeded
        # reset of a tape erases the steps before it.
        actions, begins = self._tapes.aligned_at_end()
        obs = self._reset_rows(np.ones(self.num_envs, bool))
        replayed = progress.watched(actions, len(actions), "replaying the environments' tapes")
        for step, batch in enumerate(replayed, start=1):
            waiting = begins >= step
            space = self.single_action_space
            batch = masks.made_legal(space, batch, self._pool.legal, among_N=waiting)
            self._pool.send(playable_actions(space, batch))
            transition = self._pool.recv()
            self._account(transition)
            beginning = begins == step
            obs = self._reset_rows(beginning) if beginning.any() else transition.obs
        return obs

    def _start_tapes(self, mask: np.ndarray) -> np.ndarray:
        self._tapes.begin(mask)
        return self._reset_rows(mask)

    def _begun_info(self) -> dict[str, Any]:
        """The info of a reset."""
        return {"life_lost": np.zeros(self.num_envs, bool)} | masks.info_of(self._pool.legal)

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
            info["final_obs"] = transition.final_obs
            info["_final_obs"] = ended
            if transition.final_legal is not None:
                info["final_info"] = masks.info_of(transition.final_legal)
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
                        f"{self.env_spec.env_id} is not reproducible here: after the replay,"
                        f" environment {i} has {name} {here[i]}, but {there[i]} was saved"
                    )

    def _refuse_while_pending(self, name: str) -> None:
        if self._pending:
            raise AlreadyPendingCallError(f"{name}() between send() and recv()", name)
