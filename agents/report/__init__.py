"""`python -m agents.report runs/` shows runs as a page, a table or TensorBoard files."""
