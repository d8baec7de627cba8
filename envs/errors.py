"""The errors that a command prints in one line, without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake of the user: one line names the value, what is allowed and the way out.

    The command line prints the message and exits with code 2, without a traceback.
    """


class DoesNotFit(UserError):
    """The settings need more memory than there is; the message says what would fit."""


class NotReproduced(UserError):
    """The same seed and actions gave another result than before in this environment."""


class Failure(RuntimeError):
    """A fault while a command ran, described in one line; the command exits with code 1."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns "; did you mean 'X'?" for the known name nearest to `name`, or "" if none is near."""
    folded = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), folded, n=1)
    return f"; did you mean '{folded[near[0]]}'?" if near else ""


def first_line(error: BaseException) -> str:
    """The first line of a library's error message, or the error's type if the message is empty."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def at_least(minimum: int, name: str, value: int) -> int:
    """Returns `value` if it is at least `minimum`, or raises a UserError that names both."""
    if value < minimum:
        raise UserError(f"{name} is {value}, at least {minimum} is allowed")
    return int(value)


def at_most(maximum: int, name: str, value: int) -> int:
    """Returns `value` if it is at most `maximum`, or raises a UserError that names both."""
    if value > maximum:
        raise UserError(f"{name} is {value}, at most {maximum} is allowed")
    return int(value)
