"""`python -m agents.sweep` runs Joystick's sweeps on this machine, with Optuna."""
