"""Losses into weights, and weights into actions."""
