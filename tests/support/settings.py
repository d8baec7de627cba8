"""Settings of small parts, for tests that build a network, learner, rollout or replay alone."""

from __future__ import annotations

from dataclasses import dataclass

from agents.core.math.schedules import Linear, constant


@dataclass(frozen=True)
class Settings:
    """Every setting that a part reads. A test file changes what it needs, by name."""

    # Networks
    torso: str = "auto"
    torso_width: int = 1
    torso_norm: str = "none"
    hidden: int = 16
    layer_norm: bool = False
    activation: str = "tanh"
    dueling: bool = False
    noisy: bool = False
    noise_deviation: float = 0.5
    previous_inputs: bool = False
    core: str = "none"
    separate_value: bool = False
    normalize_observations: bool = False
    # Learner
    optimizer: str = "adam"
    learning_rate: Linear = constant(1e-3)
    optimizer_epsilon: float = 1e-8
    weight_decay: float = 0.0
    max_grad_norm: float = 0.5
    batch_size: int = 128
    ema_updates: int = 0
    precision: str = "fp32"
    num_threads: int = 1
    overlap_learning: bool = False
    # Returns
    seed: int = 0
    gamma: float = 0.9
    gae_lambda: float = 0.8
    clip_reward: bool = False
    life_loss_ends_return: bool = True
    normalize_rewards: bool = False
    normalize_advantages: bool = False
    # Rollout
    horizon_steps: int = 8
    sequence_steps: int = 4
    total_steps: int = 1_000
    # Replay
    buffer_size: int = 1_000
    n_step: Linear = constant(1)
    priority_exponent: float = 0.0

    def __post_init__(self) -> None:
        for name in ("learning_rate", "n_step"):
            value = getattr(self, name)
            if not isinstance(value, Linear):
                object.__setattr__(self, name, constant(value))
