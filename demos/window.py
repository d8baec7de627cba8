"""A window that shows moments at a steady rate, and says which keys are pressed in it."""

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
REPEAT_AFTER_MS, REPEAT_EVERY_MS = 300, 50
MOST_SLEEP_S = 0.02
"""So soon is a key seen, however slow the film."""

WITHOUT_DISPLAY = "connect with ssh -X, or use a machine with a display"

QUIT_KEYS = frozenset({"q", "escape"})


@dataclass(frozen=True)
class Keys:
    """What was done with the keyboard since it was asked for last; keys have pygame's names."""

    held: tuple[str, ...] = ()
    """Pressed now, the first to be pressed first."""
    struck: tuple[str, ...] = ()
    """Went down since."""
    repeated: tuple[str, ...] = ()
    """Are held for so long that they count again."""
    closed: bool = False
    """The window was closed."""

    @property
    def quits(self) -> bool:
        return self.closed or not QUIT_KEYS.isdisjoint(self.struck)


class Screen(Protocol):
    """Where a person watches and plays."""

    def show(self, moment: Moment) -> None: ...

    def wait(self) -> Keys:
        """Wait until the next moment is due, or shorter where the person quits."""
        ...


class Window:
    """A pygame window that fits the desktop and can be resized."""

    def __init__(self, pygame: Any, title: str, fps: float):
        self._pygame, self._period_s = pygame, 1 / fps
        self._due, self._held = time.perf_counter(), dict[str, None]()
        pygame.display.set_caption(title)
        pygame.key.set_repeat(REPEAT_AFTER_MS, REPEAT_EVERY_MS)

    def show(self, moment: Moment) -> None:
        """Draw a moment as large as the window allows."""
        pygame, picture = self._pygame, captioned(moment)
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
        """As `Screen.wait`; a moment that is late is not caught up with."""
        self._due = max(self._due + self._period_s, time.perf_counter())
        keys = Keys()
        while True:
            keys = self._read(keys)
            left_s = self._due - time.perf_counter()
            if keys.quits or left_s <= 0:
                return keys
            time.sleep(min(left_s, MOST_SLEEP_S))

    def _read(self, before: Keys) -> Keys:
        pygame, closed = self._pygame, before.closed
        struck, repeated = list(before.struck), list(before.repeated)
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
    """A window while it is needed; it appears with what is shown first.

    Args:
        instead: what a person does where there is no display.

    Raises:
        UserError: pygame is missing, or there is no display.
    """
    require_display(instead)
    pygame = imported_pygame()
    open_display(pygame, instead)
    quit_all, quit_display = pygame.quit, pygame.display.quit
    # An environment that draws with pygame ends all of pygame when it is closed, windows too.
    pygame.quit = pygame.display.quit = lambda: None
    try:
        yield Window(pygame, title, fps)
    finally:
        pygame.quit, pygame.display.quit = quit_all, quit_display
        pygame.display.quit()


def imported_pygame() -> Any:
    """The module; a UserError where it is missing."""
    # Otherwise it prints a line of its own when it is imported.
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        import pygame
    except ImportError:
        raise UserError("a window needs pygame: pip install -e '.[classic]'") from None
    return pygame


def open_display(pygame: Any, instead: str) -> None:
    """Get ready for windows; a UserError where nobody would see them."""
    wished = wished_driver()
    # Left to itself, SDL tries Wayland beside X11 and complains in a line of its own.
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
    # What SDL falls back to where a display does not answer: a window that nobody sees.
    if pygame.display.get_driver() in UNSEEN and not wished:
        pygame.display.quit()
        shown = " ".join(f"{name}={os.environ[name]}" for name in DISPLAYS if name in os.environ)
        raise UserError(f"no window can be opened, no display answers at {plain(shown)}: {instead}")


def asks_x11_alone() -> bool:
    """Whether an X server is the only display that this machine names."""
    names_x11 = sys.platform == "linux" and os.environ.get("DISPLAY")
    return bool(names_x11) and not os.environ.get("WAYLAND_DISPLAY") and not wished_driver()


def require_display(instead: str) -> None:
    """Pass where a window can be seen, or where the person wishes for another one.

    Nothing is opened for it: SDL complains in lines of its own where there is no display.
    """
    if not wished_driver() and not has_display():
        raise UserError(f"no window can be opened, there is no display: {instead}")
