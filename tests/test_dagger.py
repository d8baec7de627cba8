"""DAgger: rounds of games and updates, their dataset, resuming, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from conftest import QUIET, read_metrics, run_tiny, tiny
from support.refusals import error_line

from agents.core.runs.run import Run
from agents.core.training import rounds
from agents.core.training.launch import main, train
from agents.core.training.rounds import FOLDER
from demos import Dataset, Episode, verify
from demos.coaching import Coach
from envs import signals

EXPERT = "script:expert_of_identity:act"

IDENTITY = ("--env", "toy/Identity-v0", "--expert", EXPERT)
"""Games of 10 steps, so that a round of 2 games has 20 steps."""


@pytest.fixture(autouse=True)
def _script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that names the symbol that `toy/Identity-v0` shows."""
    (tmp_path / "expert_of_identity.py").write_text(
        "def act(obs):\n    return obs.argmax(axis=1)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def dataset_of(run: Run) -> Dataset:
    return Dataset.open(run.path / FOLDER)


def test_the_games_of_each_round_are_a_session_of_one_dataset(tmp_path: Path) -> None:
    run = run_tiny(tmp_path / "runs", "dagger", *IDENTITY, "--total-steps", "56")
    dataset = dataset_of(run)
    episodes = dataset.episodes()
    # 20 steps a round: the third begins at step 40, and its steps are enough for 56.
    assert [each.episodes for each in dataset.metadata.sessions] == [2, 2, 2]
    assert [each.policy[-5:] for each in dataset.metadata.sessions] == ["(β 1)", "(β 0)", "(β 0)"]
    assert len({each.seed for each in episodes}) == 6
    assert all(verify(each) is None for each in episodes)
    # The expert plays the first round alone, with the return 10.
    assert [each.score for each in episodes[:2]] == [10.0, 10.0]
    for episode in episodes:
        assert episode.labels is not None and episode.labeled is not None
        assert episode.labeled.all()


def test_a_round_begins_when_its_steps_are_used_up(tmp_path: Path) -> None:
    run = run_tiny(tmp_path / "runs", "dagger", *IDENTITY, "--total-steps", "56")
    rows = [row for row in read_metrics(run) if "rounds/number" in row]
    assert [row["step"] for row in rows] == [0, 24, 40]
    assert [row["rounds/played_steps"] for row in rows] == [20, 40, 60]
    assert rows[0]["rounds/as_the_expert"] == rows[0]["rounds/labeled"] == 1.0
    assert rows[0]["charts/episodic_return"] == 10.0


def test_the_experts_share_follows_its_schedule(tmp_path: Path) -> None:
    more = ("--beta", "0.75..0.25@0..40", "--total-steps", "56")
    run = run_tiny(tmp_path / "runs", "dagger", *IDENTITY, *more)
    names = [each.policy for each in dataset_of(run).metadata.sessions]
    assert [name.rpartition("β ")[2] for name in names] == ["0.75)", "0.45)", "0.25)"]


def test_evaluations_are_compared_with_the_expert(tmp_path: Path) -> None:
    more = ("--total-steps", "32", "--eval-every-steps", "16", "--eval-episodes", "2")
    run = run_tiny(tmp_path / "runs", "dagger", *IDENTITY, *more)
    rows = [row for row in read_metrics(run) if "eval/return_mean" in row]
    for row in rows:
        assert row["eval/of_demonstrator"] == pytest.approx(row["eval/return_mean"] / 10)


@pytest.mark.parametrize("coach", ["mixture", "takeover"])
def test_a_run_goes_on_exactly_from_its_checkpoint(coach: str, tmp_path: Path) -> None:
    settings = (*IDENTITY, "--coach", coach, "--beta", "0.5")
    whole = run_tiny(tmp_path / "runs", "dagger", *settings, "--total-steps", "96")
    part = run_tiny(tmp_path / "runs", "dagger", *settings, "--total-steps", "48")
    assert train("dagger", ["--resume", str(part.path), "--total-steps", "96"]) == 0
    weights = [each.restore()[2] for each in (whole, part)]
    for name, expected in weights[0].items():
        assert torch.equal(weights[1][name], expected), name
    tapes = [
        [(each.seed, each.actions.tolist()) for each in dataset_of(run).episodes()]
        for run in (whole, part)
    ]
    assert tapes[0] == tapes[1]


def test_games_after_the_checkpoint_are_played_again(tmp_path: Path) -> None:
    """As after a kill between a round's games and the next checkpoint."""
    run = run_tiny(tmp_path / "runs", "dagger", *IDENTITY, "--total-steps", "40")
    later = tmp_path / "later"
    shutil.copytree(run.path / FOLDER, later)
    assert train("dagger", ["--resume", str(run.path), "--total-steps", "64"]) == 0
    expected = [each.actions.tolist() for each in dataset_of(run).episodes()]
    again = run_tiny(tmp_path / "runs", "dagger", *IDENTITY, "--total-steps", "40")
    shutil.rmtree(again.path / FOLDER)
    shutil.copytree(run.path / FOLDER, again.path / FOLDER)
    assert len(dataset_of(again).files()) > 4
    assert train("dagger", ["--resume", str(again.path), "--total-steps", "64"]) == 0
    assert [each.actions.tolist() for each in dataset_of(again).episodes()] == expected


def test_a_signal_in_a_round_saves_and_the_round_is_played_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_tiny(tmp_path / "runs", "dagger", *IDENTITY, "--total-steps", "56")
    played = rounds.RoundsTrainer.played
    stops = [False, True]

    def signalled(self: rounds.RoundsTrainer, coach: Coach) -> list[Episode]:
        if stops and stops.pop(0):
            os.kill(os.getpid(), signal.SIGTERM)
        return played(self, coach)

    monkeypatch.setattr(rounds.RoundsTrainer, "played", signalled)
    runs = tmp_path / "stopped"
    command = [*tiny("dagger", "toy/Identity-v0"), *IDENTITY, *QUIET, "--eval-every-steps", "0"]
    with signals.interrupting():
        assert train("dagger", [*command, "--total-steps", "56", "--runs-dir", str(runs)]) == 143
    (path,) = runs.iterdir()
    assert len(dataset_of(Run.open(path)).files()) == 2
    with signals.interrupting():
        assert train("dagger", ["--resume", str(path)]) == 0
    weights = [each.restore()[2] for each in (whole, Run.open(path))]
    for name, expected in weights[0].items():
        assert torch.equal(weights[1][name], expected), name


def test_lost_or_changed_games_end_a_resume_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_tiny(tmp_path / "runs", "dagger", *IDENTITY, "--total-steps", "40")
    again = ["--resume", str(run.path), "--total-steps", "64"]
    dataset_of(run).drop([3])
    error = error_line(lambda: main("dagger", again), capsys)
    assert "has 3 episodes, but the run played 4 until its checkpoint" in error
    other = run_tiny(tmp_path / "runs", "dagger", *IDENTITY, "--total-steps", "40", "--seed", "2")
    shutil.rmtree(run.path / FOLDER)
    shutil.copytree(other.path / FOLDER, run.path / FOLDER)
    error = error_line(lambda: main("dagger", again), capsys)
    assert error == "the run's demos are not the episodes that it played"
    shutil.rmtree(run.path / FOLDER)
    error = error_line(lambda: main("dagger", again), capsys)
    assert "is not a dataset: it has no dataset.json" in error


def test_an_expert_of_another_protocol_is_refused_with_the_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluated = ("--eval-every-steps", "64", "--eval-episodes", "1", "--eval-most-steps", "8")
    more = ("--env", "Pong", "--total-steps", "64", *evaluated)
    expert = run_tiny(tmp_path / "runs", "dqn", *more)
    command = [*tiny("dagger", "Pong"), *QUIET, "--expert", str(expert.path)]
    command += ["--repeat-action-probability", "0"]
    error = error_line(lambda: main("dagger", command), capsys)
    assert "repeat_action_probability is 0.25 there, but 0.0 here" in error
    assert expert.path.name in error


def test_bc_learns_from_the_dataset_of_a_run(tmp_path: Path) -> None:
    """Its labels are the expert's, though the learner played."""
    run = run_tiny(tmp_path / "runs", "dagger", *IDENTITY, "--total-steps", "56")
    cloned = run_tiny(
        tmp_path / "runs",
        "bc",
        *("--env", "toy/Identity-v0", "--demos", str(run.path / FOLDER)),
        *("--total-steps", "20000", "--learning-rate", "1e-2", "--final-eval-episodes", "20"),
    )
    score = json.loads((cloned.path / "eval.json").read_text())
    assert score["eval/return_mean"] >= 9.5


@pytest.mark.full
@pytest.mark.parametrize("coach", ["mixture", "takeover"])
def test_a_learner_plays_as_its_expert_does(coach: str, tmp_path: Path) -> None:
    more = ("--coach", coach, "--total-steps", "400", "--samples-per-step", "32")
    scored = ("--learning-rate", "1e-2", "--final-eval-episodes", "20")
    run = run_tiny(tmp_path / "runs", "dagger", *IDENTITY, *more, *scored)
    score = json.loads((run.path / "eval.json").read_text())
    assert score["eval/return_mean"] >= 9.5
