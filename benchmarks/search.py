"""Searches settings as a statistician would: many seeds, paired differences, successive halving.

    python -m benchmarks.search search.yaml --minutes 55
    python -m benchmarks.search search.yaml --table

The file names the candidates and the rungs:

    env: Pong
    rungs: [250_000, 500_000, 1_000_000]
    candidates:
      default: dqn
      soft: dqn --double --learning-rate 5e-4

Every candidate trains with the same seeds, one thread a run, two runs at a time. A run has its full
length from the start, and stops at a rung with a checkpoint. So its schedules are the final ones.
A run's score is the mean return over whole games of its best weights so far. The rule that drops
candidates is in `benchmarks.halving`, and in the result file.

The same command goes on where an earlier one stopped: runs that are scored stay, and others go on
from their checkpoints. `--minutes` limits one sitting. A candidate that is added later catches up.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

from agents.core.training.config import require
from benchmarks import search_plan
from benchmarks.halving import RULE, Difference, Scores, Verdict, verdicts
from benchmarks.jobs import Job, run_all
from benchmarks.machine import RESULTS
from benchmarks.rows import Rows
from benchmarks.search_plan import Plan
from benchmarks.until import result_file
from envs import UserError, command_line, locks
from envs.entry import command as one_line_errors
from envs.files import portable_name

WIDTH = 140
"""Smallest width of the tables in columns, also in a log."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    plan: tyro.conf.Positional[Path]  # File with the candidates, in YAML.
    minutes: float = 0.0  # Length of this sitting; 0 goes on to the end.
    at_once: int = 2  # Runs at the same time.
    table: bool = False  # Only print the table of the rows so far.
    runs_dir: Path = Path("runs/search")  # Folder of the runs, in a folder of the plan's name.
    out: Path | None = None  # Result file; None is benchmarks/results/search-<plan>.json.


@dataclass(frozen=True)
class Search:
    """A plan, the folder of its runs and the file of its results."""

    plan: Plan
    folder: Path
    results: Rows

    def key(self, name: str, seed: int, rung: int) -> dict[str, Any]:
        """The entries that tell a row of the results from others."""
        candidate = self.plan.candidate(name)
        return {
            "candidate": name,
            "algo": candidate.algo,
            "settings": shlex.join(candidate.settings),
            "games": self.plan.games,
            "seed": seed,
            "rung": rung,
        }

    def row(self, name: str, seed: int, rung: int) -> dict[str, Any] | None:
        """The row of a run at a rung, or None.

        Raises:
            UserError: the candidate's rows have other settings than the plan.
        """
        key = self.key(name, seed, rung)
        for row in self.results.rows:
            if all(row[each] == key[each] for each in ("candidate", "seed", "rung")):
                changed = [each for each in key if row[each] != key[each]]
                if changed:
                    what = f"{changed[0]} '{row[changed[0]]}'"
                    raise UserError(f"candidate '{name}' has rows with {what}; give it a new name")
                return row
        return None

    def job(self, name: str, seed: int, rung: int) -> Job:
        """The job that trains a run to a rung and scores it."""
        candidate = self.plan.candidate(name)
        folder = self.folder / name / str(seed)
        command = [
            *(sys.executable, "-m", "benchmarks.until", "--algo", candidate.algo),
            *("--folder", str(folder), "--step", str(rung), "--games", str(self.plan.games)),
            *("--threads", str(self.plan.threads), "--", *candidate.settings, "--seed", str(seed)),
        ]
        return Job(f"{name}, seed {seed}, step {rung:,}", command, folder / "log.txt")

    def missing(self, rung: int, names: list[str]) -> dict[Job, tuple[str, int]]:
        """The jobs of a rung that have no row yet, with candidate and seed.

        All candidates train with one seed before any trains with the next one.
        """
        return {
            self.job(name, seed, rung): (name, seed)
            for seed in self.plan.seeds_of(rung)
            for name in names
            if self.row(name, seed, rung) is None
        }

    def keep(self, jobs: dict[Job, tuple[str, int]], rung: int, job: Job, code: int) -> None:
        """Adds the row of a run that ended with an exit code; a stopped run gets none."""
        key = self.key(*jobs[job], rung)
        if code == 0:
            file = result_file(job.log.parent, rung)
            found = json.loads(file.read_text("utf-8"))
            self.results.add(key | found)
            print(f"{job.name}: {found['score']:.2f} ± {found['ci95']:.2f}", flush=True)
        elif code == 1:
            self.results.add(key | {"score": None, "error": job.last_line()})
            print(f"{job.name}: {job.last_line()}", flush=True)
        else:
            print(f"{job.name}: stopped with exit code {code}: {job.last_line()}", flush=True)

    def scores(self, rung: int, names: list[str]) -> dict[str, Scores]:
        """The scores of the candidates whose runs of a rung all have one."""
        found: dict[str, Scores] = {}
        for name in names:
            rows = {seed: self.row(name, seed, rung) for seed in self.plan.seeds_of(rung)}
            scores = {seed: row["score"] for seed, row in rows.items() if row is not None}
            if len(scores) == len(rows) and None not in scores.values():
                found[name] = scores
        return found

    def failed(self, rung: int, names: list[str]) -> dict[str, str]:
        """The errors of the candidates of which a run failed."""
        found: dict[str, str] = {}
        for name in names:
            for seed in self.plan.seeds_of(rung):
                row = self.row(name, seed, rung)
                if row is not None and row["score"] is None:
                    found[name] = f"failed: seed {seed}: {row['error']}"
        return found

    def finished(self, rung: int, names: list[str]) -> bool:
        """Whether every candidate has all its scores of a rung, or failed."""
        return self.scores(rung, names).keys() | self.failed(rung, names).keys() == {*names}

    def ladder(self) -> list[tuple[int, dict[str, Verdict], dict[str, str]]]:
        """The verdicts and the failures of each rung that is finished, from the first."""
        climbed: list[tuple[int, dict[str, Verdict], dict[str, str]]] = []
        names = list(self.plan.candidates)
        for rung in self.plan.rungs:
            if not self.finished(rung, names):
                break
            scores = self.scores(rung, names)
            if self.plan.control not in scores:
                raise UserError(f"the baseline '{self.plan.control}' failed at step {rung:,}")
            found = verdicts(scores, self.plan.control, self.plan.most)
            climbed.append((rung, found, self.failed(rung, names)))
            names = [name for name, each in found.items() if each.goes_on]
        return climbed

    def climb(self, at_once: int, stop_at: float) -> bool:
        """Runs what is missing, rung by rung; returns whether the search is at its end."""
        while True:
            climbed = self.ladder()
            self.note(climbed)
            if len(climbed) == len(self.plan.rungs):
                return True
            rung = self.plan.rungs[len(climbed)]
            names = list(self.plan.candidates)
            if climbed:
                names = [name for name, each in climbed[-1][1].items() if each.goes_on]
            jobs = self.missing(rung, names)

            print(f"step {rung:,}: {len(jobs)} runs of {', '.join(names)}", flush=True)
            in_time = run_all(jobs, at_once, partial(self.keep, jobs, rung), stop_at)
            if not in_time or not self.finished(rung, names):
                return False

    def note(self, climbed: list[tuple[int, dict[str, Verdict], dict[str, str]]]) -> None:
        """Writes the plan, the rule and the verdicts so far beside the rows."""
        told = [
            {"rung": rung, "candidate": name, **finite(dataclasses.asdict(each))}
            for rung, found, _ in climbed
            for name, each in found.items()
        ]
        self.results.write(plan=dataclasses.asdict(self.plan), rule=RULE, verdicts=told)


