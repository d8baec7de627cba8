"""A window that shows moments at a steady rate, and says which keys are pressed in it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from demos.replaying import Moment, captioned
from envs import UserError

SHARE_OF_DESKTOP = 0.8
REPEAT_AFTER_MS, REPEAT_EVERY_MS = 300, 50
MOST_SLEEP_S = 0.02
"""So soon is a key seen, however slow the film."""

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
def window(title: str, fps: float) -> Iterator[Window]:
    """A window while it is needed; it appears with what is shown first.

    Raises:
        UserError: pygame is missing, or there is no display.
    """
    pygame = imported_pygame()
    open_display(pygame)
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


def open_display(pygame: Any) -> None:
    """Get ready for windows; a UserError where nobody would see them."""
    try:
        pygame.display.init()
    except pygame.error as error:
        raise UserError(f"no window can be opened: {error}") from None
    # What SDL falls back to where there is none: a window that nobody sees.
    if pygame.display.get_driver() == "offscreen" and "SDL_VIDEODRIVER" not in os.environ:
        pygame.display.quit()
        raise UserError("no window can be opened: there is no display")
