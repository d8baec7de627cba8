"""The command that compares the runs of two commits finds what differs, and only that."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import run_tiny

from benchmarks import same_run
from benchmarks.same_run import Trained, differences, spelled, what_is_left

SAME = Trained({"a": "1", "b": "2"}, [{"step": 8, "loss": 0.5}, {"step": 16, "loss": 0.25}], [1.0])


def test_renamed_weights_are_the_same() -> None:
    renamed = Trained({"x": "2", "y": "1"}, SAME.metrics, SAME.score)
    assert differences(SAME, renamed) == []


def test_each_difference_is_named() -> None:
    weights = Trained({"a": "1", "b": "3"}, SAME.metrics, SAME.score)
    assert differences(SAME, weights) == ["1 of 2 tensors differ (b)"]
    metrics = [SAME.metrics[0], {"step": 16, "loss": 0.125, "more": 1.0}]
    (found,) = differences(SAME, Trained(SAME.weights, metrics, SAME.score))
    assert found == "metrics differ from step 16 on: loss, more"
    (found,) = differences(SAME, Trained(SAME.weights, SAME.metrics[:1], SAME.score))
    assert found == "1 lines of metrics, and 2 before"
    (found,) = differences(SAME, Trained(SAME.weights, SAME.metrics, [2.0]))
    assert found == "the final returns are [2.0], and [1.0] before"


def test_a_tree_is_given_the_spelling_that_it_knows() -> None:
    settings = ("--samples-per-step", "8", "--no-overlap-learning", "--double")
    now = "--samples-per-step INT  --overlap-learning, --no-overlap-learning  --double"
    later = "--samples-per-step INT  --overlap-learning, --no-overlap-learning  --double"
    assert spelled(settings, now) == list(settings)
    assert spelled(settings, later) == [
        "--samples-per-step",
        "8",
        "--no-overlap-learning",
        "--double",
    ]


def test_two_seeds_are_not_the_same_and_one_seed_is(tmp_path: Path) -> None:
    left: list[Trained] = []
    for number, seed in enumerate((1, 1, 2)):
        settings = ("--env", "CartPole-v1", "--total-steps", "256", "--seed", str(seed))
        run = run_tiny(tmp_path / str(number), "ppo", *settings, "--final-eval-episodes", "2")
        left.append(what_is_left(run.path))
    assert left[0].metrics and left[0].score
    assert differences(left[0], left[1]) == []
    assert len(differences(left[0], left[2])) >= 2


def test_a_commit_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        same_run.main(["--against", "no-such-commit"])
    assert ended.value.code == 2
    assert "--against no-such-commit" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        same_run.main(["--against", "HEAD", "--only", "dqn Cartpole"])
    assert ended.value.code == 2
    assert "did you mean 'dqn CartPole'" in capsys.readouterr().err


@pytest.mark.skipif(not (same_run.TREE / ".git").exists(), reason="no repository")
def test_a_checkout_goes_away() -> None:
    with same_run.checked_out("HEAD") as tree:
        assert (tree / "pyproject.toml").exists()
    assert not tree.exists()
    listed = subprocess.run(
        ["git", "-C", str(same_run.TREE), "worktree", "list", "--porcelain"],
        capture_output=True,
        text=True,
    )
    assert str(tree) not in listed.stdout


def test_every_algorithm_is_compared_on_a_resumed_run_or_beside_one() -> None:
    algorithms = {case.algo for case in same_run.CASES.values()}
    assert algorithms == {"a2c", "bc", "dqn", "ppo", "reinforce"}
    assert {case.algo for case in same_run.CASES.values() if case.resumed} >= {"dqn", "ppo", "bc"}
