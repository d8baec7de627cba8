"""A window that shows moments at a steady rate and reports its pressed keys."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from demos.replaying import Moment, captioned
from envs import UserError
from envs.screens import DISPLAYS, UNSEEN, has_display, wished_driver
from envs.text import plain

SHARE_OF_DESKTOP = 0.8
REPEAT_AFTER_MS = 300
REPEAT_EVERY_MS = 50
MOST_SLEEP_S = 0.02
"""Longest delay in seconds before a key is noticed, also in a slow film."""

WITHOUT_DISPLAY = "connect with ssh -X, or use a machine with a display"

QUIT_KEYS = frozenset({"q", "escape"})


@dataclass(frozen=True)
class Keys:
    """The keyboard's events since the last report; keys have pygame's names."""

    held: tuple[str, ...] = ()
    """Keys that are down now, in the order in which they were pressed."""
    struck: tuple[str, ...] = ()
    """Keys that went down."""
    repeated: tuple[str, ...] = ()
    """Keys that are held so long that they repeat."""
    closed: bool = False
    """The window was closed."""

    @property
    def quits(self) -> bool:
        """Whether the person closed the window or pressed a key that quits."""
        return self.closed or not QUIT_KEYS.isdisjoint(self.struck)


class Screen(Protocol):
    """Shows moments to a person and reports keys."""

    def show(self, moment: Moment) -> None:
        """Shows a moment at once."""
        ...

    def wait(self) -> Keys:
        """Waits until the next moment is due or the person quits; returns the keys."""
        ...


class Window:
    """A pygame window that fits the desktop and can be resized."""

    def __init__(self, pygame: Any, title: str, fps: float):
        self._pygame = pygame
        self._period_s = 1 / fps
        self._due = time.perf_counter()
        self._held: dict[str, None] = {}
        pygame.display.set_caption(title)
        pygame.key.set_repeat(REPEAT_AFTER_MS, REPEAT_EVERY_MS)

    def show(self, moment: Moment) -> None:
        """Draws a moment as large as the window allows."""
        pygame = self._pygame
        picture = captioned(moment)
        surface = pygame.surfarray.make_surface(picture.swapaxes(0, 1))
        size = np.array(surface.get_size())
        window = pygame.display.get_surface()
        if window is None:
            desktop = np.array(pygame.display.get_desktop_sizes()[0])
            halves = int((2 * SHARE_OF_DESKTOP * desktop / size).min())
            window = pygame.display.set_mode(size * max(2, halves) // 2, pygame.RESIZABLE)
        room = np.array(window.get_size())
        fitting = np.maximum(1, size * (room / size).min()).astype(int)
        window.fill((0, 0, 0))
        window.blit(pygame.transform.scale(surface, fitting), (room - fitting) // 2)
        pygame.display.flip()

    def wait(self) -> Keys:
        """As `Screen.wait`; after a late moment, the rate stays and lost time is not made up."""
        self._due = max(self._due + self._period_s, time.perf_counter())
        keys = Keys()
        while True:
            keys = self._read(keys)
            left_s = self._due - time.perf_counter()
            if keys.quits or left_s <= 0:
                return keys
            time.sleep(min(left_s, MOST_SLEEP_S))

    def _read(self, before: Keys) -> Keys:
        pygame = self._pygame
        closed = before.closed
        struck = list(before.struck)
        repeated = list(before.repeated)
        for event in pygame.event.get():
            if event.type == pygame.KEYDOWN:
                key = pygame.key.name(event.key)
                (repeated if key in self._held else struck).append(key)
                self._held[key] = None
            elif event.type == pygame.KEYUP:
                self._held.pop(pygame.key.name(event.key), None)
            elif event.type == pygame.WINDOWFOCUSLOST:
                self._held.clear()
            closed |= event.type == pygame.QUIT
        return Keys(tuple(self._held), tuple(struck), tuple(repeated), closed)


@contextmanager
def window(title: str, fps: float, instead: str = WITHOUT_DISPLAY) -> Iterator[Window]:
    """Yields a window, which appears with the first moment and closes after the context.

    Args:
        instead: the way out in errors, if there is no display.

    Raises:
        UserError: pygame is missing, or there is no display.
    """
    require_display(instead)
    pygame = imported_pygame()
    open_display(pygame, instead)
    quit_all = pygame.quit
    quit_display = pygame.display.quit
    # An environment that renders with pygame calls pygame.quit on close, which closes all windows.
    pygame.quit = pygame.display.quit = lambda: None
    try:
        yield Window(pygame, title, fps)
    finally:
        pygame.quit = quit_all
        pygame.display.quit = quit_display
        pygame.display.quit()


def imported_pygame() -> Any:
    """Imports pygame; raises a UserError if it is missing."""
    # Otherwise pygame prints a line when it is imported.
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        import pygame
    except ImportError:
        raise UserError("a window needs pygame: pip install -e '.[classic]'") from None
    return pygame


def open_display(pygame: Any, instead: str) -> None:
    """Prepares pygame for windows; raises a UserError if no display would show them."""
    wished = wished_driver()
    # By default, SDL also tries Wayland, and prints a warning if only X11 is there.
    asked = "x11" if asks_x11_alone() else wished
    before = os.environ.pop("SDL_VIDEODRIVER", None)
    try:
        if asked:
            os.environ["SDL_VIDEODRIVER"] = asked
        pygame.display.init()
    except pygame.error as error:
        raise UserError(f"no window can be opened ({plain(error)}): {instead}") from None
    finally:
        os.environ.pop("SDL_VIDEODRIVER", None)
        if before is not None:
            os.environ["SDL_VIDEODRIVER"] = before
    # If no display answers, SDL falls back to an invisible window.
    if pygame.display.get_driver() in UNSEEN and not wished:
        pygame.display.quit()
        shown = " ".join(f"{name}={os.environ[name]}" for name in DISPLAYS if name in os.environ)
        raise UserError(f"no window can be opened, no display answers at {plain(shown)}: {instead}")


def asks_x11_alone() -> bool:
    """Whether the environment variables name an X server and no other display."""
    names_x11 = sys.platform == "linux" and os.environ.get("DISPLAY")
    return bool(names_x11) and not os.environ.get("WAYLAND_DISPLAY") and not wished_driver()


def require_display(instead: str) -> None:
    """Raises a UserError if there is no display, unless the user chose SDL's driver.

    The check opens no window, because SDL prints warnings if there is no display.
    """
    if not wished_driver() and not has_display():
        raise UserError(f"no window can be opened, there is no display: {instead}")
