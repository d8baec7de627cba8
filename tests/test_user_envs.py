"""Environments as people write them: what they return is copied, understood or named in a line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
import user_envs
from conftest import QUIET, run_tiny, tiny
from gymnasium import spaces
from user_envs import ACTIONS, FAULTS, OBSERVATIONS, REFUSED, STEPS, id_of

import envs
from agents.core.data.replay import Replay
from agents.core.policies.stochastic import ActorCriticPolicy
from agents.core.training import launch
from agents.core.training.demonstrator import load_policy
from agents.core.training.evaluation import Evaluator
from agents.core.types.step import PolicyInputs
from demos import record
from demos.policies import RandomPolicy
from envs.backends import open_pool


def walk(env_id: str, steps: int = 12, num_envs: int = 2) -> list[Any]:
    env = envs.make(env_id, num_envs, seed=1)
    env.action_space.seed(1)
    try:
        return [env.reset(), *(env.step(env.action_space.sample()) for _ in range(steps))]
    finally:
        env.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_an_environment_is_one_line_that_names_it(fault: str) -> None:
    env_id = id_of("Faulty", fault)
    with pytest.raises(envs.UserError, match=FAULTS[fault]) as caught:
        walk(env_id)
    assert str(caught.value).startswith(env_id)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["NoSeed", "NoOptions"])
def test_a_reset_without_seed_or_options_is_refused_before_it_is_called(name: str) -> None:
    with pytest.raises(envs.UserError, match="write def reset.self, ., seed=None, options=None"):
        envs.make(id_of(name, ""), 1)


def test_an_environment_with_other_spaces_each_time_is_refused() -> None:
    with pytest.raises(
        envs.UserError, match=r"must have the same spaces each time it is built, but has Box.*then"
    ):
        envs.make(id_of("Moody", ""), 2)


def test_what_an_environment_says_in_info_is_not_read() -> None:
    assert len(walk(id_of("Counting", ""))) == 13


def test_what_is_handed_out_is_the_environments_own_and_is_not_written_again() -> None:
    walked = walk(id_of("Counting", ""), 2 * STEPS)
    for number, (obs, *_, info) in enumerate(walked):
        step = number % STEPS
        np.testing.assert_array_equal(obs, np.full((2, 3), step / 10, np.float32))
        assert ("final_obs" in info) == (number > 0 and step == 0)
        if "final_obs" in info:
            np.testing.assert_array_equal(info["final_obs"], np.full((2, 3), 0.5, np.float32))


def test_an_array_of_one_number_is_a_number() -> None:
    for obs, reward, terminated, truncated, _ in walk(id_of("Odd", ""))[1:]:
        assert (obs.dtype, reward.dtype, reward.tolist()) == (np.float32, np.float32, [1.0, 1.0])
        assert terminated.dtype == truncated.dtype == bool
        assert not terminated.any()


def test_a_failure_to_close_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    walk(id_of("Faulty", "close"))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all("close() raised OSError: already closed (user_envs.py" in line for line in lines)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("render raises", r"cannot be rendered here: render\(\) raised RuntimeError: no GL"),
        ("render returns None", r"render\(\) returned None; a picture must be uint8 \(H, W, 3\)"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_one_line(fault: str, message: str) -> None:
    with pytest.raises(envs.UserError, match=message):
        open_pool(envs.spec(id_of("Faulty", fault)), 1, 1, rgb=True)


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_observations_are_what_gymnasium_flattens_or_an_image(name: str) -> None:
    space, shape, dtype = OBSERVATIONS[name]
    env = envs.make(id_of("Obs", name), 2, seed=1)
    assert env.single_observation_space.shape == shape
    assert env.single_observation_space.dtype == dtype
    obs, _ = env.reset()
    assert env.observation_space.contains(obs)
    for row, tape in zip(obs, env.tapes(), strict=True):
        bare = gymnasium.make(env.env_spec.env_id).unwrapped
        sample, _ = bare.reset(seed=tape.seed)
        np.testing.assert_allclose(row, expected(space, sample, shape, dtype), rtol=1e-6)


def expected(space: Any, sample: Any, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """By Gymnasium's own `flatten`, or by numpy for images."""
    if len(shape) < 3:
        return np.asarray(spaces.flatten(space, sample), np.float32).reshape(shape)
    image = np.moveaxis(sample, -1, -3) if sample.shape[-1] == 3 else sample
    scale = 255 if space.dtype.kind == "f" and space.high.max() == 255 else 1
    return (image / scale).astype(dtype).reshape(shape)


@pytest.mark.parametrize("name", REFUSED)
def test_observations_of_no_fixed_shape_are_refused_with_a_way_out(name: str) -> None:
    with pytest.raises(envs.UserError, match=r"cannot be observed: .*; leave it out with gymnas"):
        envs.make(id_of("Refused", name), 1)


