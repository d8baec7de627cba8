"""Joystick's algorithms, one runnable file each: `python -m agents.dqn`."""

import os
import sys

if sys.argv[:1] == ["-m"] and any(word.split(".")[0] == __name__ for word in sys.orig_argv):
    # `python -m` searches the working directory first, where the user may have a folder `envs`.
    sys.path.insert(0, os.path.dirname(__path__[0]))
    from envs import siblings

    sys.path.pop(0)
    siblings.prefer()

# Imported for its effect, before imports that take seconds: from here on, Ctrl-C prints one line.
from envs import signals as signals
