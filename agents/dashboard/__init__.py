"""A W&B workspace and report of Joystick's runs: `python -m agents.dashboard`."""
