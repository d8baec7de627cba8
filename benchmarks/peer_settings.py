"""Settings of Stable-Baselines3's agents for the tasks of a comparison.

They are the tuned settings of rl-baselines3-zoo, its files hyperparams/<algorithm>.yml
(https://github.com/DLR-RM/rl-baselines3-zoo). LunarLander-v3 has the settings of LunarLander-v2,
and the v5 tasks of MuJoCo have the settings of v3. A schedule falls over the steps of the
comparison. The zoo has no tuned settings for tasks that are not here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SOURCE = "rl-baselines3-zoo, hyperparams/{}.yml"


@dataclass(frozen=True)
class Falling:
    """A schedule from a value to 0 over the training."""

    start: float

    def __call__(self, remaining: float) -> float:
        """The value when this share of the training remains."""
        return self.start * remaining


@dataclass(frozen=True)
class PeerSettings:
    """The settings of an agent for a task.

    Attributes:
        model: arguments of the model's class.
        policy: arguments of its network; `activation` and `net_arch` as the class spells them.
        num_envs: environments that step together.
        normalize: whether VecNormalize scales observations and rewards.
    """

    model: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    num_envs: int = 1
    normalize: bool = False


WIDE = {"net_arch": [256, 256]}

MUJOCO_PPO = {
    "log_std_init": -2,
    "ortho_init": False,
    "activation_fn": "ReLU",
    "net_arch": {"pi": [256, 256], "vf": [256, 256]},
}

DQN = {
    "CartPole-v1": PeerSettings(
        {
            "learning_rate": 2.5e-4,
            "batch_size": 512,
            "buffer_size": 100_000,
            "learning_starts": 0,
            "gamma": 0.99,
            "target_update_interval": 5_000,
            "train_freq": 16,
            "gradient_steps": 4,
            "exploration_fraction": 0.06,
            "exploration_final_eps": 0.11,
        }
    ),
    "LunarLander-v3": PeerSettings(
        {
            "learning_rate": 8.8e-4,
            "batch_size": 32,
            "buffer_size": 1_000_000,
            "learning_starts": 0,
            "gamma": 0.99,
            "target_update_interval": 10_000,
            "train_freq": 16,
            "gradient_steps": -1,
            "exploration_fraction": 0.2,
            "exploration_final_eps": 0.1,
        },
        WIDE,
    ),
}
DQN["Acrobot-v1"] = DQN["CartPole-v1"]

QRDQN = {
    "CartPole-v1": PeerSettings(
        {
            "learning_rate": 2.3e-3,
            "batch_size": 64,
            "buffer_size": 100_000,
            "learning_starts": 1_000,
            "gamma": 0.99,
            "target_update_interval": 10,
            "train_freq": 256,
            "gradient_steps": 128,
            "exploration_fraction": 0.16,
            "exploration_final_eps": 0.04,
        },
        {**WIDE, "n_quantiles": 10},
    ),
    "Acrobot-v1": PeerSettings(
        {
            "learning_rate": 6.3e-4,
            "batch_size": 128,
            "buffer_size": 50_000,
            "learning_starts": 0,
            "gamma": 0.99,
            "target_update_interval": 250,
            "train_freq": 4,
            "gradient_steps": -1,
            "exploration_fraction": 0.12,
            "exploration_final_eps": 0.1,
        },
        {**WIDE, "n_quantiles": 25},
    ),
    "LunarLander-v3": PeerSettings(
        {
            "learning_rate": Falling(1.5e-3),
            "batch_size": 128,
            "buffer_size": 100_000,
            "learning_starts": 10_000,
            "gamma": 0.995,
            "target_update_interval": 1,
            "train_freq": 256,
            "gradient_steps": -1,
            "exploration_fraction": 0.24,
            "exploration_final_eps": 0.18,
        },
        {**WIDE, "n_quantiles": 170},
    ),
}

PPO = {
    "CartPole-v1": PeerSettings(
        {
            "n_steps": 32,
            "batch_size": 256,
            "gae_lambda": 0.8,
            "gamma": 0.98,
            "n_epochs": 20,
            "ent_coef": 0.0,
            "learning_rate": Falling(0.001),
            "clip_range": Falling(0.2),
        },
        num_envs=8,
    ),
    "Acrobot-v1": PeerSettings(
        {"n_steps": 256, "gae_lambda": 0.94, "gamma": 0.99, "n_epochs": 4, "ent_coef": 0.0},
        num_envs=16,
        normalize=True,
    ),
    "LunarLander-v3": PeerSettings(
        {
            "n_steps": 1024,
            "batch_size": 64,
            "gae_lambda": 0.98,
            "gamma": 0.999,
            "n_epochs": 4,
            "ent_coef": 0.01,
        },
        num_envs=16,
    ),
    "Pendulum-v1": PeerSettings(
        {
            "n_steps": 1024,
            "gae_lambda": 0.95,
            "gamma": 0.9,
            "n_epochs": 10,
            "ent_coef": 0.0,
            "learning_rate": 1e-3,
            "clip_range": 0.2,
            "use_sde": True,
            "sde_sample_freq": 4,
        },
        num_envs=4,
    ),
    "HalfCheetah-v5": PeerSettings(
        {
            "batch_size": 64,
            "n_steps": 512,
            "gamma": 0.98,
            "learning_rate": 2.0633e-05,
            "ent_coef": 0.000401762,
            "clip_range": 0.1,
            "n_epochs": 20,
            "gae_lambda": 0.92,
            "max_grad_norm": 0.8,
            "vf_coef": 0.58096,
        },
        MUJOCO_PPO,
        normalize=True,
    ),
    "Hopper-v5": PeerSettings(
        {
            "batch_size": 32,
            "n_steps": 512,
            "gamma": 0.999,
            "learning_rate": 9.80828e-05,
            "ent_coef": 0.00229519,
            "clip_range": 0.2,
            "n_epochs": 5,
            "gae_lambda": 0.99,
            "max_grad_norm": 0.7,
            "vf_coef": 0.835671,
        },
        MUJOCO_PPO,
        normalize=True,
    ),
}

SAC = {
    "Pendulum-v1": PeerSettings({"learning_rate": 1e-3}),
    "HalfCheetah-v5": PeerSettings({"learning_starts": 10_000}),
    "Hopper-v5": PeerSettings({"learning_starts": 10_000}),
}

PEERS = {"sb3-dqn": DQN, "sb3-ppo": PPO, "sb3-qrdqn": QRDQN, "sb3-sac": SAC}
"""The settings by task, by the name of the agent."""
