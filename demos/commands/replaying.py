"""`python -m demos replay`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from demos import terminal
from demos.replaying import Moment, captioned, checked_speed, moments, one_episode
from demos.shipped import opened
from demos.window import WITHOUT_DISPLAY, window
from envs import UserError, signals, video
from envs.errors import did_you_mean
from envs.output import tell
from envs.screens import shows_windows
from envs.text import plain
from envs.video import fps_of


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Watch an episode; q, Escape or Ctrl-C stop it."""

    dataset: tyro.conf.Positional[Path]  # Directory of the dataset, or a shipped one's name.
    episode: int = 0  # Number of the episode, from 0.
    to: str | None = None
    """window, terminal, FILE.mp4 or FILE.gif; None takes a window, or else the terminal."""
    speed: float = 1.0  # Speed of the film; 1 is real time.

    def run(self) -> int:
        speed = checked_speed(self.speed)
        target = checked_target(self.to)
        episode = one_episode(opened(self.dataset), self.episode)
        title = f"{plain(self.dataset.name)}, episode {self.episode}"
        with closing(moments(episode)) as shown:
            return show(shown, title, speed * fps_of(episode.spec), target, len(episode) + 1)


def checked_target(to: str | None) -> str:
    """The output of a film: "window", "terminal" or a file's name.

    Args:
        to: what a person typed; None takes a window, or else the terminal.

    Raises:
        UserError: `to` is none of the three, or it is None and there is neither a display nor a
            terminal.
    """
    target = to or usual_target()
    if target not in ("window", "terminal") and Path(target).suffix not in video.ENCODERS:
        near = did_you_mean(target, ["window", "terminal"])
        films = ", ".join(f"FILE{ending}" for ending in video.ENCODERS)
        raise UserError(f"--to {target}: allowed are window, terminal, {films}{near}")
    return target


def show(
    shown: Iterable[Moment], title: str, fps: float, target: str, total: int | None = None
) -> int:
    """Shows moments until they end or the person quits; returns the exit code.

    Args:
        target: as `checked_target` returns it.
        total: the number of moments, or None if it is unknown.
    """
    if target not in ("window", "terminal"):
        quiet = not sys.stdout.isatty()
        tracked = track(shown, escape(f"filming {title}"), total, disable=quiet)
        return film(Path(target), tracked, fps)
    try:
        if target == "terminal":
            terminal.play(shown, fps, Console())
        else:
            watch(shown, title, fps)
    except KeyboardInterrupt:
        pass
    return 0


def usual_target() -> str:
    """A window if there is a display, else the terminal; UserError if there is neither."""
    if shows_windows():
        return "window"
    if sys.stdout.isatty():
        return "terminal"
    raise UserError("there is neither a display nor a terminal: name a film with --to FILE.mp4")


def watch(shown: Iterable[Moment], title: str, fps: float) -> None:
    """Shows moments in a window until they end or the person quits."""
    with window(title, fps, f"{WITHOUT_DISPLAY}, or --to terminal, or --to FILE.mp4") as screen:
        for moment in shown:
            screen.show(moment)
            if screen.wait().quits:
                return


def film(path: Path, shown: Iterable[Moment], fps: float) -> int:
    """Writes a film; returns the exit code."""
    try:
        video.write(path, map(captioned, shown), fps)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None
    except KeyboardInterrupt:
        tell(f"{path} was not written", error=True)
        return 128 + (signals.received() or signal.SIGINT)
    tell(f"{path}: {fps:g} steps a second")
    return 0
