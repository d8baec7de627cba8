"""The kill harness kills, goes on, and sees what is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import run_tiny

from benchmarks import kills
from benchmarks.kills import Arguments, RecordingVictim, TrainingVictim
from demos.__main__ import main as demos
from envs import UserError


@pytest.mark.slow
def test_two_kills_lose_nothing() -> None:
    result = kills.measure(Arguments(kills=2, only=("dqn", "record")))
    assert result["kills"] == 2
    assert result["problems"] == 0
    assert all(each["resumed"] == 2 for each in result["outcomes"].values())
    kills.show(result)


def test_a_lost_or_damaged_checkpoint_is_a_problem(tmp_path: Path) -> None:
    every = ("--checkpoint-every-steps", "200", "--total-steps", "600")
    run = run_tiny(tmp_path, "dqn", "--env", "CartPole-v1", *every, "--eval-every-steps", "200")
    victim = TrainingVictim(("dqn",), tmp_path)
    before = victim.finished()
    assert before == {"000000000400", "000000000600"}
    assert victim.command()[-2:] == ["--resume", str(run.path)]
    assert victim.damages(before) == []
    assert victim.damages({"000000000800"}) == ["checkpoint 000000000800 is gone"]
    damaged = run.path / "checkpoints" / "000000000400" / "state.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    (problem,) = victim.damages(before)
    assert "000000000400/state.safetensors" in problem


def test_a_lost_or_damaged_episode_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "walk"
    play = ["record", "--env", "toy/Chain-v0", "--episodes", "3", "--out", str(path)]
    with pytest.raises(SystemExit):
        demos(play)
    victim = RecordingVictim(path)
    before = victim.finished()
    assert len(before) == 3
    assert victim.damages(before) == []
    (path / "episodes" / min(before)).write_bytes(b"")
    (problem,) = victim.damages(before)
    assert "demos verify" in problem


def test_what_does_not_go_on_is_a_problem(tmp_path: Path) -> None:
    victim = TrainingVictim(("dqn", "--learning-rate", "-1"), tmp_path)
    outcome = kills.haunt(victim, 1, kills.random.Random(0))
    assert [problem.partition(": ")[0] for problem in outcome.problems] == [
        "it made no progress (exit code 2)"
    ] * 2
    assert outcome.resumed == 0


def test_a_name_that_is_unknown_is_refused() -> None:
    with pytest.raises(UserError, match="--only sac: must be one of a2c"):
        kills.measure(Arguments(only=("sac",)))
