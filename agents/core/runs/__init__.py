"""Run directories: what is saved of a training, and read again."""
