"""Many trainings whose rows make one table; a stopped campaign goes on with what is missing."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from typing import Any

from benchmarks.jobs import Job, run_all
from benchmarks.rows import Rows
from benchmarks.until import result_file


@dataclass(frozen=True)
class Task:
    """A training that makes one row.

    Attributes:
        job: trains and scores an agent in the folder of its log.
        step: the step at which it is scored.
        key: the entries that tell the row from others.
        about: further entries of the row.
    """

    job: Job
    step: int
    key: dict[str, Any]
    about: dict[str, Any]


def has(row: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether a row has all wanted entries."""
    return wanted.items() <= {name: row.get(name) for name in wanted}.items()


def run_missing(tasks: list[Task], results: Rows, at_once: int, minutes: float) -> int:
    """Runs the trainings that have no row yet; returns how many rows are still missing.

    Args:
        at_once: the number of trainings at the same time.
        minutes: the length of this sitting; 0 goes on to the end.
    """
    missing = [task for task in tasks if not any(has(row, task.key) for row in results.rows)]
    steps = sorted({task.step for task in missing})
    about = f" of {' or '.join(f'{each:,}' for each in steps)} steps" if steps else ""
    print(f"{len(missing)} trainings{about}", flush=True)
    by_job = {task.job: task for task in missing}
    before = len(results.rows)
    stop_at = time.monotonic() + 60 * minutes if minutes else math.inf
    run_all(by_job, at_once, lambda job, code: keep(by_job[job], results, code), stop_at)
    return len(missing) - (len(results.rows) - before)


def keep(task: Task, results: Rows, code: int) -> None:
    """Adds the row of a training that ended; one that was stopped or failed gets none."""
    if code:
        print(f"{task.job.name}: exit code {code}: {task.job.last_line()}", flush=True)
        return
    found = json.loads(result_file(task.job.log.parent, task.step).read_text("utf-8"))
    results.add(task.key | task.about | found)
    print(f"{task.job.name}: {found['score']:.2f} ± {found['ci95']:.2f}", flush=True)
