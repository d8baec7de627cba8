"""Stable-Baselines3's agents, set up for the work that a config of ours describes."""

from __future__ import annotations

import importlib
import time
from typing import Any

import torch

from benchmarks.contenders import UpdateCounter
from benchmarks.workloads import NEVER


def dqn(config: Any) -> dict[str, Any]:
    """Arguments of Stable-Baselines3's DQN; `train_freq` counts steps of the vector environment."""
    steps_per_update = round(config.batch_size / config.samples_per_step)
    return {
        "batch_size": config.batch_size,
        "buffer_size": config.buffer_size,
        "learning_starts": config.learning_starts_steps,
        "train_freq": max(steps_per_update // config.num_envs, 1),
        "gradient_steps": max(config.num_envs // steps_per_update, 1),
        "target_update_interval": config.target_every_updates * steps_per_update,
        "exploration_initial_eps": config.epsilon.start,
        "exploration_final_eps": config.epsilon.end,
    }


def actor_critic(config: Any) -> dict[str, Any]:
    """The common arguments of Stable-Baselines3's PPO and A2C.

    Their value loss is (V - R)², and ours is ½ (V - R)², so half of our coefficient is the same.
    """
    return {
        "n_steps": config.horizon_steps,
        "gae_lambda": config.gae_lambda,
        "normalize_advantage": config.normalize_advantages,
        "vf_coef": config.value_coefficient / 2,
        "ent_coef": config.entropy_coefficient,
    }


def ppo(config: Any) -> dict[str, Any]:
    """Arguments of Stable-Baselines3's PPO."""
    return {
        **actor_critic(config),
        "batch_size": config.batch_size,
        "n_epochs": config.epochs,
        "clip_range": config.clip.start,
    }


def a2c(config: Any) -> dict[str, Any]:
    """Arguments of Stable-Baselines3's A2C."""
    eps = config.optimizer_epsilon
    return {**actor_critic(config), "use_rms_prop": True, "rms_prop_eps": eps}


def sac(config: Any) -> dict[str, Any]:
    """Arguments of Stable-Baselines3's SAC, with an update for each step of one environment."""
    return {
        "batch_size": config.batch_size,
        "buffer_size": config.buffer_size,
        "learning_starts": config.learning_starts_steps,
        "train_freq": 1,
        "gradient_steps": round(config.samples_per_step / config.batch_size),
        "tau": config.target_share,
    }


ARGUMENTS = {"dqn": dqn, "qr_dqn": dqn, "ppo": ppo, "a2c": a2c, "sac": sac}

PACKAGES = {"qr_dqn": "sb3_contrib"}
"""The packages of the agents that are not in Stable-Baselines3 itself."""


def network(algo: str, config: Any) -> dict[str, Any]:
    """Arguments of the network and its optimizer."""
    arguments: dict[str, Any] = {"optimizer_kwargs": {"eps": config.optimizer_epsilon}}
    if algo == "qr_dqn":
        # With its own optimizer it would ignore our epsilon.
        arguments["optimizer_class"] = torch.optim.Adam
        arguments["n_quantiles"] = config.num_quantiles
    return arguments


def environments(algo: str, config: Any) -> Any:
    """The vector environment; an Atari game has the wrappers of the documentation."""
    from stable_baselines3.common import (  # pyright: ignore[reportMissingImports]
        env_util,
        vec_env,
    )

    if algo == "sac":
        return env_util.make_vec_env(config.env_id, config.num_envs, seed=config.seed)
    env = env_util.make_atari_env(config.env_id, config.num_envs, seed=config.seed)
    return vec_env.VecFrameStack(env, 4)


class StableBaselines:
    """An agent of Stable-Baselines3, set up as its documentation shows.

    Its default optimizers equal ours: Adam, and for A2C RMSProp without centering and α = 0.99.
    """

    def __init__(self, algo: str, config: Any):
        package = importlib.import_module(PACKAGES.get(algo, "stable_baselines3"))
        arguments = ARGUMENTS[algo](config)
        if algo != "sac":
            arguments["max_grad_norm"] = config.max_grad_norm
        self.model = getattr(package, algo.upper().replace("_", ""))(
            "MlpPolicy" if algo == "sac" else "CnnPolicy",
            environments(algo, config),
            learning_rate=config.learning_rate.start,
            gamma=config.gamma,
            policy_kwargs=network(algo, config),
            device=config.device,
            seed=config.seed,
            **arguments,
        )
        self.optimizer = getattr(self.model, "critic", self.model.policy).optimizer
        self.counter = UpdateCounter()
        self.optimizer.register_step_post_hook(self.counter.add)

    @property
    def about(self) -> dict[str, Any]:
        return {"precision": "float32", "device": self.model.device.type}

    @property
    def counts(self) -> tuple[int, int]:
        return self.model.num_timesteps, self.counter.updates

    def advance(self, steps: int) -> float:
        start = time.perf_counter()
        self.model.learn(steps, log_interval=NEVER, reset_num_timesteps=False)
        return time.perf_counter() - start
