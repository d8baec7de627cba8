"""Joystick: reinforcement and imitation learning; the Python interface and the command.

Nothing heavy is imported here: `import joystick` takes milliseconds.
"""

from __future__ import annotations


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib import metadata

        return metadata.version("joystick-rl")
    raise AttributeError(f"module 'joystick' has no attribute '{name}'")
