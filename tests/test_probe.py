"""Environments that are not reproducible are found out when training starts, and resumed anew."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import module_of, run_tiny
from whims import LATE_STEPS, WHIMS, id_of

import envs
from agents.core.runs.run import Run
from agents.core.training.launch import main, train
from envs.probe import difference
from envs.registered import RegisteredPool

REPRODUCIBLE = [
    id_of("none"),
    "CartPole-v1",
    "toy/Catch-v0",
    "toy/Pair-v0",
    "toy/Target-v0",
    "Pong",
]
FIRST_STEPS, ALL_STEPS = 64, 128


def resume(run: Run, algo: str, *args: str) -> int:
    steps = ("--total-steps", str(ALL_STEPS))
    return train(module_of(algo), ["--resume", str(run.path), *steps, *args])


@pytest.mark.parametrize("whim", WHIMS)
def test_each_whim_is_named(whim: str) -> None:
    assert re.fullmatch(WHIMS[whim], difference(envs.spec(id_of(whim))))


@pytest.mark.parametrize("env_id", REPRODUCIBLE)
def test_of_the_others_nothing_is_said(env_id: str) -> None:
    assert difference(envs.spec(env_id)) == ""


def test_a_slow_environment_is_played_for_its_seconds_only(monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[int] = []
    send = RegisteredPool.send

    def counted(self: RegisteredPool, actions: np.ndarray) -> None:
        played.append(len(actions))
        send(self, actions)

    monkeypatch.setattr(RegisteredPool, "send", counted)
    spec = envs.spec(id_of("none"))
    assert difference(spec, most_seconds=0.0) == ""
    assert len(played) <= 1
    assert difference(spec) == ""
    assert len(played) >= 400


@pytest.mark.parametrize("algo", ["a2c", "dqn", "ppo", "ppo-lstm", "qr_dqn", "reinforce", "sac"])
def test_a_resume_keeps_all_but_the_episodes(
    algo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_tiny(tmp_path, algo, "--env", id_of("reward"), "--total-steps", str(FIRST_STEPS))
    said = capsys.readouterr()
    assert "a resume will not be exact" in said.out + said.err
    _, before, weights = run.restore()
    loaded: dict[str, torch.Tensor] = {}
    step_of = envs.TapedVectorEnv.send

    def first_send(self: envs.TapedVectorEnv, actions: np.ndarray) -> None:
        if not loaded:
            loaded["tapes"] = torch.tensor(self._tapes._index)
        step_of(self, actions)

    monkeypatch.setattr(envs.TapedVectorEnv, "send", first_send)
    assert resume(run, algo) == 0
    said = capsys.readouterr()
    assert "resumed with new episodes" in said.out + said.err
    step, after, _ = run.restore()
    assert step == ALL_STEPS
    # New tapes, not the first ones again.
    saved = before["env"]["tape_index"][: len(loaded["tapes"])]
    assert loaded["tapes"].tolist() == [index + 1 for index in saved]
    assert after["agent"].keys() == before["agent"].keys()
    if algo == "dqn":
        counters = before["agent"]["counters"], after["agent"]["counters"]
        assert counters[1][0] - counters[0][0] == ALL_STEPS - FIRST_STEPS
        written = before["agent"]["replay"]["written"], after["agent"]["replay"]["written"]
        assert (written[1] > written[0]).all()
        assert after["agent"]["replay"]["fields"]["final"].any()
    assert weights


@pytest.mark.parametrize("algo", ["dqn", "ppo"])
def test_weights_optimizer_and_counters_are_those_of_the_checkpoint(
    algo: str, tmp_path: Path
) -> None:
    run = run_tiny(tmp_path, algo, "--env", id_of("reward"), "--total-steps", str(FIRST_STEPS))
    step, before, weights = run.restore()
    # Nothing is left to train: what is saved again is what was loaded.
    assert train(module_of(algo), ["--resume", str(run.path)]) == 0
    again, after, weights_after = run.restore()
    assert again == step
    for name, tensor in weights.items():
        assert torch.equal(tensor, weights_after[name])
    one, two = flattened(before["agent"]["learner"]), flattened(after["agent"]["learner"])
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(two[name])), name


def flattened(state: object, path: str = "") -> dict[str, object]:
    if isinstance(state, dict):
        parts = [flattened(value, f"{path}/{name}") for name, value in state.items()]
    elif isinstance(state, list):
        parts = [flattened(value, f"{path}/{index}") for index, value in enumerate(state)]
    else:
        return {path: state}
    return {name: value for part in parts for name, value in part.items()}


@pytest.mark.parametrize("algo", ["dqn", "ppo"])
def test_what_shows_only_on_resume_names_the_flag_that_goes_on(
    algo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = 2 * (LATE_STEPS + 60)
    args = ("--env", id_of("late"), "--num-envs", "2", "--buffer-size", "2000")
    args = args if algo == "dqn" else args[:4]
    run = run_tiny(tmp_path, algo, *args, "--total-steps", str(steps // 16 * 16))
    said = capsys.readouterr()
    assert "not be exact" not in said.out + said.err
    more = ("--total-steps", str(steps + 64))
    with pytest.raises(SystemExit) as ended:
        main(module_of(algo), ["--resume", str(run.path), *more])
    assert ended.value.code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "whims:Late-v0 is not reproducible here: after the replay, environment 0" in line
    assert line.endswith("--fresh-episodes goes on with new episodes and keeps all the rest")
    assert train(module_of(algo), ["--resume", str(run.path), *more, "--fresh-episodes"]) == 0


def test_the_flag_is_refused_where_there_are_no_episodes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main("ppo", ["--env", "CartPole-v1", "--fresh-episodes"])
    assert ended.value.code == 2
    assert "--fresh-episodes: only a run of --resume" in capsys.readouterr().err
    run = run_tiny(tmp_path, "bc", "--env", "CartPole-v1", "--total-steps", "64")
    with pytest.raises(SystemExit) as ended:
        main("bc", ["--resume", str(run.path), "--fresh-episodes"])
    assert ended.value.code == 2
    assert "--fresh-episodes: bc plays no episodes" in capsys.readouterr().err


def test_a_reproducible_run_may_begin_anew_too(tmp_path: Path) -> None:
    run = run_tiny(tmp_path, "ppo", "--env", "CartPole-v1", "--total-steps", str(FIRST_STEPS))
    assert resume(run, "ppo", "--fresh-episodes") == 0
    assert run.restore()[0] == ALL_STEPS


def test_checkpoints_without_digests_of_observations_are_taken_up(tmp_path: Path) -> None:
    env = envs.make("CartPole-v1", 2)
    env.reset()
    state = env.state_dict()
    del state["obs_crc32"]
    again = envs.make("CartPole-v1", 2)
    again.load_state_dict(state)
    env.close()
    again.close()
