"""Pure functions of a run's numbers: schedules of its steps, and seeds from its seed."""

from __future__ import annotations

import dataclasses
import zlib
from dataclasses import dataclass

import numpy as np

from envs.command_line import finite_number, whole_number


@dataclass(frozen=True)
class Linear:
    """A number that changes with the steps of a run, in a straight line.

    It is `start` up to `first_step` and `end` from `last_step` on. Call it with a step to get its
    value there. As text it is `START..END@FIRST..LAST`, such as `1..0.01@0..25000`; where START
    and END are equal it is that number alone. FIRST may be left out for 0 and LAST for the last
    step of the run, and `@..` with them.

    Attributes:
        first_step: the step at which it begins to change.
        last_step: the step at which it arrives; 0 is the last step of the run (`until`).
    """

    start: float
    end: float
    first_step: int = 0
    last_step: int = 0

    @property
    def moves(self) -> bool:
        """Whether it is no constant."""
        return self.start != self.end

    def until(self, total_steps: int) -> Linear:
        """The same schedule in a run of `total_steps`."""
        if self.last_step:
            return self
        return dataclasses.replace(self, last_step=total_steps)

    def __call__(self, step: int) -> float:
        """The value at a step.

        Raises:
            ValueError: it moves to the end of a run whose length it does not know.
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
        """The same shape from another start, which is not 0: the end is the same share of it."""
        # Twelve digits, so that 7e-5 is a tenth of 7e-4.
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
        """The number of a constant, and the text of any other schedule."""
        return str(self) if self.moves else self.start

    @classmethod
    def parse(cls, text: str) -> Linear:
        """The schedule that a text stands for.

        Raises:
            ValueError: it is no schedule; the message says what is one.
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
"""What a text must be to stand for a schedule."""


def constant(value: float) -> Linear:
    """The schedule that is the same value at every step."""
    return Linear(value, value)


def written(value: float) -> str:
    """The shortest text that is read as the same number."""
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))


def stream_seed(seed: int, stream: str) -> int:
    """The seed of one of a run's streams of random numbers: no two begin with the same ones."""
    sequence = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(stream.encode()),))
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)
