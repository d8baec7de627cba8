"""Opens a real browser without a window, for tests and benchmarks of pages."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from envs import UserError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
"""Flags that prevent all downloads. The browser opens only our own pages, so it needs no sandbox;
root in a container has none."""


def chromium() -> str | None:
    """The program in the variable JOYSTICK_CHROMIUM, or else the first of `NAMES` that exists."""
    named = os.environ.get("JOYSTICK_CHROMIUM")
    if named:
        return shutil.which(named)
    return next(filter(None, map(shutil.which, NAMES)), None)


def until(tab: Page, expression: str, seconds: float = 30.0) -> None:
    """Waits until an expression is true in a page.

    Playwright's own wait runs `eval` in the page, which a content security policy forbids.

    Raises:
        TimeoutError: the expression stays false.
    """
    end = time.monotonic() + seconds
    while not tab.evaluate(expression):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:g} s: {expression}")
        tab.wait_for_timeout(10)


@contextmanager
def browser() -> Iterator[Browser]:
    """Yields an open browser.

    Raises:
        UserError: Chromium or Playwright is missing.
    """
    program = chromium()
    if program is None:
        raise UserError("no Chromium: install it, or name it in the variable JOYSTICK_CHROMIUM")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise UserError("no Playwright: pip install -e '.[dev]'") from None
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=FLAGS)
        try:
            yield opened
        finally:
            opened.close()
