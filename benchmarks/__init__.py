"""Joystick's benchmarks, which anyone can repeat: python -m benchmarks.<name>."""

import os
import sys

if sys.argv[:1] == ["-m"] and any(word.split(".")[0] == __name__ for word in sys.orig_argv):
    # `python -m` looks in the working directory first, which may hold a foreign folder `envs`.
    sys.path.insert(0, os.path.dirname(__path__[0]))
    from envs import siblings

    sys.path.pop(0)
    siblings.prefer()
