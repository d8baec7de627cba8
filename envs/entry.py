"""The frame around every command: one-line errors, exit codes, signals and safe output."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from envs import output, program, signals
from envs.errors import Failure, UserError, first_line

OF_A_NAME = {errno.ENAMETOOLONG, errno.ELOOP}
"""System errors that only a name typed by the user can cause."""

MOST_OF_AN_ERROR = 2_000
"""Longest error, in characters: a value that it names may have any length."""


@contextmanager
def command(*, prints_result: bool = True) -> Iterator[None]:
    """Runs a command and turns its errors into one line and an exit code.

    The exit code is 2 for a mistake of the user and 1 for a failure during the work. After signal
    n it is 128 + n. Any other error is a fault of the program and keeps its traceback.

    Args:
        prints_result: the command exists to print its result, so it fails if standard output cannot
            be written. A reader that closes the pipe early is not a failure.
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
    """Prints an error as one line and returns the exit code.

    Returns None, and prints nothing, if the error is a fault of the program.
    """
    signum = signals.received()
    if signum:
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
    """A system error as "<file>: <reason>"."""
    reason = error.strerror or first_line(error)
    return reason if error.filename is None else f"{error.filename}: {reason}"


def say(line: str) -> None:
    """Prints a line on standard error, unless standard error cannot be written."""
    with suppress(OSError):
        output.tell(shortened(program.as_called(" ".join(line.splitlines()))), error=True)


def shortened(line: str) -> str:
    """A line without its middle if it is too long; the end stays, because it says what to do."""
    half = MOST_OF_AN_ERROR // 2
    return line if len(line) <= 2 * half else f"{line[:half]} … {line[-half:]}"
