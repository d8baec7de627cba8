"""A search trains every candidate with the same seeds, and drops candidates by its stated rule."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import scipy.stats
from conftest import QUIET, TINY, read_metrics
from support.refusals import error_line

from agents.core.runs.run import Run
from benchmarks import jobs, search, until
from benchmarks.halving import Scores, paired, verdicts
from benchmarks.jobs import Job
from envs import UserError

PLAN = """
env: CartPole-v1
rungs: [100, 200]
seeds: [1, 2, 3]
games: 2
candidates:
  plain: dqn
  double: dqn --double
  quantiles: qr_dqn
"""


def test_the_interval_is_students_t_over_the_pairs() -> None:
    ours = {1: 10.0, 2: 12.5, 3: 9.0, 5: 99.0}
    others = {3: 8.5, 2: 11.0, 1: 7.0, 4: -50.0}
    found = paired(ours, others)
    expected = scipy.stats.ttest_rel([10.0, 12.5, 9.0], [7.0, 11.0, 8.5])
    low, high = expected.confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.mean == pytest.approx(5 / 3)


def test_one_pair_tells_nothing() -> None:
    found = paired({1: 10.0}, {1: 7.0})
    assert (found.mean, found.low, found.high) == (3.0, -math.inf, math.inf)


def around(mean: float, *offsets: float) -> Scores:
    """Scores of seeds 1, 2 and so on."""
    return {seed: mean + offset for seed, offset in enumerate(offsets, 1)}


FIVE = {
    "plain": around(5, -1, 0, 1),
    "best": around(10, -1, 0, 1.1),
    "near": around(9.5, 1, 0, -1),
    "third": around(7, -1, 0, 1),
    "last": around(1, -1, 0, 1),
}


def test_those_that_are_surely_worse_are_dropped_but_never_the_best_half() -> None:
    found = verdicts(FIVE, "plain", most=0)
    assert {name: each.decision for name, each in found.items()} == {
        "best": "best",
        "near": "goes on",
        "third": "dropped: worse than the best",
        "plain": "baseline",
        "last": "dropped: worse than the best",
    }
    assert list(found) == ["best", "near", "third", "plain", "last"]
    assert found["last"].worst == 0
    without = {name: FIVE[name] for name in ("plain", "best", "third", "last")}
    # Two of the three rivals go on, though one of the two is surely worse.
    assert verdicts(without, "plain", most=0)["third"].goes_on


def test_no_more_than_the_limit_go_on_beside_the_baseline() -> None:
    found = verdicts(FIVE, "plain", most=1)
    assert [name for name, each in found.items() if each.goes_on] == ["best", "plain"]
    assert found["near"].decision == "dropped: not among the best 1"


def test_without_a_sure_difference_all_go_on() -> None:
    scores = {"plain": around(1, -5, 0, 5), "a": around(3, 5, 0, -5), "b": around(2, 0, 0, 0)}
    assert all(each.goes_on for each in verdicts(scores, "plain", most=0).values())


class Trainings:
    """Stands in for the trainings: gives each run a score."""

    def __init__(self, score: Callable[[str, int, int], float]):
        self.score = score
        self.started: list[str] = []
        self.broken: dict[str, int] = {}

    def run_all(
        self, given: Iterable[Job], at_once: int, ended: Callable[[Job, int], None], stop_at: float
    ) -> bool:
        for job in given:
            self.started.append(job.name)
            job.log.parent.mkdir(parents=True, exist_ok=True)
            words = dict(zip(job.command, job.command[1:], strict=False))
            rung = int(words["--step"])
            code = self.broken.get(job.name, 0)
            if code == 0:
                name = job.log.parent.parent.name
                value = self.score(name, int(words["--seed"]), rung)
                result = {"score": value, "ci95": 1.0}
                until.result_file(job.log.parent, rung).write_text(json.dumps(result))
            else:
                job.log.write_text("many lines\nerror: a loss was not finite\n")
            ended(job, code)
        return True


SCORES = {"plain": 5.0, "double": 7.0, "quantiles": 1.0}


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    found = Trainings(lambda name, seed, rung: SCORES[name] + seed * 0.001 + rung)
    monkeypatch.setattr(search, "run_all", found.run_all)
    return found


def searched(folder: Path, plan: str, *more: str) -> list[str]:
    """Runs the command; returns its arguments."""
    file = folder / "mine.yaml"
    file.write_text(plan)
    words = [str(file), "--runs-dir", str(folder), "--out", str(folder / "out.json"), *more]
    search.main(words)
    return words


def rows(folder: Path) -> list[dict]:
    return json.loads((folder / "out.json").read_text())["result"]["rows"]


def test_a_search_climbs_the_rungs_and_repeats_nothing(
    tmp_path: Path, trainings: Trainings, capsys: pytest.CaptureFixture[str]
) -> None:
    searched(tmp_path, PLAN)
    assert [name.partition(",")[0] for name in trainings.started] == [
        *(["plain", "double", "quantiles"] * 3),
        *(["double", "plain"] * 3),
    ]
    assert len(rows(tmp_path)) == 15
    result = json.loads((tmp_path / "out.json").read_text())["result"]
    assert [(each["rung"], each["candidate"]) for each in result["verdicts"]][3:] == [
        (200, "double"),
        (200, "plain"),
    ]
    assert "best half" in result["rule"]
    assert "dropped: worse than the best" in capsys.readouterr().out
    trainings.started.clear()
    searched(tmp_path, PLAN)
    assert trainings.started == []


def test_a_later_candidate_catches_up(
    tmp_path: Path, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched(tmp_path, PLAN)
    trainings.started.clear()
    monkeypatch.setitem(SCORES, "late", 9.0)
    searched(tmp_path, PLAN + "  late: dqn --dueling\n")
    assert trainings.started == [
        f"late, seed {seed}, step {rung}" for rung in (100, 200) for seed in (1, 2, 3)
    ]


def test_a_rung_may_have_fewer_seeds(tmp_path: Path, trainings: Trainings) -> None:
    searched(tmp_path, PLAN + "rung_seeds: [2, 3]\n")
    assert [name for name in trainings.started if "plain" in name] == [
        "plain, seed 1, step 100",
        "plain, seed 2, step 100",
        *(f"plain, seed {seed}, step 200" for seed in (1, 2, 3)),
    ]


def test_a_candidate_that_fails_is_out_and_the_others_go_on(
    tmp_path: Path, trainings: Trainings, capsys: pytest.CaptureFixture[str]
) -> None:
    trainings.broken["double, seed 2, step 100"] = 1
    searched(tmp_path, PLAN)
    out = capsys.readouterr().out
    assert "failed: seed 2: error: a loss was not finite" in out
    at_end = {row["candidate"] for row in rows(tmp_path) if row["rung"] == 200}
    assert at_end == {"plain", "quantiles"}


def test_a_stopped_run_has_no_row_and_is_begun_again(tmp_path: Path, trainings: Trainings) -> None:
    trainings.broken["double, seed 2, step 100"] = 143
    searched(tmp_path, PLAN)
    assert len(rows(tmp_path)) == 8
    trainings.broken.clear()
    trainings.started.clear()
    searched(tmp_path, PLAN)
    assert trainings.started[0] == "double, seed 2, step 100"
    assert len(rows(tmp_path)) == 15


def test_rows_of_other_settings_are_not_mixed(
    tmp_path: Path, trainings: Trainings, capsys: pytest.CaptureFixture[str]
) -> None:
    searched(tmp_path, PLAN)
    changed = PLAN.replace("dqn --double", "dqn --double --dueling")
    line = error_line(lambda: searched(tmp_path, changed), capsys)
    assert line.startswith("candidate 'double' has rows with settings")
    assert len(rows(tmp_path)) == 15


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ("rungs: [200, 100]", "rungs: must be steps that rise"),
        ("eval_every_steps: 70", "eval_every_steps: must be a divisor of every rung"),
        ("seeds: [1, 1]", "seeds: must be at least one, each once"),
        ("rung_seeds: [3]", "rung_seeds: must be one for each rung"),
        ("rung_seeds: [3, 4]", "rung_seeds: must be from 1 to 3"),
        ("baseline: doble", "baseline: must be one of plain, double, quantiles"),
        ("games: 1", "games: must be at least 2"),
        ("seed: 1", "unknown entry 'seed'"),
        ("rungs: many", "rungs: expected `array`"),
        ("settings: --seed 3", "--seed: must be left to the plan"),
        ("settings: --doubble", "Unrecognized options: --doubble"),
        ("candidates: {a/b: dqn}", "candidates: a/b: must be letters"),
        ("candidates: {a: dqm}", "unknown algorithm 'dqm'"),
        ("candidates: {a: dqn '}", "candidates: a: No closing quotation"),
        ("[", "not YAML"),
    ],
)
def test_a_wrong_plan_is_refused_with_a_line(
    wrong: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = [each for each in PLAN.splitlines() if each.split(":")[0] != wrong.split(":")[0]]
    if wrong.startswith("candidates"):
        kept = [each for each in kept if not each.startswith("  ")]
    found = error_line(lambda: searched(tmp_path, "\n".join([*kept, wrong])), capsys)
    assert line in found
    assert not (tmp_path / "out.json").exists()


def test_a_file_of_another_benchmark_is_not_overwritten(
    tmp_path: Path, trainings: Trainings, capsys: pytest.CaptureFixture[str]
) -> None:
    for content in ('{"benchmark": "speed", "result": {"rows": []}}', "[]", "no"):
        (tmp_path / "out.json").write_text(content)
        assert "out.json" in error_line(lambda: searched(tmp_path, PLAN), capsys)
        assert (tmp_path / "out.json").read_text() == content


RUN = [*TINY["ppo"], *QUIET, "--env", "CartPole-v1", "--seed", "5", "--eval-episodes", "2"]
RUN += ["--total-steps", "1024", "--eval-every-steps", "512"]


def trained_to(folder: Path, step: int, *more: str) -> dict:
    options = ["--algo", "ppo", "--folder", str(folder), "--step", str(step), "--games", "3"]
    until.main([*options, "--", *RUN, *more])
    return json.loads(until.result_file(folder, step).read_text())


def without_times(run: Run) -> list[dict]:
    timed = ("time", "charts/SPS", "charts/memory_gb")
    lines = [{k: v for k, v in line.items() if k not in timed} for line in read_metrics(run)]
    return [line for line in lines if line.keys() != {"step"}]


def test_a_run_that_stops_at_a_rung_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    first = trained_to(tmp_path / "stops", 512)
    assert (first["step"], len(first["returns"])) == (512, 3)
    again = trained_to(tmp_path / "stops", 512)
    assert (again["score"], again["step"]) == (first["score"], 512)
    last = trained_to(tmp_path / "stops", 1024)
    whole = trained_to(tmp_path / "whole", 1024)
    assert last["returns"] == whole["returns"]
    assert [(step, mean) for step, _, mean in last["curve"]] == [
        (step, mean) for step, _, mean in whole["curve"]
    ]
    stopped = until.run_in(tmp_path / "stops")
    unstopped = until.run_in(tmp_path / "whole")
    assert stopped is not None and unstopped is not None
    weights = stopped.weights("last")[0]
    assert all(weights[name].equal(each) for name, each in unstopped.weights("last")[0].items())


def test_a_run_with_other_settings_is_not_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained_to(tmp_path, 512)
    run = until.run_in(tmp_path)
    assert run is not None
    for step in (512, 1024):
        line = error_line(lambda at=step: trained_to(tmp_path, at, "--epochs", "3"), capsys)
        assert line.startswith(f"{run.path} has --epochs 6, and now it is 3: remove the folder")
    assert not until.evaluated(run, 1024)


def test_an_evaluation_that_was_missed_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_to(tmp_path, 512)
    run = until.run_in(tmp_path)
    assert run is not None
    # As after a kill between the checkpoint and the evaluation.
    kept = [line for line in read_metrics(run) if "eval/return_mean" not in line]
    run.metrics_path.write_text("".join(json.dumps(line) + "\n" for line in kept))
    assert not until.evaluated(run, 512)
    trained_to(tmp_path, 1024)
    assert until.evaluated(run, 1024)


def python(name: str, code: str, folder: Path) -> Job:
    return Job(name, [sys.executable, "-c", code], folder / f"{name}.txt")


def test_jobs_run_a_few_at_a_time_and_say_how_they_ended(tmp_path: Path) -> None:
    codes: dict[str, int] = {}
    given = [python(str(n), f"print('job {n}'); raise SystemExit({n})", tmp_path) for n in range(3)]
    assert jobs.run_all(given, 2, lambda job, code: codes.update({job.name: code}))
    assert codes == {"0": 0, "1": 1, "2": 2}
    assert given[2].last_line() == "job 2"


LAST_WORDS = """
import signal, time
def leave(*signum):
    print("saved", flush=True)
    raise SystemExit(143)
signal.signal(signal.SIGTERM, leave)
print("ready", flush=True)
time.sleep(60)
"""


def test_when_the_time_is_over_jobs_end_by_a_signal_and_no_more_begin(tmp_path: Path) -> None:
    given = [python("long", LAST_WORDS, tmp_path), python("next", "", tmp_path)]
    ended: list[Job] = []
    start = time.monotonic()
    in_time = jobs.run_all(given, 1, lambda job, code: ended.append(job), start + 2)
    assert not in_time and ended == []
    assert time.monotonic() - start < 30
    assert given[0].last_line() == "saved"
    assert not given[1].log.exists()


def test_an_error_of_ours_ends_the_jobs_too(tmp_path: Path) -> None:
    given = [python("long", LAST_WORDS, tmp_path), python("short", "", tmp_path)]

    def refuse(job: Job, code: int) -> None:
        while given[0].last_line() != "ready":
            time.sleep(0.05)
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        jobs.run_all(given, 2, refuse)
    assert given[0].last_line() == "saved"
