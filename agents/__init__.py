"""Joystick's algorithms, one runnable file each: `python -m agents.dqn`."""

import os
import sys

if sys.argv[:1] == ["-m"] and sys.path[0] == os.getcwd() != os.path.dirname(__path__[0]):
    # `python -m` looks there first, where a person may have a folder `envs`: the package comes
    # before it, and a person's own modules are still found.
    sys.path[0:1] = []
    sys.path += [os.path.dirname(__path__[0]), os.getcwd()]

# Imported for its effect, before anything that takes seconds: Ctrl-C is one line from here on.
from envs import signals as signals
