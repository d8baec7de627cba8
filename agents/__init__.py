"""Joystick's algorithms, one runnable file each: `python -m agents.dqn`."""

import os
import sys

if sys.argv[:1] == ["-m"] and any(word.split(".")[0] == __name__ for word in sys.orig_argv):
    # `python -m` looks first where a person works, who may have a folder `envs` there.
    sys.path.insert(0, os.path.dirname(__path__[0]))
    from envs import siblings

    sys.path.pop(0)
    siblings.prefer()

# Imported for its effect, before anything that takes seconds: Ctrl-C is one line from here on.
from envs import signals as signals
