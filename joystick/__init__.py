"""Joystick: reinforcement and imitation learning; the Python interface and the command.

    import joystick

    run = joystick.train("dqn", env="CartPole-v1", total_steps=50_000, seed=1)
    print(joystick.evaluate(run, episodes=30).mean)
    policy = joystick.load(run)
    action, state = policy.act(obs, state)

`import joystick` takes milliseconds, because only the first use of a name imports PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.core.nets.torsos import register_torso
    from agents.core.runs.run import Run
    from agents.core.training.callbacks import Callback
    from agents.core.training.evaluation import Evaluation
    from envs.errors import Failure, UserError
    from joystick.api import evaluate, load, train
    from joystick.player import Player

    __version__: str

__all__ = [
    "Callback",
    "Evaluation",
    "Failure",
    "Player",
    "Run",
    "UserError",
    "evaluate",
    "load",
    "register_torso",
    "train",
]

HOMES = {
    "Callback": "agents.core.training.callbacks",
    "Evaluation": "agents.core.training.evaluation",
    "Failure": "envs.errors",
    "Player": "joystick.player",
    "Run": "agents.core.runs.run",
    "UserError": "envs.errors",
    "evaluate": "joystick.api",
    "load": "joystick.api",
    "register_torso": "agents.core.nets.torsos",
    "train": "joystick.api",
}
"""The module that defines each name; the first use of the name imports it."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        return metadata.version("joystick-rl")
    if name not in HOMES:
        raise AttributeError(f"module 'joystick' has no attribute '{name}'")
    from importlib import import_module

    value = getattr(import_module(HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
