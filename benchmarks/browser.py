"""A real browser without a window, for tests and benchmarks of pages."""

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
"""Nothing is fetched from anywhere; only pages of our own are opened, so that no sandbox is needed,
which root in a container does not have."""


def chromium() -> str | None:
    """The program that the variable JOYSTICK_CHROMIUM names, or one of the usual names."""
    if named := os.environ.get("JOYSTICK_CHROMIUM"):
        return shutil.which(named)
    return next(filter(None, map(shutil.which, NAMES)), None)


def until(tab: Page, expression: str, seconds: float = 30.0) -> None:
    """Wait until an expression is true in a page. Playwright's own waits for one run `eval` in the
    page, which a content security policy forbids.

    Raises:
        TimeoutError: it stays false.
    """
    end = time.monotonic() + seconds
    while not tab.evaluate(expression):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:g} s: {expression}")
        tab.wait_for_timeout(10)


@contextmanager
def browser() -> Iterator[Browser]:
    """An open browser.

    Raises:
        UserError: there is no Chromium, or no Playwright.
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
