"""Standard output and error that never end a command.

No encoding stops them, and no reader who closes a pipe.
"""

from __future__ import annotations

import codecs
import errno
import functools
import io
import os
import sys
import unicodedata
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from envs.program import as_called
from envs.text import plain

if TYPE_CHECKING:
    from rich.text import Text

PLAINER = (
    {"±": "+/-", "…": "...", "–": "-", "—": "-", "→": "->", "×": "x", "·": ".", "²": "^2"}
    | {"≤": "<=", "≥": ">=", "½": "1/2", "ε": "epsilon", "θ": "theta", "π": "pi", "ρ": "rho"}
    | dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼", "+")
    | dict.fromkeys("─━═╸╺", "-")
    | dict.fromkeys("│┃║", "|")
)
"""What is printed where an encoding does not have a character."""


MOST_OF_A_LINE = 10_000
"""Characters of a line that is printed; a command line that a person copies is shorter."""


def tell(text: object, *, error: bool = False) -> None:
    """Print text that may hold names from files, on standard output or error.

    Only its line breaks act on the terminal: no escape sequence or control character is printed.
    """
    print(harmless(text), file=sys.stderr if error else sys.stdout, flush=True)


def warn(text: str) -> None:
    """Print a line on standard error, unless that is a file on a full disk."""
    with suppress(OSError):
        tell(f"warning: {as_called(text)}", error=True)


@functools.cache
def warn_once(text: str) -> None:
    """Print a warning on standard error, once in a process."""
    warn(text)


def harmless(text: object) -> str:
    """Text of several lines, each as `envs.text.plain`."""
    return "\n".join(plain(line, MOST_OF_A_LINE) for line in str(text).split("\n"))


def cell(value: object) -> Text:
    """A value for a table of rich's, which reads no markup in it."""
    # Most commands draw no table: the import takes 11 ms.
    from rich.text import Text

    return Text(plain(value))


class Outlet(io.RawIOBase):
    """A file descriptor to write to, of which a failure is kept and not raised.

    Attributes:
        failure: the first error; from then on nothing is written.
    """

    failure: OSError | None = None

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: object, /) -> int:
        view = memoryview(data).cast("B")  # pyright: ignore[reportArgumentType]
        written = 0
        while written < len(view) and self.failure is None:
            try:
                written += os.write(self._descriptor, view[written:])
            except BlockingIOError:
                _wait_for_room(self._descriptor)
            except OSError as error:
                self.failure = error
        return len(view)


def _wait_for_room(descriptor: int) -> None:
    """Have writes wait where another process made them fail instead, which Windows does not do."""
    set_blocking = getattr(os, "set_blocking", None)
    if set_blocking is not None:
        set_blocking(descriptor, True)


def prepare() -> None:
    """Make the process's standard output and error as this module says, once."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # A file that is opened later would take the number, and hold what is printed.
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, safe(stream))


def safe(stream: io.TextIOWrapper) -> TextIO:
    """The same stream as one that never fails."""
    stream.flush()
    if sys.platform == "win32" and stream.isatty():
        # The console of Windows takes text: bytes would be read in its own code page.
        stream.reconfigure(errors=PLAIN)
        return stream
    outlet = Outlet(stream.fileno())
    return io.TextIOWrapper(
        # Python's -u has no buffer either.
        outlet if stream.write_through else io.BufferedWriter(outlet),  # pyright: ignore[reportArgumentType]
        encoding=stream.encoding,
        errors=PLAIN,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def failure(stream: TextIO | None) -> OSError | None:
    """Why what was printed is lost; None where it is not, and where a reader closed its pipe."""
    if not isinstance(stream, io.TextIOWrapper):
        return None
    stream.flush()
    outlet = getattr(stream.buffer, "raw", stream.buffer)
    error = outlet.failure if isinstance(outlet, Outlet) else None
    return None if error is None or error.errno == errno.EPIPE else error


def _plainer(error: UnicodeError) -> tuple[str | bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    return "".join(map(_in_ascii, text)), error.end


def _in_ascii(character: str) -> str:
    if character in PLAINER:
        return PLAINER[character]
    bare = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return bare or character.encode("ascii", "backslashreplace").decode()


PLAIN = "joystick.plain"
"""The name of the error handler that prints what comes nearest."""

codecs.register_error(PLAIN, _plainer)
