"""Candidates for a faster update: all of them compute the same update."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from agents.core.system.device import roles
from benchmarks import candidates, loop_candidates, machine
from benchmarks.workloads import WORKLOADS, make_config


@pytest.mark.parametrize("convolve", [candidates.folded, candidates.space_to_depth])
def test_another_first_layer_computes_the_same(convolve: candidates.Convolve) -> None:
    torch.manual_seed(0)
    convolution, obs = nn.Conv2d(4, 32, 8, 4), candidates.batch_of(2).obs
    expected = convolution(obs.float() / 255)
    layer = candidates.FirstLayer(convolution, convolve)
    torch.testing.assert_close(layer(obs), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["as it is", "double, as it is", "double, one pass for both"])
def test_one_pass_for_both_is_the_same_update(name: str) -> None:
    arguments = candidates.Arguments(batch_size=4, num_threads=1)
    metrics, _ = candidates.CANDIDATES[name](arguments)()  # pyright: ignore[reportGeneralTypeIssues]
    # At first θ⁻ is θ, so that double DQN is DQN.
    plain, _ = candidates.as_it_is(arguments)()  # pyright: ignore[reportGeneralTypeIssues]
    torch.testing.assert_close(metrics["losses/loss"], plain["losses/loss"])


def test_candidates_are_measured_in_turns_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine.write_result, "__defaults__", (tmp_path,))
    chosen = {name: candidates.CANDIDATES[name] for name in ("as it is", "cores share operations")}
    monkeypatch.setattr(candidates, "CANDIDATES", chosen)
    settings = ["--batch-size", "4", "--num-threads", "1", "--rounds", "2", "--updates", "1"]
    candidates.main(settings)
    (path,) = tmp_path.glob("candidates-*.json")
    result = json.loads(path.read_text())["result"]
    assert [each["candidate"] for each in result["candidates"]] == list(chosen)
    assert result["candidates"][0]["ratio"] == 1.0
    assert all(len(each["rounds"]) == 2 for each in result["candidates"])
    assert "cores share operations" in capsys.readouterr().out
    with pytest.raises(SystemExit) as exit_info:
        candidates.main(["--rounds", "0"])
    assert exit_info.value.code == 2


LOOPS = [(algo, name) for algo, named in loop_candidates.CANDIDATES.items() for name in named]


@pytest.mark.parametrize(("algo", "name"), LOOPS)
def test_a_loop_candidate_trains_on_as_many_samples_a_step(algo: str, name: str) -> None:
    candidate = loop_candidates.CANDIDATES[algo][name]
    small = {"precision": "fp32", "device": "cpu", "num_threads": 1}
    default = make_config(algo, **small, **({"learning_starts_steps": 32} if algo == "dqn" else {}))
    config = replace(default, **candidate.settings)
    samples_per_step = WORKLOADS[algo].samples_per_step
    assert samples_per_step(config) == samples_per_step(default)
    if algo == "ppo":
        assert config.num_envs * config.horizon_steps == 1024


def test_an_agent_can_learn_after_the_emulator_stepped() -> None:
    config = make_config("dqn", precision="fp32", num_threads=1, learning_starts_steps=32)
    side = loop_candidates.learning_after_emulating("dqn", config)
    side.advance(48)
    before = side.counts
    side.advance(32)
    assert side.counts[0] - before[0] == 32
    assert side.counts[1] - before[1] == 8
    assert not side.training.experience.overlap  # pyright: ignore[reportAttributeAccessIssue]


def two_threads_beside(algo: str, config: Any) -> loop_candidates.Joystick:
    return loop_candidates.Joystick(algo, replace(config, num_threads=2, learn_beside=True))


@pytest.mark.parametrize("make", [loop_candidates.gathering_on_two_threads, two_threads_beside])
def test_who_does_it_and_when_does_not_change_what_is_learned(make: Callable[..., Any]) -> None:
    config = make_config("dqn", precision="fp32", num_threads=1, learning_starts_steps=32)
    ours, other = loop_candidates.Joystick("dqn", config), make("dqn", config)
    for side in (ours, other):
        side.advance(64)
    assert ours.counts == other.counts
    mine, theirs = (side.agent.learner.network.state_dict() for side in (ours, other))
    assert any(tensor.any() for tensor in mine.values())
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_an_agent_learns_beside_acting_only_where_there_are_cores_for_both() -> None:
    config = make_config("dqn", precision="fp32", learning_starts_steps=32, learn_beside=True)
    for num_threads, learning, acting, beside in ((1, 1, 1, False), (2, 1, 1, True)):
        side = loop_candidates.Joystick("dqn", replace(config, num_threads=num_threads))
        loop: Any = side.training.experience
        assert (side.agent.learner.shards, loop.beside is not None) == (learning, beside)
        learner = side.agent.learner
        assert learner.acting is learner.network
        side.advance(48)
        assert (learner.acting is not learner.network) == beside
        assert roles(num_threads, True) == (learning, acting)
        loop.close()
    assert [roles(count, True) for count in (3, 4, 16)] == [(2, 1), (2, 2), (8, 8)]
    assert roles(4, False) == (4, 4)


@pytest.mark.slow
def test_loop_candidates_are_measured_in_turns_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine.write_result, "__defaults__", (tmp_path,))
    chosen = ("as it is", "emulator on one thread")
    quick = ["--num-threads", "1", "--rounds", "1", "--seconds", "0.2"]
    loop_candidates.main([*quick, "--only", chosen[1]])
    (path,) = tmp_path.glob("loop-candidates-dqn-*.json")
    result = json.loads(path.read_text())["result"]
    assert [each["candidate"] for each in result["candidates"]] == list(chosen)
    assert result["candidates"][0]["ratio"] == 1.0
    assert all(each["steps_per_second"] > 0 for each in result["candidates"])
    with pytest.raises(SystemExit) as exit_info:
        loop_candidates.main(["--rounds", "0"])
    assert exit_info.value.code == 2


def test_only_candidates_that_there_are_can_be_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stopped:
        loop_candidates.main(["--only", "emulator on two thread"])
    assert stopped.value.code == 2
    assert "--only emulator on two thread: must be one of as it is" in capsys.readouterr().err
