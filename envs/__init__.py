"""Joystick's environments, each reproducible from a seed and actions.

`make("Pong", num_envs=8)` gives a Gymnasium vector environment; `spec` says what a name means,
`spaces_of` what is observed and done there, and `replay` and `render` bring a `Tape` of it back.
"""

from envs import signals, toys
from envs.errors import UserError
from envs.make import make, spaces_of
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
    "spaces_of",
    "spec",
]

toys.register()
