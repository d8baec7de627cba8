"""Reads runs in any state; a damaged file raises no error.

A run is a directory with Joystick's config.json or a metrics.jsonl, or with the name of a run.
Unreadable parts are left out, and `RunRecord.problems` names them.
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

from agents.core.data.confusion import MOST_ACTIONS
from agents.core.runs import earlier_names
from agents.report.liveness import is_training
from agents.report.parsing import Series, is_count, is_number, printable, read_json, read_metrics
from envs import EnvSpec, UserError
from envs.files import entries, is_regular

NAME = re.compile(r".+__\w+__\d+__\d{8}-\d{6}(-\d+)?")
"""The name of a run's directory, `<env>__<algorithm>__<seed>__<time>`, as `Run.create` makes it."""

DEPTH = 4
"""Largest number of folders between the given directory and a run."""

RECENT_SECONDS = 600.0
"""A run without a lock counts as running if it wrote metrics within this time."""

WRITTEN = ("config.json", "metrics.jsonl", "eval.json", "confusion.json", "videos")
"""The files and folders of a run that are read."""

MOST_FRAMESKIP = 10_000

MOST_TIMES_HUMAN = 1e6
"""A larger human-normalized score is taken for damage."""

FILMS = (".mp4", ".webm")


@dataclass(frozen=True, kw_only=True)
class Score:
    """The mean return over whole episodes, with the weights of one step."""

    mean: float
    ci95: float | None = None
    """Half the width of the mean's 95% interval."""
    human: float | None = None
    """Human-normalized score: 0 is random play, 1 is a person."""
    step: int = 0
    """Step of the weights."""
    episodes: int | None = None
    """Number of episodes."""
    how: str = ""
    """The exploration, such as "temperature 0.5"."""
    final: bool
    """The score is from eval.json; otherwise it is from an evaluation during training."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """How often a clone chose each action where its demonstrator chose each."""

    step: int
    """Step of the validation."""
    actions: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    """A row is an action of the demonstrator, a column one of the clone."""


@dataclass(frozen=True, eq=False, kw_only=True)
class RunRecord:
    """The facts that a run's directory holds."""

    path: Path
    name: str
    """Path of the run below the given directory."""
    algo: str
    env_id: str
    protocol: str
    seed: int | None
    frameskip: int
    """Frames per environment step; 1 if the steps are of demonstrations."""
    config: dict[str, Any]
    series: dict[str, Series]
    score: Score | None
    choices: Choices | None
    """None if no validation has counted a clone's choices."""
    videos: tuple[Path, ...]
    """Films, oldest first."""
    problems: tuple[str, ...]
    """Descriptions of unreadable parts."""
    written: float
    """Time of the last write of metrics in seconds since the epoch; 0.0 without metrics."""

    @property
    def last(self) -> tuple[float, float]:
        """The last step with a metric, and the seconds of training until then."""
        ends = [(float(s.step[-1]), float(s.seconds[-1])) for s in self.series.values()]
        return max(ends, default=(0.0, 0.0))

    def score_at(self, step: int | None) -> Score | None:
        """The score of the weights at a step; None if they were not scored."""
        if self.score is not None and self.score.final and self.score.step == step:
            return self.score
        return None if step is None else _evaluation(self.series, step)

    def state(self, now: float | None = None) -> str:
        """The state: "finished", "running", "stopped", or "damaged" without a readable config.

        Args:
            now: the current time in seconds since the epoch; None asks the clock.
        """
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
    """Reads the runs of a directory repeatedly, and each unchanged run only once."""

    def __init__(self, root: Path):
        self.root = root
        self._known: dict[Path, tuple[list[tuple[int, int]], RunRecord]] = {}

    def read(self) -> tuple[list[RunRecord], list[Path]]:
        """Returns the runs, and the folders without a run, as `find`."""
        paths, foreign = find(self.root)
        known = self._known
        self._known = {}
        for path in paths:
            stamp = [_stamp(path / name) for name in WRITTEN]
            same = path in known and known[path][0] == stamp
            self._known[path] = known[path] if same else (stamp, read_run(path, self.root))
        return [record for _, record in self._known.values()], foreign


def _stamp(path: Path) -> tuple[int, int]:
    """The time of change and the size of a file; (0, 0) if it is missing."""
    try:
        status = path.lstat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def find(root: Path) -> tuple[list[Path], list[Path]]:
    """Finds the run directories at or below `root`, and the folders of `root` without a run.

    It follows no link, because a page must not show files from elsewhere.

    Raises:
        UserError: `root` is not a directory.
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
    """Whether a directory is a run, possibly a damaged one."""
    if is_regular(folder / "metrics.jsonl") or NAME.fullmatch(folder.name):
        return True
    values, _ = read_json(folder / "config.json")
    return "joystick" in values and "algo" in values


def read_run(path: Path, root: Path) -> RunRecord:
    """Reads a run directory.

    Args:
        root: the directory to which the run's name is relative.
    """
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
    choices, problem = read_choices(path / "confusion.json")
    problems += [problem] if problem else []
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
        choices=choices,
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
    """The label of an environment's scores, from its spec as JSON.

    Args:
        otherwise: the label if the spec is damaged and names no environment.
    """
    try:
        return printable(EnvSpec.from_json(fields).protocol)
    except (UserError, TypeError):
        return printable(fields.get("env_id", otherwise))


def videos_of(path: Path) -> tuple[Path, ...]:
    """The films of a run; the name of a film is the step of the weights that played."""
    found = [each for each in entries(path / "videos") if each.suffix in FILMS]
    return tuple(each for each in found if is_regular(each) and each.name[0] != ".")


def _final_score(values: dict[str, Any]) -> Score | None:
    """The score in eval.json, or None if there is none."""
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


def read_choices(path: Path) -> tuple[Choices | None, str]:
    """Reads a confusion.json; returns the choices, if there are some, and the problem or ""."""
    values, problem = read_json(path, needed=False)
    if not values:
        return None, problem
    actions: Any = values.get("actions")
    counts: Any = values.get("counts")
    if not (is_count(values.get("step")) and _is_table(actions, counts)):
        return None, f"{path.name} has no table of choices"
    names = tuple(printable(each) for each in actions)
    rows = tuple(tuple(int(count) for count in row) for row in counts)
    return Choices(step=int(values["step"]), actions=names, counts=rows), ""


def _is_table(actions: Any, counts: Any) -> bool:
    """Whether there are names of actions, and a row and a column of counts for each."""
    if not isinstance(actions, list) or not 1 <= len(actions) <= MOST_ACTIONS:
        return False
    if not isinstance(counts, list) or len(counts) != len(actions):
        return False
    return all(
        isinstance(row, list) and len(row) == len(actions) and all(map(is_count, row))
        for row in counts
    )


def _human(value: float | None) -> float | None:
    """A human-normalized score, or None if it is absurdly large."""
    return value if value is not None and abs(value) <= MOST_TIMES_HUMAN else None


def step_of(video: Path) -> int | None:
    """The step of the weights that play in a film; None if the film's name is not a step."""
    return int(video.stem) if re.fullmatch(r"[0-9]{1,18}", video.stem) else None


def _last_evaluation(series: dict[str, Series]) -> Score | None:
    means = series.get("eval/return_mean")
    return None if means is None else _evaluation(series, means.step[-1])


def _evaluation(series: dict[str, Series], step: float) -> Score | None:
    """The last evaluation at a step, or None if there is none."""

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
