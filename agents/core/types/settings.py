"""Parts: dataclasses of settings that belong together and that check their own values.

An algorithm's Config inherits the parts that it uses. Its settings are flat: `config.torso`,
`--torso`, one object in config.json. The comment or docstring of a setting is its help text.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from agents.core.math.schedules import Linear, constant
from envs import command_line
from envs.command_line import Unit
from envs.errors import UserError

command_line.reads(Linear, "SCHEDULE", Linear.parse)

Steps = Annotated[int, Unit("STEPS")]
Updates = Annotated[int, Unit("UPDATES")]
Samples = Annotated[int, Unit("SAMPLES")]
Episodes = Annotated[int, Unit("EPISODES")]
Environments = Annotated[int, Unit("ENVIRONMENTS")]
Pixels = Annotated[int, Unit("PIXELS")]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some settings that belong together.

    A plain number for a schedule becomes a constant schedule.

    A `Fixed` field with `init=False` is a setting of only some algorithms. Their Config inherits a
    second part, which inherits this part and makes the field a setting. The second part comes
    before the config's other bases, because the first base that has a field counts.

    Attributes:
        title: the heading above the settings in `--help`.
    """

    title: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name in schedules(type(self)):
            value = getattr(self, name)
            if isinstance(value, int | float):
                object.__setattr__(self, name, constant(value))

    def validate(self) -> None:
        """Raises a UserError for the first value that is not allowed.

        A part calls `super().validate()` first, so that every part of a config is checked.
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Linear):
                require(all(map(math.isfinite, ends(value))), field.name, value, "a finite number")
            elif isinstance(value, float):
                require(math.isfinite(value), field.name, value, "a finite number")
            elif isinstance(value, int):
                require(abs(value) < 2**63, field.name, value, "a whole number below 2**63")

    def at_least(self, least: float, *names: str) -> None:
        """Checks that settings are at least `least`, schedules at both ends."""
        for name in names:
            value = getattr(self, name)
            require(min(ends(value)) >= least, name, value, f"at least {least}")

    def at_most(self, most: float, *names: str) -> None:
        """Checks that settings are at most `most`, schedules at both ends."""
        for name in names:
            value = getattr(self, name)
            require(max(ends(value)) <= most, name, value, f"at most {most}")

    def at_most_as(self, bound: str, *names: str) -> None:
        """Checks that settings are at most the setting `bound`."""
        most = getattr(self, bound)
        for name in names:
            value = getattr(self, name)
            require(value <= most, name, value, f"at most {bound} {most}")

    def multiple_of(self, divisor: str, *names: str) -> None:
        """Checks that settings are multiples of the setting `divisor`."""
        unit = getattr(self, divisor)
        for name in names:
            value = getattr(self, name)
            require(value % unit == 0, name, value, f"a multiple of {divisor} {unit}")

    def above_zero(self, *names: str) -> None:
        """Checks that settings are above 0; a schedule may end at 0."""
        for name in names:
            value = getattr(self, name)
            require(ends(value)[0] > 0, name, value, "above 0")

    def within_unit(self, *names: str) -> None:
        """Checks that settings are between 0 and 1, schedules at both ends."""
        for name in names:
            value = getattr(self, name)
            lowest = min(ends(value))
            highest = max(ends(value))
            require(lowest >= 0 and highest <= 1, name, value, "between 0 and 1")

    def whole(self, *names: str) -> None:
        """Checks that settings are whole numbers, schedules at both ends."""
        for name in names:
            value = getattr(self, name)
            require(all(each == round(each) for each in ends(value)), name, value, "whole numbers")


@dataclass(frozen=True, kw_only=True)
class SeedConfig(Part):
    """The seed of a run; each user of random numbers derives a stream of its own from it."""

    title: ClassVar[str] = "Run"

    seed: int = 1
    """The seed decides everything random in the run."""

    def validate(self) -> None:
        super().validate()
        self.at_least(0, "seed")


def names(config_class: type[Any]) -> list[str]:
    """The names of a config's settings."""
    return [field.name for field in dataclasses.fields(config_class) if field.init]


def ends(value: float | Linear) -> tuple[float, float]:
    """The first and the last value of a schedule; for a number, the number twice."""
    return (value.start, value.end) if isinstance(value, Linear) else (value, value)


def schedules(config_class: type[Any]) -> list[str]:
    """The names of the settings that are schedules."""
    fields = dataclasses.fields(config_class)
    return [field.name for field in fields if isinstance(field.default, Linear)]


def require(condition: bool, name: str, value: Any, allowed: str) -> None:
    """Raises a UserError with the flag, its value and the allowed values unless `condition`."""
    if not condition:
        raise UserError(f"{flag(name)} {value}: must be {allowed}")


def flag(name: str) -> str:
    """The flag of a setting on the command line."""
    return "--env" if name == "env_id" else "--" + name.replace("_", "-")
