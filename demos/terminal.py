"""Shows moments on a terminal; a character shows two pixels, one above the other."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby

import numpy as np
from PIL import Image
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.style import Style

from demos.replaying import Moment
from envs import UserError
from envs.text import plain


class HalfBlocks:
    """A moment as large as the console allows, with its lines of text below it."""

    def __init__(self, moment: Moment):
        self.moment = moment

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = self.moment.lines
        rows = max(1, console.height - len(lines))
        for row in fitted(self.moment.picture, options.max_width, rows):
            # Neighbors with equal colors share one escape code.
            for colors, cells in groupby(row.reshape(len(row), 6).tolist()):
                above, below = Color.from_rgb(*colors[:3]), Color.from_rgb(*colors[3:])
                yield Segment("▀" * len(list(cells)), Style(color=above, bgcolor=below))
            yield Segment.line()
        yield Segment("\n".join(plain(line)[: options.max_width] for line in lines))


def fitted(picture: np.ndarray, columns: int, rows: int) -> np.ndarray:
    """Shrinks or enlarges a picture (H, W, 3) to at most so many characters, keeping its shape.

    Returns:
        uint8 (R, C, 2, 3): the colors of each character's upper and lower half.
    """
    height, width = picture.shape[:2]
    scale = min(columns / width, 2 * rows / height)
    size = max(1, round(scale * width)), 2 * max(1, round(scale * height / 2))
    shrunk = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
    return shrunk.reshape(size[1] // 2, 2, size[0], 3).swapaxes(1, 2)


def play(moments: Iterable[Moment], fps: float, console: Console) -> None:
    """Shows moments in real time until they end; q and Escape stop it.

    Raises:
        UserError: the console is not a terminal.
    """
    if not console.is_terminal:
        raise UserError("the output is not a terminal: name a film with --to FILE.mp4")
    due = time.perf_counter()
    with Live(console=console, screen=True, auto_refresh=False) as live, keypresses():
        for moment in moments:
            live.update(HalfBlocks(moment), refresh=True)
            due = max(due + 1 / fps, time.perf_counter())
            if quits_before(due):
                return


@contextmanager
def keypresses() -> Iterator[None]:
    """Makes a Unix terminal deliver each key at once instead of whole lines, inside the context."""
    if sys.platform == "win32" or not reads_keys():
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def reads_keys() -> bool:
    """Whether single keys can be read: the input is a terminal, but not on Windows."""
    try:
        import termios  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ModuleNotFoundError:
        return False
    return sys.stdin.isatty()


def quits_before(due: float) -> bool:
    """Waits until the time `due`; returns True as soon as the person quits, and False at `due`."""
    while True:
        left_s = due - time.perf_counter()
        if left_s <= 0:
            return False
        if not reads_keys():
            time.sleep(left_s)
        elif select.select([sys.stdin], [], [], left_s)[0]:
            typed = os.read(sys.stdin.fileno(), 64)
            # The code of an arrow key also begins with the byte of Escape.
            if b"q" in typed or typed == b"\x1b":
                return True
