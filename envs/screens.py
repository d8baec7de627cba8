"""Whether a person sees a window here, and what SDL draws on where nobody would."""

from __future__ import annotations

import os
import sys

DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")
UNSEEN = ("dummy", "offscreen")
"""SDL's video drivers that draw into memory alone."""

_chosen_here = False


def expect_no_window() -> None:
    """On a Linux without a display, have SDL draw pictures without complaining of that."""
    global _chosen_here
    if sys.platform != "linux" or has_display() or os.environ.get("SDL_VIDEODRIVER"):
        return
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    _chosen_here = True


def wished_driver() -> str:
    """The video driver that the person asks SDL for, "" where they ask for none."""
    asked = os.environ.get("SDL_VIDEODRIVER", "")
    return "" if _chosen_here and asked == "dummy" else asked


def has_display() -> bool:
    """Whether this machine shows windows: macOS and Windows always do."""
    return sys.platform in ("win32", "darwin") or any(map(os.environ.get, DISPLAYS))


def shows_windows() -> bool:
    """Whether a window would be seen, as far as the environment's variables tell."""
    wished = wished_driver()
    return wished not in UNSEEN if wished else has_display()
