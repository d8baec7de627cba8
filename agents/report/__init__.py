"""Runs as a page, a table or TensorBoard's files: `python -m agents.report runs/`."""
