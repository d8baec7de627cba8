"""Reinforcement and imitation learning: the Python interface, and the command `joystick`.

Nothing heavy is imported here: `import joystick` takes milliseconds.
"""

from __future__ import annotations

from importlib import metadata

DISTRIBUTION = "joystick-rl"
"""The name that pip knows this package by."""


def __getattr__(name: str) -> str:
    if name == "__version__":
        return metadata.version(DISTRIBUTION)
    raise AttributeError(f"module 'joystick' has no attribute '{name}'")
