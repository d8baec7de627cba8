"""Runnable algorithms, one file each: `python -m agents.dqn`."""

# Imported for its effect, before anything that takes seconds: Ctrl-C is one line from here on.
from envs import signals as signals
