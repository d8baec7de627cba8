"""Trains an agent of Stable-Baselines3 as `benchmarks.until` trains ours, and scores it alike.

    python -m benchmarks.peer --algo sb3-ppo --env CartPole-v1 --steps 100000 --folder runs/x

Evaluations in training choose the best weights; the score is over other games. Both are without
exploration. The settings are in `benchmarks.peer_settings`.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from agents.core.training.config import require
from agents.core.training.loop import EVALUATION_SEED
from agents.core.training.reporting import SCORE_SEED
from benchmarks.machine import compact_json
from benchmarks.peer_settings import PEERS, PeerSettings
from benchmarks.until import result_file
from envs import UserError, command_line
from envs.entry import command as one_line_errors
from envs.errors import did_you_mean
from envs.files import write_atomically

HOMES = {
    "sb3-dqn": ("stable_baselines3", "DQN"),
    "sb3-ppo": ("stable_baselines3", "PPO"),
    "sb3-qrdqn": ("sb3_contrib", "QRDQN"),
    "sb3-sac": ("stable_baselines3", "SAC"),
}
"""The package and the class of each agent."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    algo: str  # Agent: sb3-dqn, sb3-ppo, sb3-qrdqn or sb3-sac.
    env: str  # Environment.
    folder: Path  # Folder of the result.
    steps: int = 100_000  # Steps of the training.
    seed: int = 1  # Seed of the training.
    games: int = 30  # Whole games of the score.
    eval_episodes: int = 10  # Whole games of an evaluation in training.
    eval_every_steps: int = 10_000  # Steps between two evaluations.


def settings_of(algo: str, env: str) -> PeerSettings:
    """The settings of an agent for a task.

    Raises:
        UserError: there is no such agent, no tuned settings for the task, or no package.
    """
    if algo not in PEERS:
        known = sorted(PEERS)
        raise UserError(
            f"unknown peer '{algo}' (known: {', '.join(known)}){did_you_mean(algo, known)}"
        )
    if env not in PEERS[algo]:
        raise UserError(f"{algo} has settings for {', '.join(PEERS[algo])}, not for {env}")
    package = HOMES[algo][0]
    if importlib.util.find_spec(package) is None:
        raise UserError(f"{package} is not installed: pip install {package.replace('_', '-')}")
    return PEERS[algo][env]


class Peer:
    """An agent of Stable-Baselines3 with its environments."""

    def __init__(self, arguments: Arguments):
        from stable_baselines3.common import (  # pyright: ignore[reportMissingImports]
            env_util,
            vec_env,
        )

        settings = settings_of(arguments.algo, arguments.env)
        self.arguments = arguments
        env: Any = env_util.make_vec_env(arguments.env, settings.num_envs, seed=arguments.seed)
        if settings.normalize:
            env = vec_env.VecNormalize(env, gamma=settings.model.get("gamma", 0.99))
        self.env = env
        package, name = HOMES[arguments.algo]
        self.model: Any = getattr(importlib.import_module(package), name)(
            "MlpPolicy",
            env,
            seed=arguments.seed,
            device="cpu",
            policy_kwargs=network_of(settings),
            **settings.model,
        )
        self.curve: list[list[float]] = []
        self.best: tuple[float, int, Any, Any] | None = None
        self.evaluating_seconds = 0.0
        self.start = time.perf_counter()

    def play(self, games: int, seed: int) -> list[float]:
        """The returns of whole games with the present weights, without exploration."""
        from stable_baselines3.common import (  # pyright: ignore[reportMissingImports]
            env_util,
            evaluation,
            vec_env,
        )

        env = env_util.make_vec_env(self.arguments.env, 1, seed=seed)
        if isinstance(self.env, vec_env.VecNormalize):
            env = vec_env.VecNormalize(env, training=False, norm_reward=False)
            env.obs_rms = self.env.obs_rms
        returns: Any = evaluation.evaluate_policy(
            self.model, env, n_eval_episodes=games, deterministic=True, return_episode_rewards=True
        )
        env.close()
        return [float(each) for each in returns[0]]

    def evaluate(self) -> None:
        """Evaluates the present weights, and keeps them if they are the best so far."""
        before = time.perf_counter()
        mean = float(np.mean(self.play(self.arguments.eval_episodes, EVALUATION_SEED)))
        step = self.model.num_timesteps
        if self.best is None or mean >= self.best[0]:
            weights = copy.deepcopy(self.model.policy.state_dict())
            self.best = (mean, step, weights, copy.deepcopy(getattr(self.env, "obs_rms", None)))
        self.evaluating_seconds += time.perf_counter() - before
        minutes = (time.perf_counter() - self.start) / 60
        self.curve.append([step, round(minutes, 3), mean])

    def train(self) -> None:
        """Trains to the end with evaluations, and takes the best weights."""
        from stable_baselines3.common import callbacks  # pyright: ignore[reportMissingImports]

        peer = self
        every = self.arguments.eval_every_steps

        class Evaluations(callbacks.BaseCallback):
            def _on_step(self) -> bool:
                before = self.num_timesteps - peer.env.num_envs
                if self.num_timesteps // every > before // every:
                    peer.evaluate()
                return True

        self.model.learn(self.arguments.steps, callback=Evaluations(), log_interval=10**9)
        if self.best is None:
            self.evaluate()
        self.seconds = time.perf_counter() - self.start
        assert self.best is not None
        _, _, weights, observations = self.best
        self.model.policy.load_state_dict(weights)
        if observations is not None:
            self.env.obs_rms = observations


def network_of(settings: PeerSettings) -> dict[str, Any]:
    """The arguments of the network, with the activation as a class."""
    arguments = dict(settings.policy)
    if "activation_fn" in arguments:
        arguments["activation_fn"] = getattr(torch.nn, arguments["activation_fn"])
    return arguments


def measure(arguments: Arguments) -> dict[str, Any]:
    """Trains and scores the agent."""
    peer = Peer(arguments)
    before = os.times()
    peer.train()
    after = os.times()
    returns = peer.play(arguments.games, SCORE_SEED)
    assert peer.best is not None
    cpu_seconds = after.user + after.system - before.user - before.system
    step = peer.model.num_timesteps
    return {
        "score": float(np.mean(returns)),
        "ci95": float(stats.t.ppf(0.975, len(returns) - 1) * stats.sem(returns)),
        "returns": returns,
        "best_step": peer.best[1],
        "protocol": arguments.env,
        "exploration": {"deterministic": True},
        "cpu_minutes": round(cpu_seconds / 60, 3),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "step": step,
        "minutes": round(peer.seconds / 60, 3),
        "steps_per_second": round(step / (peer.seconds - peer.evaluating_seconds), 1),
        "curve": peer.curve,
    }


def main(args: list[str] | None = None) -> None:
    with one_line_errors():
        arguments = command_line.parse(
            Arguments, args=args, prog="python -m benchmarks.peer", description=__doc__
        )
        for name in ("steps", "eval_episodes", "eval_every_steps"):
            require(getattr(arguments, name) >= 1, name, getattr(arguments, name), "at least 1")
        require(arguments.games >= 2, "games", arguments.games, "at least 2")
        settings_of(arguments.algo, arguments.env)
        torch.set_num_threads(1)
        found = measure(arguments)
        arguments.folder.mkdir(parents=True, exist_ok=True)
        file = result_file(arguments.folder, arguments.steps)
        write_atomically(file, (compact_json(found) + "\n").encode())
        print(f"{found['score']:.2f} ± {found['ci95']:.2f} after {found['step']:,} steps: {file}")


if __name__ == "__main__":
    main()
