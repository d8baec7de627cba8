"""Equations: pure functions of tensors that return one value for each sample."""
