"""Shows the progress of long silent work on standard error.

Nothing is shown outside `showing`, nor in the first second, because most work is shorter. A
terminal gets a line that is updated. Other outputs get one line with the remaining time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TypeVar

from envs.output import tell

T = TypeVar("T")

SILENT_SECONDS = 1.0
EVERY_SECONDS = 0.2
BAR = 30

_shown: ContextVar[bool] = ContextVar("shown", default=False)


@contextmanager
def showing(wanted: bool = True) -> Iterator[None]:
    """Turns the display of progress on inside the context, or off if `wanted` is false."""
    token = _shown.set(wanted)
    try:
        yield
    finally:
        _shown.reset(token)


def watched(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Yields the items and shows how many of `total` are done.

    Args:
        what: the name of the work, such as "replaying tapes".
    """
    if not _shown.get():
        yield from items
        return
    start = time.monotonic()
    due = start + SILENT_SECONDS
    live = sys.stderr.isatty()
    drawn = False
    try:
        for done, item in enumerate(items):
            now = time.monotonic()
            if done and now >= due:
                left = (now - start) / done * (total - done)
                _draw(what, done, total, left, live)
                drawn = True
                due = now + EVERY_SECONDS if live else float("inf")
            yield item
    finally:
        if drawn and live:
            with suppress(OSError):
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _draw(what: str, done: int, total: int, left: float, live: bool) -> None:
    text = f"{what}: step {done:,} of {total:,}, about {left:.0f} s left"
    with suppress(OSError):
        if live:
            full = BAR * done // total
            bar = "#" * full + "-" * (BAR - full)
            print(f"\r\x1b[K[{bar}] {text}", end="", file=sys.stderr, flush=True)
        else:
            tell(text, error=True)
