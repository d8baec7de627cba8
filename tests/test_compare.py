"""A comparison trains each agent once, and its table says no more than its rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.refusals import error_line

from agents.core.training.algorithms import algorithms
from benchmarks import campaign, compare, compare_table, peer, published, until
from benchmarks.jobs import Job
from benchmarks.peer_settings import PEERS, PeerSettings

ROOT = Path(__file__).parents[1]


class Trainings:
    """Stands in for the trainings."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.code = 0

    def run_all(
        self, given: Iterable[Job], at_once: int, ended: Callable[[Job, int], None], stop_at: float
    ) -> bool:
        for job in given:
            self.started.append(job.name)
            job.log.parent.mkdir(parents=True, exist_ok=True)
            job.log.write_text("error: no\n")
            file = until.result_file(job.log.parent, 1000)
            file.write_text(json.dumps(result(score=float(len(self.started)))))
            ended(job, self.code)
        return True


def result(**changed: Any) -> dict[str, Any]:
    """What a training writes."""
    return {
        "score": 10.0,
        "ci95": 0.5,
        "protocol": "CartPole-v1",
        "cpu_minutes": 1.0,
        "minutes": 2.0,
        "steps_per_second": 1500.0,
        "curve": [[500, 1.0, 7.0], [1000, 2.0, 9.0]],
        "exploration": {"temperature": 0.0},
        **changed,
    }


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    found = Trainings()
    monkeypatch.setattr(campaign, "run_all", found.run_all)
    return found


def compared(folder: Path, *words: str) -> None:
    out = ["--runs-dir", str(folder), "--out", str(folder / "out.json")]
    compare.main(["--env", "CartPole-v1", "--steps", "1000", "--games", "2", *out, *words])


def test_a_row_that_is_there_is_not_trained_again(tmp_path: Path, trainings: Trainings) -> None:
    words = ("--algos", "ppo", "dqn", "--seeds", "1", "2")
    compared(tmp_path, *words)
    assert trainings.started == ["ppo, seed 1", "dqn, seed 1", "ppo, seed 2", "dqn, seed 2"]
    trainings.started.clear()
    compared(tmp_path, "--algos", "ppo", "dqn", "--seeds", "1", "2", "3")
    assert trainings.started == ["ppo, seed 3", "dqn, seed 3"]
    rows = json.loads((tmp_path / "out.json").read_text())["result"]["rows"]
    assert [(row["agent"], row["seed"], row["score"]) for row in rows][3:5] == [
        ("dqn", 2, 4.0),
        ("ppo", 3, 1.0),
    ]
    assert all(row["commit"] is None or len(row["commit"]) >= 7 for row in rows)


def test_a_training_that_failed_is_missing(
    tmp_path: Path, trainings: Trainings, capsys: pytest.CaptureFixture[str]
) -> None:
    trainings.code = 1
    compared(tmp_path, "--algos", "ppo", "--seeds", "1")
    assert not (tmp_path / "out.json").exists()
    out = capsys.readouterr().out
    assert "ppo, seed 1: exit code 1: error: no" in out
    assert "1 trainings are missing" in out


def test_by_default_all_agents_train_that_fit_the_task() -> None:
    discrete = compare.chosen(compare.Arguments(env="CartPole-v1"))
    continuous = compare.chosen(compare.Arguments(env="Pendulum-v1"))
    assert {"a2c", "dqn", "ppo", "qr_dqn", "reinforce"} <= {*discrete} <= {*algorithms()}
    assert {"a2c", "ppo", "reinforce"} <= {*continuous}
    assert not {"bc", "dqn", "qr_dqn"} & {*continuous}
    assert "bc" not in discrete


def test_a_continuous_task_has_the_preset_for_it() -> None:
    assert compare.preset_of("ppo", "Pendulum-v1") == "continuous"
    assert compare.preset_of("a2c", "Pendulum-v1") == "auto"
    assert compare.preset_of("ppo", "CartPole-v1") == "auto"


