"""What runs have written, whatever state it is in: nothing here raises because a file is damaged.

A run is a directory that has a config.json of Joystick's or a metrics.jsonl, or is named like one.
What cannot be read is left out and named in `RunRecord.problems`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.core.runs import earlier_names
from agents.report.liveness import is_training
from agents.report.parsing import Series, is_count, is_number, printable, read_json, read_metrics
from envs import EnvSpec, UserError
from envs.files import entries, is_regular

NAME = re.compile(r".+__\w+__\d+__\d{8}-\d{6}(-\d+)?")
"""`<env>__<algorithm>__<seed>__<time>`, as `Run.create` names a directory."""

DEPTH = 4
"""Folders between the directory that is given and a run."""

RECENT_SECONDS = 600.0
"""Where no lock tells, a run is running when it has written something within these."""

WRITTEN = ("config.json", "metrics.jsonl", "eval.json", "videos")
"""What is read of a run."""

MOST_FRAMESKIP = 10_000

MOST_TIMES_HUMAN = 1e6

FILMS = (".mp4", ".webm")


@dataclass(frozen=True, kw_only=True)
class Score:
    """What whole episodes of some of its weights returned."""

    mean: float
    ci95: float | None = None
    """Half of the mean's 95% interval."""
    human: float | None = None
    """Human-normalized: 0 is random play, 1 a person."""
    step: int = 0
    """Of the weights."""
    episodes: int | None = None
    how: str = ""
    """How it explored: "temperature 0.5"."""
    final: bool
    """From eval.json; else the last evaluation during training."""


@dataclass(frozen=True, eq=False, kw_only=True)
class RunRecord:
    """All there is to know of one run."""

    path: Path
    name: str
    """Its path below the directory that was given."""
    algo: str
    env_id: str
    protocol: str
    seed: int | None
    frameskip: int
    """Frames of an environment step; 1 where steps are of demonstrations."""
    config: dict[str, Any]
    series: dict[str, Series]
    score: Score | None
    videos: tuple[Path, ...]
    """Oldest first."""
    problems: tuple[str, ...]
    written: float
    """When it last wrote metrics, seconds since the epoch; 0.0 for never."""

    @property
    def last(self) -> tuple[float, float]:
        """The last step with a metric, and its seconds of training."""
        ends = [(float(s.step[-1]), float(s.seconds[-1])) for s in self.series.values()]
        return max(ends, default=(0.0, 0.0))

    def score_at(self, step: int | None) -> Score | None:
        """The score of the weights of a step; None where they were not scored."""
        if self.score is not None and self.score.final and self.score.step == step:
            return self.score
        return None if step is None else _evaluation(self.series, step)

    def state(self, now: float | None = None) -> str:
        """One of "finished", "running", "stopped" and "damaged" (no config can be read)."""
        if not self.config:
            return "damaged"
        total = self.config.get("total_steps")
        done = is_number(total) and self.last[0] >= total
        if done or (self.score is not None and self.score.final):
            return "finished"
        training = is_training(self.path)
        if training is None:
            training = (time.time() if now is None else now) - self.written < RECENT_SECONDS
        return "running" if training else "stopped"


class Reader:
    """Reads the runs of a directory again and again, those that have not changed only once."""

    def __init__(self, root: Path):
        self.root = root
        self._known: dict[Path, tuple[list[tuple[int, int]], RunRecord]] = {}

    def read(self) -> tuple[list[RunRecord], list[Path]]:
        """The runs, and the folders that are none; as `find`."""
        paths, foreign = find(self.root)
        known = self._known
        self._known = {}
        for path in paths:
            stamp = [_stamp(path / name) for name in WRITTEN]
            same = path in known and known[path][0] == stamp
            self._known[path] = known[path] if same else (stamp, read_run(path, self.root))
        return [record for _, record in self._known.values()], foreign


def _stamp(path: Path) -> tuple[int, int]:
    """What changes when a file does; (0, 0) where there is none."""
    try:
        status = path.lstat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def find(root: Path) -> tuple[list[Path], list[Path]]:
    """The run directories at or below `root`, and its folders in which there is none.

    A link is not followed, because a page must hold nothing from elsewhere.

    Raises:
        UserError: there is no directory.
    """
    if not root.is_dir():
        raise UserError(f"no directory at {root}")
    runs = sorted(_runs_below(root, DEPTH))
    try:
        folders = sorted(each for each in root.iterdir() if each.is_dir())
    except OSError:
        folders = []
    used = {part for run in runs for part in (run, *run.parents)}
    foreign = [each for each in folders if each not in used and not each.name.startswith(".")]
    return runs, [] if root in runs else foreign


