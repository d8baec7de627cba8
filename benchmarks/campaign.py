"""Many trainings whose rows make one table; a stopped campaign goes on with what is missing."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agents.core.training.config import require
from benchmarks.jobs import Job, run_all
from benchmarks.rows import Rows
from benchmarks.until import result_file
from envs import locks

EVALUATIONS = 10
"""Evaluations of a training, which choose the best weights."""


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


def check(arguments: Any, **lengths: int) -> None:
    """Checks the arguments that all campaigns have.

    Args:
        lengths: steps of trainings, by the name of their argument.

    Raises:
        UserError: a number is out of range.
    """
    for name, value in lengths.items():
        require(value >= EVALUATIONS, name, value, f"at least {EVALUATIONS}")
        require(value % EVALUATIONS == 0, name, value, f"a multiple of {EVALUATIONS}")
    require(arguments.games >= 2, "games", arguments.games, "at least 2")
    for name in ("at_once", "eval_episodes"):
        require(getattr(arguments, name) >= 1, name, getattr(arguments, name), "at least 1")
    require(arguments.minutes >= 0, "minutes", arguments.minutes, "at least 0")
    require(bool(arguments.seeds), "seeds", "", "at least one")


def go_on(arguments: Any, tasks: Callable[[], list[Task]], results: Rows) -> None:
    """Runs what is missing, alone in the campaign's folder, and tells what is missing then.

    Args:
        tasks: makes all trainings of the campaign, after its folder is locked.
    """
    folder = arguments.runs_dir / arguments.name
    folder.mkdir(parents=True, exist_ok=True)
    with locks.alone(folder):
        missing = run_missing(tasks(), results, arguments.at_once, arguments.minutes)
    print(f"{missing} trainings are missing: {results.path}")


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
