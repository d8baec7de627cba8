"""Runnable algorithms, one file each: `python -m agents.dqn`."""
