"""Parses the files of a run; half-written, damaged, foreign or missing files raise no error."""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeGuard

import numpy as np

from agents.core.runs import earlier_names
from envs.files import open_regular, read_regular
from envs.text import MOST_CHARACTERS, plain

LARGEST = 1e100
"""Largest value of a metric; sums and products of such values are still finite."""

LARGEST_STEP = 2**53
"""Largest step; JavaScript counts no further."""

LARGEST_SECONDS = 1e10
"""Largest time, three centuries."""

MOST_JSON_BYTES = 16 << 20
MOST_METRICS_BYTES = 256 << 20
"""Largest file of metrics, enough for two million lines."""

MOST_LINE_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class Series:
    """One metric of a run: three arrays float64 (N,), sorted by step, with finite values."""

    step: np.ndarray
    seconds: np.ndarray
    value: np.ndarray

    def __len__(self) -> int:
        return len(self.step)


class Metrics(NamedTuple):
    """The content of `metrics.jsonl`."""

    series: dict[str, Series]
    """The series by the metric's name."""
    problems: list[str]
    """Descriptions of what was left out."""
    written: float
    """Time of the last write in seconds since the epoch; 0.0 without a file."""


def is_number(value: Any, largest: float = LARGEST) -> TypeGuard[float]:
    """Whether a value is an int or a float, not a bool, that can be drawn."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -largest <= value <= largest


def is_count(value: Any) -> TypeGuard[float]:
    """Whether a value is a number of steps, frames or episodes."""
    return is_number(value, LARGEST_STEP) and value >= 0


def printable(value: Any) -> str:
    """A name or text from a file as one safe line, as `envs.text.plain`.

    A long text is cut and ends in a digest of the whole text, so different names stay different.
    """
    text = str(value)
    if len(text) <= MOST_CHARACTERS:
        return plain(text)
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=4).hexdigest()
    return f"{plain(text, MOST_CHARACTERS - len(digest) - 1)} {digest}"


def read_json(path: Path, *, needed: bool = True) -> tuple[dict[str, Any], str]:
    """Reads a file with a JSON object.

    Returns:
        The object and "", or {} and a description of the fault. A missing file that is not needed
        is no fault.
    """
    try:
        values = json.loads(read_regular(path, MOST_JSON_BYTES))
    except FileNotFoundError:
        return {}, f"{path.name} is missing" if needed else ""
    except OSError as error:
        return {}, f"{path.name} cannot be read: {error.strerror}"
    except (ValueError, RecursionError):
        return {}, f"{path.name} is damaged"
    return (values, "") if isinstance(values, dict) else ({}, f"{path.name} holds no object")


def read_metrics(path: Path) -> Metrics:
    """Reads the metrics of a run.

    A last line without a line end is still being written, so it does not count as damaged.
    """
    columns: dict[str, array[float]] = {}
    damaged = too_large = 0
    try:
        with open_regular(path, MOST_METRICS_BYTES) as file:
            for line in _lines(file):
                left_out = _take(line, columns)
                too_large += left_out or 0
                damaged += left_out is None and line.endswith(b"\n") and line.strip() != b""
            written = os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return Metrics({}, [], 0.0)
    except OSError as error:
        return Metrics({}, [f"{path.name} cannot be read: {error.strerror}"], 0.0)
    problems = []
    if damaged:
        problems.append(f"{path.name}: {damaged} damaged lines left out")
    if too_large:
        problems.append(f"{path.name}: {too_large} values beyond {LARGEST:g} left out")
    series = {name: _series(column) for name, column in sorted(columns.items())}
    return Metrics(series, problems, written)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yields the lines of a file; a line that is too long comes in parts that are not JSON."""
    yield from iter(lambda: file.readline(MOST_LINE_BYTES), b"")


def _take(line: bytes, columns: dict[str, array[float]]) -> int | None:
    """Adds a line to the columns.

    Returns how many of its values are too large, or None if the line is damaged.
    """
    try:
        record = json.loads(line)
        step = record.pop("step")
        seconds = record.pop("time")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if not (is_number(step, LARGEST_STEP) and is_number(seconds, LARGEST_SECONDS)):
        return None
    too_large = 0
    for name, value in record.items():
        if is_number(value):
            column = columns.setdefault(earlier_names.metric(printable(name)), array("d"))
            column.extend((float(step), float(seconds), float(value)))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            too_large += value == value
    return too_large


def _series(column: array[float]) -> Series:
    rows = np.frombuffer(column).reshape(-1, 3)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    return Series(*(np.ascontiguousarray(each) for each in rows.T))
