"""Settings that several value agents share; each agent's presets show only its differences."""

from __future__ import annotations

from typing import Any

from agents.core.math.schedules import Linear, constant

ATARI: dict[str, Any] = {
    "num_envs": 32,
    "overlap_learning": True,
    "buffer_size": 40_000,
    "n_step": Linear(20, 5, 200_000, 900_000),
    "learning_rate": Linear(7e-4, 7e-5, 200_000, 900_000),
    "ema_updates": 1_000,
}
"""Learns an Atari game on two CPU cores."""

ATARI_GPU: dict[str, Any] = {
    "num_envs": 128,
    "batch_size": 512,
    "samples_per_step": 8,
    "epsilon": Linear(1.0, 0.01, 0, 250_000),
    "buffer_size": 1_000_000,
    "learning_rate": Linear(7e-4, 7e-5, 500_000, 2_000_000),
    "n_step": Linear(20, 5, 500_000, 2_000_000),
    "ema_updates": 1_000,
    "learning_starts_steps": 50_000,
}
"""Learns an Atari game on a GPU."""

CONTROL: dict[str, Any] = {
    "env_id": "CartPole-v1",
    "total_steps": 100_000,
    "learning_rate": constant(5e-4),
    "n_step": constant(10),
    "samples_per_step": 8,
    "priority_exponent": 0,
    "target_every_updates": 500,
}
"""Learns small tasks with vector observations."""

ONE_STEP: dict[str, Any] = {"n_step": constant(1)}
"""A return sums one reward."""

SOFT_ATARI: dict[str, Any] = {
    "num_envs": 32,
    "overlap_learning": True,
    "batch_size": 64,
    "samples_per_step": 2.0,
    "buffer_size": 40_000,
    "learning_starts_steps": 4_000,
    "gamma": 0.98,
    "n_step": Linear(20, 5, 200_000, 900_000),
    "learning_rate": constant(3e-4),
    "layer_norm": True,
    "alpha": 0.01,
    "entropy_share": 0.2,
}
"""A soft actor-critic learns an Atari game on two CPU cores."""

SOFT_ATARI_GPU: dict[str, Any] = SOFT_ATARI | {
    "num_envs": 128,
    "overlap_learning": False,
    "batch_size": 512,
    "samples_per_step": 8.0,
    "buffer_size": 1_000_000,
    "learning_starts_steps": 50_000,
    "n_step": Linear(20, 5, 500_000, 2_000_000),
}
"""A soft actor-critic learns an Atari game on a GPU."""

SOFT_CONTROL: dict[str, Any] = {
    "env_id": "CartPole-v1",
    "total_steps": 60_000,
    "batch_size": 64,
    "samples_per_step": 8.0,
    "learning_rate": constant(5e-4),
    "gamma": 0.98,
    "n_step": constant(10),
    "layer_norm": True,
    "target_share": 0.02,
    "alpha": 0.1,
    "entropy_share": 0.3,
    "eval_every_steps": 15_000,
}
"""A soft actor-critic learns small tasks with discrete actions."""

SOFT_CONTINUOUS: dict[str, Any] = {
    "env_id": "Pendulum-v1",
    "total_steps": 20_000,
    "num_envs": 1,
    "eval_every_steps": 5_000,
}
"""A soft actor-critic learns small tasks with continuous actions."""

NATURE: dict[str, Any] = {
    "total_steps": 50_000_000,
    "num_envs": 4,
    "torso": "nature",
    "hidden": 512,
    "layer_norm": False,
    "n_step": constant(1),
    "gamma": 0.99,
    "batch_size": 32,
    "samples_per_step": 8.0,
    "max_grad_norm": 0.0,
    "buffer_size": 1_000_000,
    "learning_starts_steps": 50_000,
    "priority_exponent": 0.0,
    "target_every_updates": 10_000,
    "epsilon": Linear(1.0, 0.01, 0, 1_000_000),
    "eval_every_steps": 1_000_000,
    "standardize_pixels": False,
}
"""DQN's published settings (https://doi.org/10.1038/nature14236), but ε falls to 0.01."""