def _runs_below(folder: Path, depth: int) -> Iterator[Path]:
    if is_run(folder):
        yield folder
        return
    try:
        found = [each for each in os.scandir(folder) if each.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for each in found:
        if depth and not each.name.startswith("."):
            yield from _runs_below(Path(each.path), depth - 1)


def is_run(folder: Path) -> bool:
    """Whether a directory is a run, damaged ones included."""
    if is_regular(folder / "metrics.jsonl") or NAME.fullmatch(folder.name):
        return True
    values, _ = read_json(folder / "config.json")
    return "joystick" in values and "algo" in values


def read_run(path: Path, root: Path) -> RunRecord:
    """What a run directory holds; `root` is what its name is relative to."""
    saved, problem = read_json(path / "config.json")
    problems = [problem] if problem else []
    config, fields = (_dictionary(saved, name, problems) for name in ("config", "env_spec"))
    config = earlier_names.settings(config)
    metrics = read_metrics(path / "metrics.jsonl")
    series = metrics.series
    problems += metrics.problems
    final, problem = read_json(path / "eval.json", needed=False)
    problems += [problem] if problem else []
    score = _final_score(final) or _last_evaluation(series)
    if final and not (score and score.final):
        problems.append("eval.json: it has no score")
    skip = fields.get("frameskip", 1)
    studies = "validation/loss" in series
    seed = config.get("seed")
    name = path.relative_to(root).as_posix() if path != root else path.resolve().name
    return RunRecord(
        path=path,
        name=printable(name),
        algo=printable(saved.get("algo", "unknown")),
        env_id=printable(fields.get("env_id", config.get("env_id", "unknown"))),
        protocol=protocol_of(fields, str(config.get("env_id", "unknown"))),
        seed=int(seed) if is_number(seed) else None,
        frameskip=int(skip) if is_number(skip, MOST_FRAMESKIP) and skip >= 1 and not studies else 1,
        config=config,
        series=series,
        score=score,
        videos=videos_of(path),
        problems=tuple(problems),
        written=metrics.written,
    )


def _dictionary(saved: dict[str, Any], name: str, problems: list[str]) -> dict[str, Any]:
    values = saved.get(name, {})
    if saved and (not isinstance(values, dict) or not values):
        problems.append(f"config.json: '{name}' is missing or no object")
    return values if isinstance(values, dict) else {}


def protocol_of(fields: dict[str, Any], otherwise: str) -> str:
    """What scores of an environment are labeled with, from its spec as JSON."""
    try:
        return printable(EnvSpec.from_json(fields).protocol)
    except (UserError, TypeError):
        return printable(fields.get("env_id", otherwise))


def videos_of(path: Path) -> tuple[Path, ...]:
    """The films of a run, which are named by the step of the weights that played."""
    found = [each for each in entries(path / "videos") if each.suffix in FILMS]
    return tuple(each for each in found if is_regular(each) and each.name[0] != ".")


def _final_score(values: dict[str, Any]) -> Score | None:
    """The score of eval.json; None where there is none."""
    known = {
        earlier_names.metric(name): value for name, value in values.items() if is_number(value)
    }
    counts = {name: int(value) for name, value in values.items() if is_count(value)}
    if "eval/return_mean" not in known:
        return None
    hows = [f"{name} {known[name]:g}" for name in ("epsilon", "temperature") if name in known]
    return Score(
        mean=float(known["eval/return_mean"]),
        ci95=known.get("eval/return_ci95"),
        human=_human(known.get("eval/human_normalized")),
        step=counts.get("checkpoint_step", 0),
        episodes=counts.get("episodes"),
        how="".join(hows),
        final=True,
    )


def _human(value: float | None) -> float | None:
    """A human-normalized score, which is shown in percent; None where it is absurd."""
    return value if value is not None and abs(value) <= MOST_TIMES_HUMAN else None


def step_of(video: Path) -> int | None:
    """The step of the weights that play in a film; None where its name is no step."""
    return int(video.stem) if re.fullmatch(r"[0-9]{1,18}", video.stem) else None


def _last_evaluation(series: dict[str, Series]) -> Score | None:
    means = series.get("eval/return_mean")
    return None if means is None else _evaluation(series, means.step[-1])


def _evaluation(series: dict[str, Series], step: float) -> Score | None:
    """The last evaluation at a step; None where there is none."""

    def value(name: str) -> float | None:
        metric = series.get(name)
        if metric is None:
            return None
        after = int(np.searchsorted(metric.step, step, side="right"))
        found = after > 0 and metric.step[after - 1] == step
        return float(metric.value[after - 1]) if found else None

    mean = value("eval/return_mean")
    if mean is None:
        return None
    return Score(
        mean=mean,
        ci95=value("eval/return_ci95"),
        human=_human(value("eval/human_normalized")),
        step=int(step),
        final=False,
    )