def test_images_that_are_not_recognized_are_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    unbounded = spaces.Box(-np.inf, np.inf, (40, 36, 3), np.float32)
    kwargs = {"obs": unbounded, "action": spaces.Discrete(2)}
    gymnasium.register("test/Unbounded-v0", user_envs.Shaped, kwargs=kwargs)
    for _ in range(2):
        envs.make("test/Unbounded-v0", 2).close()
    (line,) = capsys.readouterr().err.splitlines()
    assert "observations of shape (40, 36, 3) in [-inf, inf] are read as numbers" in line
    del gymnasium.registry["test/Unbounded-v0"]


@pytest.mark.parametrize("algo", ["dqn", "ppo"])
@pytest.mark.parametrize("fault", FAULTS)
def test_training_on_a_faulty_environment_ends_with_that_line(
    algo: str, fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env_id = id_of("Faulty", fault)
    command = [*tiny(algo, env_id), *QUIET, "--runs-dir", str(tmp_path), "--total-steps", "800"]
    with pytest.raises(SystemExit) as ended:
        launch.main(algo, command)
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error: {env_id}")
    assert re.search(FAULTS[fault], last)


@pytest.mark.parametrize("algo", ["dqn", "ppo"])
@pytest.mark.parametrize("name", OBSERVATIONS)
def test_agents_train_on_any_observations(algo: str, name: str, tmp_path: Path) -> None:
    run = run_tiny(tmp_path, algo, "--env", id_of("Obs", name), "--total-steps", "128")
    agent, spec, *_ = load_policy(run, "last", "cpu")
    assert evaluated(agent, spec) == (STEPS, STEPS)


@pytest.mark.parametrize("algo", ["a2c", "bc", "dqn", "ppo-lstm", "reinforce"])
@pytest.mark.parametrize("name", ACTIONS)
def test_agents_train_on_any_actions(algo: str, name: str, tmp_path: Path) -> None:
    """The environment itself asserts that each action is of its space."""
    arguments = (tmp_path, algo, "--env", id_of("Action", name), "--total-steps", "128")
    if algo == "dqn" and ACTIONS[name].dtype.kind == "f":
        with pytest.raises(envs.UserError, match="actions are Box.*needs discrete actions: use p"):
            run_tiny(*arguments)
        return
    agent, spec, *_ = load_policy(run_tiny(*arguments), "last", "cpu")
    assert evaluated(agent, spec) == (STEPS, STEPS)
    assert evaluated(agent, spec, exploration=1.0) == (STEPS, STEPS)


def evaluated(agent: Any, spec: envs.EnvSpec, exploration: float | None = None) -> tuple[int, ...]:
    return Evaluator(spec, 0, 1).evaluate(agent, 2, 0, exploration).lengths


@pytest.mark.parametrize("algo", ["a2c", "ppo", "ppo-lstm", "reinforce"])
def test_a_rollout_bootstraps_from_the_last_observation_of_a_reused_array(
    algo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rollouts of whole episodes are cut at truncations alone, after 0.5 was shown."""
    seen: list[torch.Tensor] = []

    values = ActorCriticPolicy.state_values

    def watched(policy: ActorCriticPolicy, inputs: PolicyInputs, state: Any) -> torch.Tensor:
        seen.append(torch.as_tensor(inputs.obs).clone())
        return values(policy, inputs, state)

    monkeypatch.setattr(ActorCriticPolicy, "state_values", watched)
    whole = ("--horizon-steps", str(4 * STEPS), "--total-steps", "320")
    run_tiny(tmp_path, algo, "--env", id_of("Counting", ""), *whole)
    assert sum(map(len, seen)) == 320 / STEPS
    assert all((obs == 0.5).all() for obs in seen)


@pytest.mark.parametrize("priority_exponent", ["0", "0.5"])
def test_a_replay_bootstraps_from_the_last_observation_of_a_reused_array(
    priority_exponent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gather, seen = Replay.gather, list[tuple[float, float]]()

    def watched(replay: Replay, slot_B: torch.Tensor) -> Any:
        batch = gather(replay, slot_B)
        pairs = zip(batch.obs[:, 0].tolist(), batch.next_obs[:, 0].tolist(), strict=True)
        seen.extend((round(obs, 3), round(next_obs, 3)) for obs, next_obs in pairs)
        return batch

    monkeypatch.setattr(Replay, "gather", watched)
    settings = ("--n-step", "1", "--priority-exponent", priority_exponent)
    counting = id_of("Counting", "")
    run_tiny(tmp_path, "dqn", "--env", counting, "--total-steps", "800", *settings)
    assert set(seen) == {(t / 10, (t + 1) / 10) for t in range(STEPS)}


def test_recorded_actions_of_any_kind_replay(tmp_path: Path) -> None:
    for name in ACTIONS:
        spec = envs.spec(id_of("Action", name))
        (episode,) = record(spec, RandomPolicy(envs.spaces_of(spec)[1], 0), 1, 0, 1)
        replayed = list(envs.replay(episode.tape))
        assert len(replayed) == STEPS + 1
