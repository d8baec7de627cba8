"""Pure functions of a run's numbers: schedules of its steps, and seeds from its seed."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

Schedule = Callable[[int], float]


def constant(value: float) -> Schedule:
    """The same value at every step."""
    return lambda step: value


def linear(start: float, end: float, duration_steps: int) -> Schedule:
    """From `start` at step 0 to `end` at `duration_steps`, and `end` from then on.

    A duration of zero is the constant `end`.
    """
    if duration_steps <= 0:
        return constant(end)
    return lambda step: start + (end - start) * min(step / duration_steps, 1.0)


def stream_seed(seed: int, stream: str) -> int:
    """The seed of one of a run's streams of random numbers: no two begin with the same ones."""
    sequence = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(stream.encode()),))
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)
