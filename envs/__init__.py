"""Joystick's environments, each reproducible from a seed and actions.

`make("Pong", num_envs=8)` returns a Gymnasium vector environment. `spec` resolves a name to an
`EnvSpec`, and `spaces_of` returns the observation and action spaces. `replay` and `render` replay
a `Tape` as observations or as pictures.
"""

from envs import signals, toys
from envs.errors import UserError
from envs.make import make, spaces_and_masks_of, spaces_of
from envs.spec import EnvSpec, spec
from envs.tapes import Tape, render, replay
from envs.vector import TapedVectorEnv

__all__ = [
    "EnvSpec",
    "Tape",
    "TapedVectorEnv",
    "UserError",
    "make",
    "render",
    "replay",
    "signals",
    "spaces_and_masks_of",
    "spaces_of",
    "spec",
]

toys.register()
