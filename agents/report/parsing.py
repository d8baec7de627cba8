"""The files of a run as they are: half-written, damaged, foreign or missing ones raise nothing."""

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
"""Of a value: axes, sums and products of such numbers are finite too."""

LARGEST_STEP = 2**53
"""The largest that JavaScript counts to."""

LARGEST_SECONDS = 1e10
"""Three centuries."""

MOST_JSON_BYTES = 16 << 20
MOST_METRICS_BYTES = 256 << 20
"""Two million lines of metrics."""

MOST_LINE_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class Series:
    """One metric of a run: float64 (N,) each, by ascending step; all values are finite."""

    step: np.ndarray
    seconds: np.ndarray
    value: np.ndarray

    def __len__(self) -> int:
        return len(self.step)


class Metrics(NamedTuple):
    """What `metrics.jsonl` holds."""

    series: dict[str, Series]
    """By the metric's name."""
    problems: list[str]
    """What is left out, in words."""
    written: float
    """When it was last written, seconds since the epoch; 0.0 for never."""


def is_number(value: Any, largest: float = LARGEST) -> TypeGuard[float]:
    """Whether a value is an int or a float that can be drawn; true is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -largest <= value <= largest


def is_count(value: Any) -> TypeGuard[float]:
    """Whether a value is a number of steps, frames or episodes."""
    return is_number(value, LARGEST_STEP) and value >= 0


def printable(value: Any) -> str:
    """A name or text from a file as one harmless line, as `envs.text.plain`.

    A text that is cut ends in a digest of all of it: different names stay different.
    """
    text = str(value)
    if len(text) <= MOST_CHARACTERS:
        return plain(text)
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=4).hexdigest()
    return f"{plain(text, MOST_CHARACTERS - len(digest) - 1)} {digest}"


def read_json(path: Path, *, needed: bool = True) -> tuple[dict[str, Any], str]:
    """A JSON object and "", or {} and what is wrong with the file."""
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
    """The metrics of a run.

    A last line without its end is being written and is no damage.
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
    """The lines of a file; of a line that is too long its parts, none of which is JSON."""
    while line := file.readline(MOST_LINE_BYTES):
        yield line


def _take(line: bytes, columns: dict[str, array[float]]) -> int | None:
    """Add a line to the columns; how many values are too large, None where it is damaged."""
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
