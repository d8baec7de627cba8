"""Values that change with the number of environment steps: pure functions of the step."""

from __future__ import annotations

from collections.abc import Callable

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
