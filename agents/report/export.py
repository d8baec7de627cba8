"""Exports all curves for other tools: as one tidy CSV file, or as TensorBoard event files."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from agents.report.reading import RunRecord
from demos.dataset import write
from envs import UserError

COLUMNS = ("run", "env", "protocol", "algo", "seed", "metric", "step", "frames", "seconds", "value")

FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""First characters of a cell that a spreadsheet takes for a formula."""


def write_csv(runs: Sequence[RunRecord], path: Path) -> int:
    """Writes every value of every metric of every run, one per line; returns their number.

    A text that a spreadsheet would take for a formula gets a quote in front.

    Raises:
        UserError: the file cannot be written.
    """
    text = io.StringIO(newline="")
    count = 0
    rows = csv.writer(text)
    rows.writerow(COLUMNS)
    for run in runs:
        who = [cell(run.name), cell(run.env_id), cell(run.protocol), cell(run.algo), run.seed]
        for name, series in run.series.items():
            columns = (series.step, series.step * run.frameskip, series.seconds, series.value)
            for values in zip(*(column.tolist() for column in columns), strict=True):
                rows.writerow([*who, cell(name), *(shortest(value) for value in values)])
            count += len(series)
    write(path, text.getvalue().encode())
    return count


def cell(text: str) -> str:
    """A text with a quote in front if a spreadsheet would take it for a formula."""
    return f"'{text}" if text.startswith(FORMULAS) else text


def shortest(value: float) -> str:
    """The shortest text that reads back as the same number; a whole number has no point."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def write_tensorboard(runs: Sequence[RunRecord], folder: Path) -> int:
    """Writes the scalars of each run into a separate folder; returns the number of runs.

    Raises:
        UserError: tensorboard is not installed, or the folder is not empty.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError(
            "--tensorboard needs tensorboard: pip install -e '.[tensorboard]'"
        ) from None
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--tensorboard {folder}: choose a folder that is new or empty")
    for run in runs:
        began = run.written - run.last[1]
        with SummaryWriter(str(folder / run.name)) as writer:
            for name, series in run.series.items():
                columns = (series.step, series.seconds, series.value)
                for step, seconds, value in zip(*(c.tolist() for c in columns), strict=True):
                    writer.add_scalar(name, value, int(step), walltime=began + seconds)
    return len(runs)
