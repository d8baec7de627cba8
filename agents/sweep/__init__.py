"""Sweeps on this machine, with Optuna and without an account: `python -m agents.sweep`."""
