"""What a person did wrong, said in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake of the person's, not of the program's: one line that names the value and the cure.

    The command line prints the message and exits with code 2, without a traceback.
    """


class DoesNotFit(UserError):
    """What was asked for needs more memory than there is; the line says what would fit."""


class NotReproduced(UserError):
    """An environment did not lead to where the same seeds and actions led before."""


class Failure(RuntimeError):
    """What went wrong while a command worked, in one line; it exits with code 1."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns "; did you mean 'X'?" for the known name nearest to `name`, "" when none is near."""
    folded = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), folded, n=1)
    return f"; did you mean '{folded[near[0]]}'?" if near else ""


def first_line(error: BaseException) -> str:
    """The first line of what a library's error says, its kind where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def at_least(minimum: int, name: str, value: int) -> int:
    """Returns `value` when it is at least `minimum`; else raises a UserError that names both."""
    if value < minimum:
        raise UserError(f"{name} is {value}, at least {minimum} is allowed")
    return int(value)


def at_most(maximum: int, name: str, value: int) -> int:
    """Returns `value` when it is at most `maximum`; else raises a UserError that names both."""
    if value > maximum:
        raise UserError(f"{name} is {value}, at most {maximum} is allowed")
    return int(value)
