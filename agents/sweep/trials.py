"""Runs one trial as a separate training, watches its evaluations, and may stop it early."""

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
"""Time between two readings of a training's metrics."""

MOST_SAID_BYTES = 1 << 16
"""Size of the end of a training's output that is searched for its error."""

SAVE_SECONDS = 60.0
"""Time limit for a stopped training to save its state."""

FINAL = {
    "score": "eval/return_mean",
    "human_normalized": "eval/human_normalized",
    "of_demonstrator": "eval/of_demonstrator",
}
"""The names of final scores in evaluations and `eval.json`, by their names in W&B's summary."""

Report = Callable[[int, float], bool]
"""Gets the number of an evaluation, from 1, and its value; returns whether to continue."""


@dataclass(frozen=True)
class Outcome:
    """The end of a trial."""

    state: Literal["finished", "stopped", "failed"]
    score: float | None = None
    """The last score, also of a stopped trial."""
    error: str = ""


def run_trial(command: Sequence[str], folder: Path, metric: str, report: Report) -> Outcome:
    """Trains in a separate process, whose output goes to `output.txt`.

    Args:
        command: the command of the training, which makes its run in `folder`.
        folder: the folder of this trial only.
        metric: name in W&B's summary: of a metric, whose last value counts, or one of `FINAL`.
        report: gets each evaluation.

    Raises:
        KeyboardInterrupt: after Ctrl-C, once the training has saved its state and stopped.
    """
    try:
        make_directory(folder)
        opened = open_new(folder / "output.txt")
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}") from None
    watched = FINAL.get(metric, metric)
    with opened as output:
        # In a separate session, it gets one Ctrl-C, from here. A second one would end it at once.
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
    """Reports each evaluation; returns False as soon as `report` stops the training.

    Raises:
        KeyboardInterrupt: a signal was noted since the last reading.
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
    """Stops a training that still runs, after it saves; kills it if that takes too long."""
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
    """The run's value of a metric in W&B's summary, or None if there is none."""
    if metric not in FINAL:
        return next(reversed(evaluations(folder, metric)), None)
    for run in find(folder)[0]:
        value = read_json(run / "eval.json", needed=False)[0].get(FINAL[metric])
        return float(value) if is_number(value) else None
    return None


def last_line(folder: Path) -> str:
    """The reason of a failed training: its last error, or else its last line of output."""
    try:
        text = last_bytes(folder / "output.txt", MOST_SAID_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]
    return plain([*lines[-1:], *errors[-1:]][-1], 300) if lines else ""
