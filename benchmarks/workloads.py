"""Defines the work that all contenders do, with one config of ours per algorithm.

The game is <game>NoFrameskip-v4, and the network is the Nature CNN with 512 hidden units. DQN
trains on 32 transitions every 4 steps, with one-step targets and a target copy every 1,000 steps.
Every other algorithm of values has the same work, where it has the same settings. PPO and A2C have
their published settings for Atari. PQN has its paper's rollouts, on as many environments as the
others: two samples a step, while DQN has eight. SAC has the paper's settings on HalfCheetah-v5, an
update for each step of one environment. All schedules are constant, so that the work does not
depend on the duration of the measurement.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agents.core.data.settings import DemoConfig
from agents.core.training.algorithms import algorithm, algorithms
from agents.core.training.config import ValueConfig
from envs import UserError

NEVER = 10**9

EVERYWHERE: dict[str, Any] = {
    "torso": "nature",
    "hidden": 512,
    "layer_norm": False,
    "gamma": 0.99,
    "log_every_steps": NEVER,
    "checkpoint_every_steps": NEVER,
    "eval_every_steps": 0,
}

ACTOR_CRITIC: dict[str, Any] = {
    "optimizer_epsilon": 1e-5,
    "max_grad_norm": 0.5,
    "value_coefficient": 0.5,
    "entropy_coefficient": 0.01,
}


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The work of one algorithm.

    Attributes:
        settings: the config's differences from the defaults.
        samples_per_step: computes the samples per environment step from the config.
        batch: draws a minibatch from an agent that has learned.
        warm_up_steps: environment steps until the agent learns at its final speed.
        peer_num_envs: numbers of environments of a peer; () takes ours.
        env_id: the environment; "" is the game.
        has_limit: whether the loop of a tutorial can train it: it has one loss.
    """

    settings: dict[str, Any]
    samples_per_step: Callable[[Any], float]
    batch: Callable[[Any], Any]
    warm_up_steps: int
    peer_num_envs: tuple[int, ...] = ()
    env_id: str = ""
    has_limit: bool = True


VALUES = Workload(
    settings={
        "num_envs": 8,
        "batch_size": 32,
        "samples_per_step": 8.0,
        "buffer_size": 100_000,
        "learning_starts_steps": 1_000,
        "target_every_updates": 250,
        "n_step": 1,
        "double": False,
        "dueling": False,
        "priority_exponent": 0.0,
        "learning_rate": 1e-4,
        "max_grad_norm": 10.0,
        "epsilon": 0.05,
        # Stable-Baselines3's QR-DQN has the paper's number.
        "num_quantiles": 200,
    },
    samples_per_step=lambda config: config.samples_per_step,
    batch=lambda agent: agent.minibatch(*(each[0] for each in agent.draw(1))),
    warm_up_steps=1_256,
    # As its users run DQN, and with the environments together.
    peer_num_envs=(1, 8),
)
"""The work of every algorithm of values; a setting that one lacks is left out."""

WORKLOADS = {
    "ppo": Workload(
        settings={
            **ACTOR_CRITIC,
            "num_envs": 8,
            "horizon_steps": 128,
            "epochs": 4,
            "batch_size": 256,
            "learning_rate": 2.5e-4,
            "clip": 0.1,
            "value_clip": 0.0,
            "target_kl": 0.0,
            "gae_lambda": 0.95,
            "normalize_advantages": True,
        },
        samples_per_step=lambda config: config.epochs,
        batch=lambda agent: next(agent.rollout.minibatches(agent.config.batch_size)),
        warm_up_steps=1_024,
    ),
    "a2c": Workload(
        settings={
            **ACTOR_CRITIC,
            "num_envs": 16,
            "horizon_steps": 5,
            "optimizer": "rmsprop",
            "learning_rate": 7e-4,
            "gae_lambda": 1.0,
            "normalize_advantages": False,
        },
        samples_per_step=lambda config: 1.0,
        batch=lambda agent: next(agent.rollout.minibatches(agent.config.batch_size)),
        warm_up_steps=800,
    ),
    "pqn": Workload(
        settings={
            "num_envs": 8,
            "horizon_steps": 32,
            "epochs": 2,
            "batch_size": 128,
            "learning_rate": 2.5e-4,
            "layer_norm": True,
            "epsilon": 0.05,
        },
        samples_per_step=lambda config: config.epochs,
        batch=lambda agent: next(agent.rollout.minibatches(agent.config.batch_size)),
        warm_up_steps=1_024,
    ),
    "sac": Workload(
        settings={
            "torso": "auto",
            "hidden": 256,
            "num_envs": 1,
            "batch_size": 256,
            "samples_per_step": 256.0,
            "buffer_size": 1_000_000,
            "learning_starts_steps": 1_000,
            "learning_rate": 3e-4,
            "n_step": 1,
            "target_every_updates": 1,
            "target_share": 0.005,
        },
        samples_per_step=lambda config: config.samples_per_step,
        batch=VALUES.batch,
        warm_up_steps=1_256,
        env_id="HalfCheetah-v5",
        has_limit=False,
    ),
}


def workload(algo: str) -> Workload:
    """The work of an algorithm.

    Raises:
        UserError: no work is defined for the algorithm.
    """
    if algo in WORKLOADS:
        return WORKLOADS[algo]
    if is_value_agent(algo):
        return VALUES
    raise UserError(f"no work is defined for {algo}, only for {', '.join(measurable())}")


def measurable() -> list[str]:
    """The names of the algorithms with a work."""
    return [algo for algo in algorithms() if algo in WORKLOADS or is_value_agent(algo)]


def is_value_agent(algo: str) -> bool:
    """Whether an agent learns the values of actions from its own steps alone."""
    config = algorithm(algo).Config
    return issubclass(config, ValueConfig) and not issubclass(config, DemoConfig)


def make_config(algo: str, game: str = "Pong", **changed: Any) -> Any:
    """The algorithm's config for its workload; the peers' arguments derive from it."""
    kind = algorithm(algo).Config
    work = workload(algo)
    settings = EVERYWHERE | work.settings | {"env_id": work.env_id or f"{game}NoFrameskip-v4"}
    has = {field.name for field in dataclasses.fields(kind) if field.init}
    known = {name: value for name, value in settings.items() if name in has}
    return kind(**(known | changed))
