"""One trial: a training of its own, watched while it runs and ended early where that is decided."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agents.report.parsing import is_number, read_json, read_metrics
from agents.report.reading import find
from envs import UserError, signals
from envs.files import last_bytes, make_directory, open_new
from envs.text import plain

LOOK_SECONDS = 1.0
"""Between two looks at a training."""

MOST_SAID_BYTES = 1 << 16
"""Of a training's words, from the end, in which its error is looked for."""

SAVE_SECONDS = 60.0
"""What a training that is told to stop has to save itself."""

FINAL = {
    "score": "eval/return_mean",
    "human_normalized": "eval/human_normalized",
    "of_demonstrator": "eval/of_demonstrator",
}
"""What the summary calls a run's final score, and what evaluations and `eval.json` call it."""

Report = Callable[[int, float], bool]
"""Is told the number of an evaluation, from 1, and its value; returns whether to go on."""


@dataclass(frozen=True)
class Outcome:
    """How a trial ended."""

    state: Literal["finished", "stopped", "failed"]
    score: float | None = None
    """Its last one, also where it was stopped."""
    error: str = ""


def run_trial(command: Sequence[str], folder: Path, metric: str, report: Report) -> Outcome:
    """Train in a process of its own, whose words go to `output.txt`.

    Args:
        command: what to start; it puts its run into `folder`.
        folder: of this trial alone.
        metric: as W&B's summary calls it: the last value of a metric, or one of `FINAL`.
        report: hears of each evaluation.

    Raises:
        KeyboardInterrupt: as the person's Ctrl-C; the training has been told to save and stop.
    """
    try:
        make_directory(folder)
        opened = open_new(folder / "output.txt")
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}") from None
    watched = FINAL.get(metric, metric)
    with opened as output:
        # In a session of its own it hears Ctrl-C once, from here: twice would end it unsaved.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        signals.KILLED_WITH_US.add(process.pid)
        try:
            went_on = watch(process, folder, watched, report)
        finally:
            end(process)
            signals.KILLED_WITH_US.discard(process.pid)
    score = score_of(folder, metric if went_on else watched)
    if not went_on:
        return Outcome("stopped", score)
    if process.returncode != 0:
        return Outcome("failed", score, last_line(folder) or f"exit code {process.returncode}")
    if score is None:
        return Outcome("failed", None, f"it has no {metric}")
    return Outcome("finished", score)


def watch(process: subprocess.Popen[bytes], folder: Path, metric: str, report: Report) -> bool:
    """Report each evaluation as it comes; False as soon as one says not to go on.

    Raises:
        KeyboardInterrupt: a signal was noted since the last look.
    """
    heard = 0
    running = True
    while running:
        signals.check()
        try:
            process.wait(LOOK_SECONDS)
            running = False
        except subprocess.TimeoutExpired:
            pass
        values = evaluations(folder, metric)
        for i, value in enumerate(values[heard:], start=heard + 1):
            if not report(i, value) and running:
                return False
        heard = len(values)
    return True


def end(process: subprocess.Popen[bytes]) -> None:
    """Have a training save and stop, if it still runs; kill it when it takes too long."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(SAVE_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        signals.kill_group(process.pid)
        process.wait()


def evaluations(folder: Path, metric: str) -> list[float]:
    """The values of a metric so far, by step."""
    for run in find(folder)[0]:
        series = read_metrics(run / "metrics.jsonl").series
        return series[metric].value.tolist() if metric in series else []
    return []


def score_of(folder: Path, metric: str) -> float | None:
    """What the run has for a metric of W&B's summary; None for nothing."""
    if metric not in FINAL:
        return next(reversed(evaluations(folder, metric)), None)
    for run in find(folder)[0]:
        value = read_json(run / "eval.json", needed=False)[0].get(FINAL[metric])
        return float(value) if is_number(value) else None
    return None


def last_line(folder: Path) -> str:
    """Why a training failed: its last line, the last error where it names one."""
    try:
        text = last_bytes(folder / "output.txt", MOST_SAID_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]
    return plain([*lines[-1:], *errors[-1:]][-1], 300) if lines else ""
