"""Scores that others publish, beside which a comparison is shown, each with protocol and source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A published score.

    Attributes:
        steps: environment steps of the training; an Atari step is 4 frames.
    """

    env: str
    agent: str
    steps: int
    score: float
    protocol: str
    source: str


DOPAMINE = "sticky 0.25, returns of training at ε 0.01, mean of 5 seeds"
DOPAMINE_FILES = "Dopamine's data files"

PONG = {
    "QR-DQN, IMPALA torso": (8.8, 17.0, 18.1),
    "IQN, IMPALA torso": (-1.2, 14.8, 19.9),
    "Rainbow, IMPALA torso": (-17.7, 7.6, 19.5),
    "DQN with Adam, IMPALA torso": (-11.1, 6.2, 18.7),
    "QR-DQN": (-14.7, 7.4, 18.3),
    "IQN": (-15.0, -5.3, 18.3),
    "Rainbow": (-20.6, -16.7, 18.8),
    "DQN with Adam": (-18.4, -13.7, 14.3),
}
"""Scores on Pong after each of `PONG_STEPS`."""

PONG_STEPS = (500_000, 1_000_000, 5_000_000)

BREAKOUT = {"IQN, IMPALA torso": 111.0, "Rainbow, IMPALA torso": 70.0}
"""Scores on Breakout after a million steps."""

ZOO = "one run, mean of many games, deterministic"
ZOO_FILE = "rl-baselines3-zoo, benchmark.md"

ZOO_ATARI = "one run, mean of many games, not deterministic, no sticky actions"

ZOO_SCORES = (
    ("CartPole-v1", "SB3 A2C", 500_000, 500.0),
    ("CartPole-v1", "SB3 DQN", 50_000, 500.0),
    ("CartPole-v1", "SB3 PPO", 100_000, 500.0),
    ("CartPole-v1", "SB3 QR-DQN", 50_000, 500.0),
    ("Acrobot-v1", "SB3 A2C", 500_000, -83.4),
    ("Acrobot-v1", "SB3 DQN", 100_000, -76.6),
    ("Acrobot-v1", "SB3 PPO", 1_000_000, -73.5),
    ("Acrobot-v1", "SB3 QR-DQN", 100_000, -69.1),
    ("LunarLander-v2", "SB3 A2C", 200_000, 155.8),
    ("LunarLander-v2", "SB3 DQN", 100_000, 154.4),
    ("LunarLander-v2", "SB3 PPO", 1_000_000, 242.1),
    ("LunarLander-v2", "SB3 QR-DQN", 100_000, 70.2),
    ("Pendulum-v1", "SB3 PPO", 100_000, -172.2),
    ("Pendulum-v1", "SB3 SAC", 20_000, -157.0),
    ("HalfCheetah-v3", "SB3 PPO", 1_000_000, 5819.1),
    ("HalfCheetah-v3", "SB3 SAC", 1_000_000, 9535.5),
    ("Hopper-v3", "SB3 PPO", 1_000_000, 2410.4),
    ("Hopper-v3", "SB3 SAC", 1_000_000, 2325.5),
)

ZOO_ATARI_SCORES = (
    ("Pong", "SB3 DQN", 10_000_000, 20.6),
    ("Pong", "SB3 QR-DQN", 10_000_000, 20.5),
    ("Pong", "SB3 PPO", 10_000_000, 21.0),
    ("Breakout", "SB3 DQN", 10_000_000, 358.3),
    ("Breakout", "SB3 QR-DQN", 10_000_000, 393.6),
    ("Breakout", "SB3 PPO", 10_000_000, 398.0),
)

OTHERS = (
    Published(
        *("Pong", "PQN of CleanRL", 10_000_000, 20.5, "no sticky actions"),
        "arXiv 2407.04811, CleanRL's port",
    ),
    Published(
        *("Breakout", "PQN of CleanRL", 10_000_000, 385.0, "no sticky actions"),
        "arXiv 2407.04811, CleanRL's port",
    ),
    Published(
        *("Pong", "PPO of SLM-Lab", 2_500_000, 16.7, "sticky 0.25, 10 million frames"),
        "SLM-Lab 2026",
    ),
    Published(
        *("Breakout", "PPO of SLM-Lab", 2_500_000, 326.0, "sticky 0.25, 10 million frames"),
        "SLM-Lab 2026",
    ),
)


def every() -> list[Published]:
    """All published scores."""
    found = [
        Published("Pong", agent, steps, score, DOPAMINE, DOPAMINE_FILES)
        for agent, scores in PONG.items()
        for steps, score in zip(PONG_STEPS, scores, strict=True)
    ]
    found += [
        Published("Breakout", agent, 1_000_000, score, DOPAMINE, DOPAMINE_FILES)
        for agent, score in BREAKOUT.items()
    ]
    found += [Published(*each, ZOO, ZOO_FILE) for each in ZOO_SCORES]
    found += [Published(*each, ZOO_ATARI, ZOO_FILE) for each in ZOO_ATARI_SCORES]
    return [*found, *OTHERS]


def of(env: str) -> list[Published]:
    """The published scores of a task; another version of it counts too, and is named."""
    task = env.rpartition("-v")[0] or env
    return [each for each in every() if (each.env.rpartition("-v")[0] or each.env) == task]
