"""Schedules over a run's steps, and seeds derived from a run's seed."""

from __future__ import annotations

import dataclasses
import zlib
from dataclasses import dataclass

import numpy as np

from envs.command_line import finite_number, whole_number


@dataclass(frozen=True)
class Linear:
    """A number that changes linearly with the steps of a run.

    The value is `start` up to `first_step` and `end` from `last_step` on. A call with a step
    returns the value at that step. As text a schedule is `START..END@FIRST..LAST`, such as
    `1..0.01@0..25000`; a constant is a single number. Without FIRST it is step 0, and without LAST
    it is the last step of the run. Without both, `@..` may be left out too.

    Attributes:
        first_step: the step at which the value begins to change.
        last_step: the step at which the value reaches `end`; 0 is the run's last step (`until`).
    """

    start: float
    end: float
    first_step: int = 0
    last_step: int = 0

    @property
    def moves(self) -> bool:
        """Whether the value changes."""
        return self.start != self.end

    def until(self, total_steps: int) -> Linear:
        """The same schedule in a run of `total_steps`."""
        if self.last_step:
            return self
        return dataclasses.replace(self, last_step=total_steps)

    def __call__(self, step: int) -> float:
        """The value at a step.

        Raises:
            ValueError: the schedule ends with the run, and `until` was not called.
        """
        if not self.moves:
            return self.start
        if not self.last_step:
            raise ValueError(f"{self} ends with the run: call until(total_steps) first")
        steps = self.last_step - self.first_step
        if steps <= 0:
            return self.end
        share = min(max(step - self.first_step, 0) / steps, 1.0)
        return self.start + (self.end - self.start) * share

    def from_start(self, start: float) -> Linear:
        """A schedule of the same shape from another start: the end is the same share of the start.

        Requires that this schedule's `start` is not 0.
        """
        # Rounded to twelve digits, so that 7e-5 is exactly a tenth of 7e-4.
        share = float(f"{self.end / self.start:.12g}")
        return dataclasses.replace(self, start=start, end=start * share)

    def __str__(self) -> str:
        if not self.moves:
            return written(self.start)
        first = str(self.first_step) if self.first_step else ""
        last = str(self.last_step) if self.last_step else ""
        steps = f"@{first or 0}..{last}" if first or last else ""
        return f"{written(self.start)}..{written(self.end)}{steps}"

    def to_json(self) -> float | str:
        """A number for a constant, or the text of the schedule."""
        return str(self) if self.moves else self.start

    @classmethod
    def parse(cls, text: str) -> Linear:
        """Parses the text of a schedule.

        Raises:
            ValueError: the text is malformed; the message says what is allowed.
        """
        values, at, steps = text.partition("@")
        start, moves, end = values.partition("..")
        first, between, last = steps.partition("..")
        try:
            if not moves:
                if at:
                    raise ValueError
                return constant(finite_number(text))
            if at and not between:
                raise ValueError
            between_steps = [whole_number(each) if each else 0 for each in (first, last)]
            if min(between_steps) < 0:
                raise ValueError
            return cls(finite_number(start), finite_number(end), *between_steps)
        except ValueError:
            raise ValueError(f"{text}: {ALLOWED}") from None


ALLOWED = "must be a finite number such as 0.1, or a line such as 1..0.1@0..25000"
"""The allowed texts of a schedule, in words."""


def constant(value: float) -> Linear:
    """A schedule with the same value at every step."""
    return Linear(value, value)


def written(value: float) -> str:
    """A short text that `float` reads as the same number."""
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))


def stream_seed(seed: int, stream: str) -> int:
    """The seed of a named stream of random numbers of a run; each stream has another seed."""
    sequence = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(stream.encode()),))
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)
