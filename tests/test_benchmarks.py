"""The benchmarks run, measure what they say and write results that can be read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agents.core.run import Run
from benchmarks import machine, memory, throughput, time_to_score
from benchmarks.sides import Joystick, Side, StableBaselines, Task, TrainingLimit


def test_a_result_says_how_and_on_what_it_was_measured(tmp_path: Path) -> None:
    path = machine.write_result("speed", {"ratio": 2.5}, tmp_path)
    record = json.loads(path.read_text())
    assert path.name.startswith("speed-")
    assert record["result"] == {"ratio": 2.5}
    assert record["command"].startswith("python ")
    assert record["machine"]["cores"] >= 1
    assert record["machine"]["packages"]["torch"]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def updates_per_step(side: Side) -> float:
    side.advance(96)
    steps, updates = side.counts
    seconds = side.advance(64)
    assert seconds > 0
    return (side.counts[1] - updates) / (side.counts[0] - steps)


def test_our_side_updates_every_four_steps(tmp_path: Path) -> None:
    task = Task(num_envs=8, learning_starts_steps=64, precision="fp32", device="cpu")
    assert updates_per_step(Joystick(task, tmp_path)) == 1 / 4


@pytest.mark.parametrize("num_envs", throughput.PEER_NUM_ENVS)
def test_the_peer_updates_every_four_steps(num_envs: int, tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    task = Task(num_envs=num_envs, learning_starts_steps=64, device="cpu")
    assert updates_per_step(StableBaselines(task, tmp_path)) == 1 / 4


def test_the_ratio_is_to_the_faster_set_up_of_the_peer() -> None:
    def side(name: str, *rounds: float) -> dict[str, Any]:
        return {"side": name, "rounds": list(rounds), "updates_per_step": 0.25}

    ours, limit = side("joystick", 300, 330, 600), side("limit", 400, 440, 500)
    sides = [ours, limit, side("sb3", 100, 90, 80), side("sb3", 110, 120, 100)]
    result = throughput.summary(sides, throughput.Arguments())
    assert result["ratio"] == 3.0  # 330 / 110, of the medians.
    assert result["ratio_of_each_round"] == [2.73, 2.75, 6.0]
    assert result["share_of_limit"] == 0.75  # 330 / 440
    assert [side["samples_per_step"] for side in sides] == [8, 8, 8, 8]


def test_the_limit_updates_every_four_steps_too(tmp_path: Path) -> None:
    assert updates_per_step(TrainingLimit(Task(precision="fp32", device="cpu"), tmp_path)) == 1 / 4


def test_a_full_replay_takes_about_one_frame_a_transition() -> None:
    result = memory.measure(memory.make_replay(memory.Arguments(transitions=40_000)))
    assert result["transitions"][-1] == 40_000
    assert len(result["transitions"]) == memory.PIECES + 1
    assert result["arithmetic_bytes"]["single frames"] == 40_000 * 7056
    # The allocator's and the fields' share is larger the smaller the replay is.
    assert 0.9 * 7056 < result["bytes_per_transition"] < 1.5 * 7056


def test_a_replay_that_does_not_fit_is_skipped_with_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    memory.main(["--transitions", "100000000000"])
    assert capsys.readouterr().out.startswith("skipped: a replay of 100,000,000,000")


def test_the_target_is_reached_at_the_first_full_mean_that_is_high_enough(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "Pong", "dqn", seed=1)
    run.save_config({"seed": 1}, {})
    games = [{"charts/episodic_return_20": 20.0 if i in (3, 24) else -20.0} for i in range(30)]
    evaluations = [{"eval/return_mean": mean, "eval/return_ci95": 1.0} for mean in (-3.0, 18.5)]
    with run.metrics_path.open("w") as file:
        for i, values in enumerate(games + evaluations):
            file.write(json.dumps({"step": 100 * i, "time": 60.0 * i, **values}) + "\n")
    result = time_to_score.collect(run, target=18.0)
    assert result["reached_in_training"] == {"step": 2400, "minutes": 24.0, "return": 20.0}
    assert result["reached_in_evaluation"] == {"step": 3100, "minutes": 31.0, "return": 18.5}
    assert [step for step, *_ in result["training_curve"]] == list(range(1900, 3000, 100))
    assert result["score"] is None


def test_a_training_run_is_timed_and_its_memory_measured(
    tmp_path: Path,
) -> None:
    shortest = "--total-steps 400 --learning-starts-steps 100 --eval-episodes 1 --num-threads 1"
    arguments = time_to_score.Arguments(env_id="CartPole-v1", target=5.0, runs_dir=tmp_path)
    result = time_to_score.measure(
        arguments, [*shortest.split(), "--final-eval-episodes", "2", "--no-video"]
    )
    assert result["peak_memory_bytes"] > 50e6
    assert result["minutes_from_start_to_exit"] > 0
    assert result["evaluation_curve"][-1][0] == 400
    assert result["score"]["episodes"] == 2
