"""What every command needs of its process: errors in one line, signals, and output that lasts."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from envs import output, program, signals
from envs.errors import Failure, UserError, first_line

OF_A_NAME = {errno.ENAMETOOLONG, errno.ELOOP}
"""Errors of a system that only what a person typed can cause."""

MOST_OF_AN_ERROR = 2_000
"""Characters of an error that are printed: what it names may have any length."""


@contextmanager
def command(*, prints_result: bool = True) -> Iterator[None]:
    """Around all that a command does.

    An error that a person can mend ends the program with one line: exit code 2 for what was asked,
    1 for what went wrong meanwhile, 128 + n after signal n. Any other error is a fault of the
    program and keeps its traceback.

    Args:
        prints_result: what is printed is what the command is for, so that it fails where standard
            output cannot be written. A reader who closes the pipe early has enough.
    """
    output.prepare()
    code: object = None
    try:
        with signals.interrupting():
            yield
    except SystemExit as leaving:
        code = leaving.code
    except (Exception, KeyboardInterrupt) as error:
        code = explained(error)
        if code is None:
            raise
    lost = output.failure(sys.stdout)
    if lost is not None:
        say(f"standard output is lost: {lost.strerror}")
        if prints_result and not code:
            code = 1
    if code is not None:
        raise SystemExit(code)


def explained(error: BaseException) -> int | None:
    """Print one line of an error and return the exit code; None for a fault of the program."""
    if signum := signals.received():
        say(str(signals.Interrupted(signum)))
        return 128 + signum
    if isinstance(error, KeyboardInterrupt):
        say("stopped")
        return 130
    if isinstance(error, UserError | Failure):
        say(f"error: {error}")
        return 2 if isinstance(error, UserError) else 1
    if isinstance(error, OSError):
        say(f"error: {in_words(error)}")
        return 2 if error.errno in OF_A_NAME else 1
    if isinstance(error, UnicodeEncodeError) and error.encoding == "ascii":
        say(f"error: {first_line(error)}; PYTHONUTF8=1 allows every character")
        return 1
    return None


def in_words(error: OSError) -> str:
    """A system's error as "<file>: <reason>"."""
    reason = error.strerror or first_line(error)
    return reason if error.filename is None else f"{error.filename}: {reason}"


def say(line: str) -> None:
    """Print a line on standard error, wherever that goes."""
    with suppress(OSError):
        output.tell(shortened(program.as_called(" ".join(line.splitlines()))), error=True)


def shortened(line: str) -> str:
    """A line whose middle is left out where it is too long: the way out is at its end."""
    half = MOST_OF_AN_ERROR // 2
    return line if len(line) <= 2 * half else f"{line[:half]} … {line[-half:]}"
