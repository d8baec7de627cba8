"""Policies: what chooses actions. They act, remember, and never learn by themselves."""
