"""Policies choose actions and remember episodes. They do not learn."""
