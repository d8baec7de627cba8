"""The files of a run as they are: half-written, damaged or missing ones raise nothing."""

from __future__ import annotations

import json
import os
import sys
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

MOST = sys.float_info.max


@dataclass(frozen=True, eq=False)
class Series:
    """One metric of a run: float64 (N,) each, by ascending step; all values are finite."""

    step: np.ndarray
    seconds: np.ndarray
    value: np.ndarray

    def __len__(self) -> int:
        return len(self.step)


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is an int or a float that a float can hold and that is finite; true is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -MOST <= value <= MOST


def printable(value: Any) -> str:
    """Text that UTF-8 can hold: what a file's name has beside it becomes "?"."""
    return str(value).encode("utf-8", "replace").decode()


def read_json(path: Path, *, needed: bool = True) -> tuple[dict[str, Any], str]:
    """A JSON object and "", or {} and what is wrong with the file."""
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}, f"{path.name} is missing" if needed else ""
    except OSError as error:
        return {}, f"{path.name} cannot be read: {error.strerror}"
    except (ValueError, RecursionError):
        return {}, f"{path.name} is damaged"
    return (values, "") if isinstance(values, dict) else ({}, f"{path.name} holds no object")


def read_metrics(path: Path) -> tuple[dict[str, Series], int, float]:
    """The metrics by name, how many lines are damaged, and when the file was last written.

    A last line without its end is being written and is no damage.
    """
    columns: dict[str, array[float]] = {}
    damaged = 0
    try:
        with path.open("rb") as file:
            for line in file:
                if not _take(line, columns) and line.endswith(b"\n") and line.strip():
                    damaged += 1
            written = os.fstat(file.fileno()).st_mtime
    except OSError:
        return {}, damaged, 0.0
    return {name: _series(column) for name, column in sorted(columns.items())}, damaged, written


def _take(line: bytes, columns: dict[str, array[float]]) -> bool:
    try:
        record = json.loads(line)
        step, seconds = record.pop("step"), record.pop("time")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
    if not (is_number(step) and is_number(seconds)):
        return False
    for name, value in record.items():
        if is_number(value):
            column = columns.setdefault(printable(name), array("d"))
            column.extend((float(step), float(seconds), float(value)))
    return True


def _series(column: array[float]) -> Series:
    rows = np.frombuffer(column).reshape(-1, 3)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    return Series(*(np.ascontiguousarray(each) for each in rows.T))