def test_without_steps_a_task_has_its_usual_length() -> None:
    assert compare.Arguments(env="Pong").length == 500_000
    assert compare.Arguments(env="CartPole-v1").length == 100_000
    assert compare.Arguments(env="CartPole-v1", steps=50).name == "compare-CartPole-v1-50"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--algos dqm", "unknown algorithm 'dqm'"),
        ("--algos bc", "--algos bc: it learns from demonstrations"),
        ("--algos sb3-pp", "unknown peer 'sb3-pp'"),
        ("--algos sb3-sac", "sb3-sac has settings for Pendulum-v1, HalfCheetah-v5, Hopper-v5, not"),
        ("--env Pendulum-v1 --algos dqn", "--algos dqn: "),
        ("--steps 1005", "--steps 1005: must be a multiple of 10"),
        ("--games 1", "--games 1: must be at least 2"),
        ("--at-once 0", "--at-once 0: must be at least 1"),
        ("--env CartPoole-v1", "unknown environment 'CartPoole-v1'"),
        ("--page nowhere.md", "nowhere.md: No such file"),
    ],
)
def test_bad_input_is_refused_with_a_line(
    words: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert error_line(lambda: compared(tmp_path, *words.split()), capsys).startswith(line)
    assert not (tmp_path / "out.json").exists()


def row(agent: str, seed: int, **changed: Any) -> dict[str, Any]:
    about = {"agent": agent, "env": "CartPole-v1", "steps": 1000, "seed": seed, "games": 30}
    return {**about, "preset": "auto", "cpu": "a CPU", **result(**changed)}


def test_the_table_has_each_seed_and_the_score_at_equal_wall_clock() -> None:
    slow = [[500, 3.0, 4.0], [1000, 6.0, 90.0]]
    rows = [
        row("dqn", 2, score=30.0, minutes=6.0, curve=slow),
        row("dqn", 1, score=20.0, minutes=6.0, curve=slow),
        row("ppo", 1, minutes=2.0),
        row("ppo", 2, minutes=4.0, curve=[[500, 2.0, 6.0], [1000, 4.0, 11.0]]),
        row("sb3-dqn", 1, score=1.5, minutes=9.0, curve=[[500, 5.0, 1.0]], cpu_minutes=None),
    ]
    assert compare_table.table(rows) == [
        "| Agent | Preset | Mean | Seeds 1, 2 | Steps/s | Minutes | CPU minutes |"
        " Evaluated at 4.0 minutes |",
        "|---|---|---|---|---|---|---|---|",
        "| dqn | auto | **25.0** | 20.0 ± 0.5, 30.0 ± 0.5 | 1,500 | 6.0 | 1.0 | 4.0 |",
        "| ppo | auto | **10.0** | 10.0 ± 0.5, 10.0 ± 0.5 | 1,500 | 3.0 | 1.0 | 10.0 |",
        "| sb3-dqn | auto | **1.5** | 1.5 ± 0.5, – | 1,500 | 9.0 |  |  |",
    ]


def test_tasks_have_tables_of_their_own_beside_the_published_scores() -> None:
    text = compare_table.markdown([row("ppo", 1), {**row("ppo", 1), "env": "mine/Task-v0"}])
    first, second = text.split("\n\n`CartPole-v1`")
    assert "| SB3 DQN | `CartPole-v1` | 50,000 | 500 |" in first
    assert "Published" not in second
    assert compare_table.markdown([]) == "no rows yet"


def test_published_scores_name_protocol_and_source() -> None:
    found = published.every()
    assert all(each.protocol and each.source and np.isfinite(each.score) for each in found)
    assert len({(each.env, each.agent, each.steps) for each in found}) == len(found)
    # Another version of the task is shown too.
    assert {each.env for each in published.of("HalfCheetah-v5")} == {"HalfCheetah-v3"}
    assert {each.env for each in published.of("Pong")} == {"Pong"}


def test_a_page_gets_its_tables_from_the_files(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps({"result": {"rows": [row("ppo", 1)]}}))
    page = "before\n<!-- compare: one -->\nold\n<!-- /compare -->\nafter\n"
    made = compare_table.renewed(page, tmp_path)
    assert made.startswith("before\n<!-- compare: one -->\n\n`CartPole-v1`, 1,000 steps")
    assert made.endswith("From `one.json`.\n\n<!-- /compare -->\nafter\n")
    assert "| ppo | auto | **10.0** |" in made and "old" not in made
    assert compare_table.renewed(made, tmp_path) == made


def test_the_pages_have_what_the_files_have() -> None:
    for page in sorted((ROOT / "docs").rglob("*.md")):
        text = page.read_text("utf-8")
        renew = f"python -m benchmarks.compare --page {page.relative_to(ROOT)}"
        assert compare_table.renewed(text) == text, renew


def test_each_peer_is_made_with_its_settings() -> None:
    pytest.importorskip("sb3_contrib")
    for algo, tasks in PEERS.items():
        for env, settings in tasks.items():
            assert peer.settings_of(algo, env) is settings


SMALL = PeerSettings({"n_steps": 32, "n_epochs": 1}, num_envs=4, normalize=True)


@pytest.mark.parametrize("algo", ["sb3-ppo", "sb3-qrdqn"])
def test_a_peer_trains_and_is_scored(
    algo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sb3_contrib")
    monkeypatch.setitem(PEERS["sb3-ppo"], "CartPole-v1", SMALL)
    short = ["--steps", "300", "--eval-every-steps", "150", "--eval-episodes", "1", "--games", "2"]
    peer.main(["--algo", algo, "--env", "CartPole-v1", "--folder", str(tmp_path), *short])
    found = json.loads(until.result_file(tmp_path, 300).read_text())
    assert found.keys() == {*result(), "returns", "best_step", "load", "step"}
    assert [step // 150 for step, _, _ in found["curve"][:2]] == [1, 2]
    assert found["score"] == np.mean(found["returns"])
    assert found["best_step"] in [step for step, _, _ in found["curve"]]
