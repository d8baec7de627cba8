"""Detects whether this machine shows windows, and chooses SDL's video driver if it does not."""

from __future__ import annotations

import os
import sys

DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")
UNSEEN = ("dummy", "offscreen")
"""SDL's video drivers that only draw into memory."""

_chosen_here = False


def expect_no_window() -> None:
    """Makes SDL draw into memory on a Linux machine without a display, without a warning."""
    global _chosen_here
    if sys.platform != "linux" or has_display() or os.environ.get("SDL_VIDEODRIVER"):
        return
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    _chosen_here = True


def wished_driver() -> str:
    """The video driver that the user sets in SDL_VIDEODRIVER, or ""."""
    asked = os.environ.get("SDL_VIDEODRIVER", "")
    return "" if _chosen_here and asked == "dummy" else asked


def has_display() -> bool:
    """Whether this machine has a display; macOS and Windows always do."""
    return sys.platform in ("win32", "darwin") or any(map(os.environ.get, DISPLAYS))


def shows_windows() -> bool:
    """Whether a window would be visible, as far as the environment variables tell."""
    wished = wished_driver()
    return wished not in UNSEEN if wished else has_display()
