"""The table of imitators: which trainings it needs, its shares, intervals, CSV and picture."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.refusals import error_line

from benchmarks import imitation, imitation_table
from benchmarks.campaign import Task, keep, run_missing
from benchmarks.jobs import Job
from benchmarks.rows import Rows


def row(agent: str, count: int, seed: int, returns: list[float], **more: Any) -> dict[str, Any]:
    return {
        "agent": agent,
        "env": "Pong",
        "demonstrations": count,
        "seed": seed,
        "steps": 100,
        "environment_steps": 100,
        "score": float(np.mean(returns)),
        "ci95": 1.0,
        "returns": returns,
        "games": len(returns),
        "random": -20.0,
        "demonstrator": 20.0,
        "dataset": "pong-v1",
        "protocol": "Pong protocol",
        "minutes": 2.0,
        "cpu_minutes": 1.5,
        "best_step": 100,
        "cpu": "a processor",
        **more,
    }


def tasks(*words: str) -> list[Task]:
    arguments = imitation.Arguments(env="CartPole-v1", **parsed(*words))
    return imitation.tasks(arguments)


def parsed(*words: str) -> dict[str, Any]:
    return {word.partition("=")[0]: eval_tuple(word.partition("=")[2]) for word in words}


def eval_tuple(text: str) -> Any:
    """A text, or a tuple of texts or numbers."""
    parts = text.split(",")
    if len(parts) == 1:
        return text
    return tuple(int(each) if each.isdigit() else each for each in parts if each)


def test_each_agent_has_a_training_for_each_number_of_demonstrations_and_seed() -> None:
    found = tasks("algos=bc,gail,dqn", "counts=1,5,20", "seeds=1,2")
    keys = [(t.key["agent"], t.key["demonstrations"], t.key["seed"]) for t in found]
    # The dataset has 10 episodes, so that 20 are left out. DQN has no demonstrations.
    each = [("bc", 1), ("bc", 5), ("gail", 1), ("gail", 5), ("dqn", 0)]
    assert keys == [(*pair, seed) for seed in (1, 2) for pair in each]
    steps = {t.key["agent"]: (t.step, t.about["environment_steps"]) for t in found}
    assert steps == {"bc": (400_000, 0), "gail": (100_000, 100_000), "dqn": (100_000, 100_000)}
    clone = " ".join(found[0].job.command)
    assert "--demos auto --num-demos 1 --validation-share 0" in clone
    assert "--eval-every-steps 40000" in clone
    assert "--num-demos" not in " ".join(found[4].job.command)
    assert found[0].about["demonstrator"] == 500.0
    assert 15 < found[0].about["random"] < 30


def test_dagger_has_an_expert_and_games_in_its_rounds() -> None:
    found = tasks("algos=dagger,", "counts=4,", "seeds=1,", "expert=runs/x")
    assert found[0].job.command[-4:] == ["--expert", "runs/x", "--games-per-round", "4"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--algos", "gial"], "--algos gial: must be one of bc, sqil"),
        (["--algos", "dagger"], "--algos dagger: needs --expert"),
        (["--steps", "15"], "--steps 15: must be a multiple of 10"),
        (["--samples", "5"], "--samples 5: must be at least 10"),
        (["--counts", "0"], "--counts 0: must be at least 1"),
        (["--games", "1"], "--games 1: must be at least 2"),
        (["--demos", "nowhere"], "no dataset at 'nowhere'"),
    ],
)
def test_bad_arguments_are_one_line(
    words: list[str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--runs-dir", str(tmp_path), "--out", str(tmp_path / "rows.json")]
    error = error_line(lambda: imitation.main([*words, *places]), capsys)
    assert why in error


def test_a_share_is_the_way_from_random_play_to_the_demonstrator() -> None:
    shares = [imitation_table.share(score, row("bc", 1, 1, [0.0])) for score in (-20, 0, 20, 30)]
    assert shares == [0.0, 0.5, 1.0, 1.25]


def test_the_interval_draws_games_within_seeds_and_never_seeds() -> None:
    # Seeds that differ much, whose games are equal: nothing is uncertain.
    equal = [row("bc", 1, 1, [-20.0] * 5), row("bc", 1, 2, [20.0] * 5)]
    assert imitation_table.interval(equal) == (0.5, 0.5)
    spread = [row("bc", 1, 1, [-20.0, 20.0] * 20), row("bc", 1, 2, [0.0] * 40)]
    low, high = imitation_table.interval(spread)
    # The mean share of a seed has the deviation 0.5 / √40, and the mean of two has half of it.
    half = 1.96 * 0.5 / 40**0.5 / 2
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half), abs=0.01)


ROWS = [
    row("bc", 1, 1, [0.0, 0.0], environment_steps=0),
    row("bc", 5, 1, [20.0, 20.0], environment_steps=0),
    row("gail", 1, 1, [-20.0, -20.0]),
    row("gail", 1, 2, [-10.0, -10.0]),
    row("dqn", 0, 1, [10.0, 10.0], cpu_minutes=None),
]


def test_the_table_by_hand() -> None:
    lines = imitation_table.markdown(ROWS).splitlines()
    assert lines[0] == (
        "`Pong protocol`, pong-v1 (20.0 on average; random play -20.0), 100 steps of the"
        " environment, scores of 2 games, a processor:"
    )
    head = (
        "| Agent | Environment steps | 1 demonstration | 5 demonstrations | Seeds | CPU minutes |"
    )
    assert lines[2] == head
    assert lines[4:] == [
        "| bc | 0 | **50%** (50% to 50%), 0.0 | **100%** (100% to 100%), 20.0 | 1 | 1.5 |",
        "| gail | 100 | **12%** (12% to 12%), -15.0 | – | 1, 2 | 1.5 |",
        "| dqn | 100 | **75%** (75% to 75%), 10.0 | – | 1 |  |",
    ]
    assert imitation_table.markdown([]) == "no rows yet"


def test_clones_are_beside_each_number_of_steps() -> None:
    longer = row("gail", 1, 1, [0.0, 0.0], environment_steps=900, steps=900)
    text = imitation_table.markdown([*ROWS, longer])
    assert text.count("| bc | 0 |") == 2 and text.count("| gail |") == 2


def test_the_csv_has_a_line_for_each_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    imitation_table.write_csv(ROWS, path)
    with path.open() as file:
        found = list(csv.DictReader(file))
    assert [each["share"] for each in found] == ["0.5", "1.0", "0.0", "0.25", "0.75"]
    assert found[0]["dataset"] == "pong-v1" and found[-1]["cpu_minutes"] == ""


def test_the_picture_is_a_png_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "table.png"
    imitation_table.draw(ROWS, path)
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    words = ["--table", "--out", str(tmp_path / "none.json"), "--picture"]
    error = error_line(lambda: imitation.main([*words, str(path)]), capsys)
    assert error == "--picture: there are no rows yet"
    error = error_line(lambda: imitation.main([*words, str(tmp_path / "table.svg")]), capsys)
    assert "must end in .png" in error


def campaign_task(folder: Path, seed: int, code: str = "") -> Task:
    """A task whose process writes a result with the seed as its score."""
    write = (
        f"import json, pathlib; pathlib.Path({str(folder / str(seed) / 'at-7.json')!r})"
        f".write_text(json.dumps({{'score': {seed}, 'ci95': 0.5}}))"
    )
    job = Job(f"seed {seed}", [sys.executable, "-c", code or write], folder / str(seed) / "log.txt")
    return Task(job, 7, {"agent": "a", "seed": seed}, {"preset": "auto"})


def test_a_campaign_runs_what_is_missing_and_keeps_what_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = Rows(tmp_path / "rows.json", "campaign")
    results.add({"agent": "a", "seed": 1, "score": 9.0})
    fails = campaign_task(tmp_path, 3, "print('no luck'); raise SystemExit(2)")
    given = [campaign_task(tmp_path, 1), campaign_task(tmp_path, 2), fails]
    assert run_missing(given, results, at_once=2, minutes=0.0) == 1
    out = capsys.readouterr().out
    assert "2 trainings of 7 steps" in out
    assert "seed 2: 2.00 ± 0.50" in out and "seed 3: exit code 2: no luck" in out
    again = json.loads((tmp_path / "rows.json").read_text())["result"]["rows"]
    assert [(each["seed"], each["score"]) for each in again] == [(1, 9.0), (2, 2)]
    assert again[1]["preset"] == "auto"


def test_a_training_that_failed_adds_no_row(tmp_path: Path) -> None:
    results = Rows(tmp_path / "rows.json", "campaign")
    task = campaign_task(tmp_path, 1)
    task.job.log.parent.mkdir()
    task.job.log.write_text("stopped\n")
    keep(task, results, 143)
    assert results.rows == []
