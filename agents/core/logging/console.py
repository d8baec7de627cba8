"""Shows the progress of a run: a live bar on a terminal, plain lines elsewhere.

Output may go to a terminal or pipe that is closed, or to a full disk. Training goes on then.
"""

from __future__ import annotations

import time
from contextlib import suppress

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from envs.output import harmless, tell

GAMES = "charts/episodic_"
"""Prefix of the metrics of a game; a call with only such metrics prints nothing."""


class Progress:
    """The status of a run, updated by its metrics."""

    def __init__(self, total_steps: int, frames_per_step: int, start_step: int):
        self.total_steps = total_steps
        self.step = start_step
        self._frames_per_step = frames_per_step
        self._latest: dict[str, float] = {}
        self._start = (start_step, time.monotonic())

    def update(self, step: int, values: dict[str, float]) -> bool:
        """Stores the metrics of one call; returns whether it has more than a game's metrics."""
        self.step = step
        self._latest.update(values)
        return not all(name.startswith(GAMES) for name in values)

    def parts(self) -> list[str]:
        """The status as short texts in a fixed order, from the step to the time left."""
        seen = self._latest
        rate = self._steps_per_second()
        parts = [f"step {self.step:,}"]
        if self._frames_per_step > 1:
            parts.append(f"frames {self.step * self._frames_per_step:,}")
        if rate > 0:
            parts.append(f"{rate:,.0f} steps/s")
        if "charts/episodic_return_20" in seen:
            parts.append(f"return {seen['charts/episodic_return_20']:.1f}")
        if "charts/epsilon" in seen:
            parts.append(f"epsilon {seen['charts/epsilon']:.2f}")
        if "losses/loss" in seen:
            parts.append(f"loss {seen['losses/loss']:.4f}")
        if "eval/return_mean" in seen:
            interval = f" ± {seen['eval/return_ci95']:.1f}" if "eval/return_ci95" in seen else ""
            parts.append(f"eval {seen['eval/return_mean']:.1f}{interval}")
        if "eval/human_normalized" in seen:
            parts.append(f"human {seen['eval/human_normalized']:.0%}")
        if rate > 0:
            parts.append(f"left {_clock((self.total_steps - self.step) / rate)}")
        return parts

    def _steps_per_second(self) -> float:
        if "charts/SPS" in self._latest:
            return self._latest["charts/SPS"]
        step, moment = self._start
        return (self.step - step) / max(time.monotonic() - moment, 1e-9)


class PlainConsole:
    """Prints a line for each call that has more than a game's metrics."""

    def __init__(self, progress: Progress):
        self._progress = progress

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Shows the metrics of one call."""
        if self._progress.update(step, values):
            self.message(" | ".join(self._progress.parts()))

    def message(self, text: str) -> None:
        """Shows a line."""
        with suppress(OSError):
            tell(text)

    def close(self) -> None:
        """Does nothing, because all lines are printed."""


class LiveConsole:
    """A bar and a status line at the bottom of a terminal, with messages above them."""

    def __init__(self, progress: Progress, console: Console):
        self._progress = progress
        # Metrics redraw it. A thread that redraws would take time from training.
        self._live = Live(self._render(), console=console, auto_refresh=False)
        self._live.start(refresh=True)

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Shows the metrics of one call."""
        if self._progress.update(step, values):
            with suppress(OSError):
                self._live.update(self._render(), refresh=True)

    def message(self, text: str) -> None:
        """Shows a line."""
        with suppress(OSError):
            self._live.console.print(harmless(text), markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Stops redrawing; the last status stays on the terminal."""
        with suppress(OSError):
            self._live.stop()

    def _render(self) -> Group:
        step = self._progress.step
        total = self._progress.total_steps
        bar = Table.grid(expand=True, padding=(0, 1))
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True)
        bar.add_row(ProgressBar(total, step), f"{step / max(total, 1):.1%} of {total:,}")
        return Group(bar, Text(" | ".join(self._progress.parts())))


class SilentConsole:
    """Shows nothing."""

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Shows nothing."""

    def message(self, text: str) -> None:
        """Shows nothing."""

    def close(self) -> None:
        """Does nothing."""


def open_console(progress: Progress) -> PlainConsole | LiveConsole:
    """Makes a live console if standard output is a terminal, else a plain console."""
    console = Console()
    live = console.is_terminal and not console.is_dumb_terminal
    return LiveConsole(progress, console) if live else PlainConsole(progress)


def _clock(seconds: float) -> str:
    minutes, second = divmod(max(int(seconds), 0), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
