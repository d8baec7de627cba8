"""Pure functions of a run's numbers: schedules of its steps, and seeds from its seed."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

Schedule = Callable[[int], float]


def constant(value: float) -> Schedule:
    """The same value at every step."""
    return lambda step: value


def linear(start: float, end: float, last_step: int, first_step: int = 0) -> Schedule:
    """`start` up to `first_step`, in a line to `end` at `last_step`, and `end` from then on.

    Where no step lies between the two it is the constant `end`.
    """
    if last_step <= first_step:
        return constant(end)
    share = progress(last_step, first_step)
    return lambda step: start + (end - start) * share(step)


def progress(last_step: int, first_step: int = 0) -> Schedule:
    """From 0 up to `first_step` to 1 from `last_step` on, which is later."""
    return lambda step: min(max(step - first_step, 0) / (last_step - first_step), 1.0)


def stream_seed(seed: int, stream: str) -> int:
    """The seed of one of a run's streams of random numbers: no two begin with the same ones."""
    sequence = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(stream.encode()),))
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)