def finite(value: Any) -> Any:
    """The same JSON values with None for infinities, which JSON lacks."""
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    return None if isinstance(value, float) and math.isinf(value) else value


def shown(difference: Difference | None) -> str:
    """A difference with its interval, as "-0.52 (-1.10 to 0.06)"; "" for None."""
    if difference is None:
        return ""
    return f"{difference.mean:.2f} ({difference.low:.2f} to {difference.high:.2f})"


def show(search: Search) -> None:
    """Prints a table for each finished rung, and the scores of the unfinished one."""
    console = Console()
    console.width = max(console.width, WIDTH)
    control = search.plan.control
    climbed = search.ladder()
    for rung, found, failed in climbed:
        title = f"{search.plan.env}, step {rung:,}, {search.plan.games} games"
        table = Table(title=title, box=None, pad_edge=False, title_justify="left")
        for name in ("candidate", "mean", "worst", "seeds", f"to {control}", "to best", "decision"):
            table.add_column(name, overflow="fold")
        for name, each in found.items():
            about = (f"{each.mean:.2f}", f"{each.worst:.2f}", str(each.seeds))
            differences = (shown(each.to_baseline), shown(each.to_best))
            table.add_row(name, *about, *differences, each.decision)
        for name, why in failed.items():
            table.add_row(name, "", "", "", "", "", why)
        console.print(table)
    if len(climbed) < len(search.plan.rungs):
        rung = search.plan.rungs[len(climbed)]
        for name in search.plan.candidates:
            rows = [search.row(name, seed, rung) for seed in search.plan.seeds_of(rung)]
            scores = [f"{row['score']:.2f}" for row in rows if row and row["score"] is not None]
            if scores:
                console.print(f"step {rung:,}, {name}: {', '.join(scores)}", highlight=False)


def opened(arguments: Arguments) -> Search:
    """The search of the command line's plan, with the rows that it has."""
    plan = search_plan.read(arguments.plan)
    name = portable_name(arguments.plan.stem)
    out = arguments.out or RESULTS / f"search-{name}.json"
    return Search(plan, arguments.runs_dir / name, Rows(out, f"search-{name}"))


def main(args: list[str] | None = None) -> None:
    with one_line_errors():
        arguments = command_line.parse(
            Arguments, args=args, prog="python -m benchmarks.search", description=__doc__
        )
        require(arguments.minutes >= 0, "minutes", arguments.minutes, "at least 0")
        require(arguments.at_once >= 1, "at_once", arguments.at_once, "at least 1")
        search = opened(arguments)
        if arguments.table:
            show(search)
            return
        search.folder.mkdir(parents=True, exist_ok=True)
        stop_at = time.monotonic() + 60 * arguments.minutes if arguments.minutes else math.inf
        with locks.alone(search.folder):
            at_end = search.climb(arguments.at_once, stop_at)
        show(search)
        print(f"{'the end' if at_end else 'not at its end'}: {search.results.path}")


if __name__ == "__main__":
    main()
