"""Standard output and error that never raise.

Neither a narrow encoding nor a reader that closes a pipe ends a command.
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
"""Replacements for characters that the output's encoding lacks."""


MOST_OF_A_LINE = 10_000
"""Longest printed line, in characters; a command line that a person copies is shorter."""


def tell(text: object, *, error: bool = False) -> None:
    """Prints text, which may hold names from files, on standard output or error.

    Control characters and escape sequences are replaced, except for line breaks.
    """
    print(harmless(text), file=sys.stderr if error else sys.stdout, flush=True)


def warn(text: str) -> None:
    """Prints a warning on standard error, unless standard error cannot be written."""
    with suppress(OSError):
        tell(f"warning: {as_called(text)}", error=True)


@functools.cache
def warn_once(text: str) -> None:
    """Prints a warning on standard error, once per process."""
    warn(text)


def harmless(text: object) -> str:
    """The text with `envs.text.plain` applied to each line."""
    return "\n".join(plain(line, MOST_OF_A_LINE) for line in str(text).split("\n"))


def cell(value: object) -> Text:
    """A value as a cell of a rich table, with no markup read from it."""
    # Imported here, because the import takes 11 ms and most commands draw no table.
    from rich.text import Text

    return Text(plain(value))


class Outlet(io.RawIOBase):
    """A writer for a file descriptor that stores a failure instead of raising it.

    Attributes:
        failure: the first error; after it, nothing is written.
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
    """Makes the descriptor blocking again, after another process made it non-blocking."""
    set_blocking = getattr(os, "set_blocking", None)
    if set_blocking is not None:
        set_blocking(descriptor, True)


def prepare() -> None:
    """Makes the process's standard output and error safe; a second call changes nothing."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # Otherwise the next opened file would get this number, and receive printed text.
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, safe(stream))


def safe(stream: io.TextIOWrapper) -> TextIO:
    """A stream that writes to the same place and never raises."""
    stream.flush()
    if sys.platform == "win32" and stream.isatty():
        # The Windows console takes text; it would read bytes in its own code page.
        stream.reconfigure(errors=PLAIN)
        return stream
    outlet = Outlet(stream.fileno())
    return io.TextIOWrapper(
        # Like Python's -u, a stream that writes through has no buffer.
        outlet if stream.write_through else io.BufferedWriter(outlet),  # pyright: ignore[reportArgumentType]
        encoding=stream.encoding,
        errors=PLAIN,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def failure(stream: TextIO | None) -> OSError | None:
    """The error that lost printed text; None if none is lost or a reader closed its pipe."""
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
"""Name of the encoding-error handler that prints the nearest ASCII text."""

codecs.register_error(PLAIN, _plainer)
