"""Equations: pure functions of tensors, one value per sample."""
