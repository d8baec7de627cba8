"""A policy is loaded, evaluated and recorded with alone: nothing that learns is made for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ALGORITHMS, run_tiny

from agents.core.data.replay import Replay
from agents.core.data.rollouts import Rollout
from agents.core.optimize.learner import Learner, Part
from agents.core.runs.run import Run
from agents.core.training.demonstrator import demonstrator, load_policy
from agents.core.training.evaluation import Evaluator
from agents.core.types.env_rng import EnvRng
from agents.core.types.step import PolicyInputs
from demos.recording import record

ENV_ID = "toy/Catch-v0"


@pytest.fixture
def nothing_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, whatever makes a part of learning fails."""

    def refused(self: object, *_: object, **__: object) -> None:
        raise AssertionError(f"a {type(self).__name__} was made to play")

    for kind in (Learner, Part, Replay, Rollout, ThreadPoolExecutor, torch.optim.Optimizer):
        monkeypatch.setattr(kind, "__init__", refused)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    flags = ("--env", ENV_ID, "--total-steps", "128")
    return {algo: run_tiny(folder / algo, algo, *flags) for algo in ALGORITHMS}


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_policy_plays_without_anything_that_learns(
    algo: str, trained: dict[str, Run], nothing_learns: None
) -> None:
    run = trained[algo]
    policy, spec, step, _ = load_policy(run)
    result = Evaluator(spec, seed=1, num_threads=1).evaluate(policy, 2, step)
    assert len(result.returns) == 2
    player = demonstrator(str(run.path), spec, 0, None)
    episodes = record(spec, player, 2, 0, 2)
    assert len(list(episodes)) == 2


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_state_is_named_tensors_with_a_row_for_each_environment(
    algo: str, trained: dict[str, Run]
) -> None:
    policy, _, _, _ = load_policy(trained[algo])
    state = policy.initial_state(3)
    assert all(len(each) == 3 and not each.any() for each in state.values())
    assert bool(state) == algo.endswith("-lstm")
    spaces = policy.spaces
    obs = np.zeros((3, *spaces.obs_shape), np.uint8)
    none_N = spaces.remembered_none(3)
    inputs = PolicyInputs(obs, np.zeros(3, np.float32), np.ones(3, bool), None, none_N)
    output = policy.act(inputs, state, EnvRng(0, 3), 1.0)
    assert output.state.keys() == state.keys()
    for name, each in output.state.items():
        assert each.shape == state[name].shape


def test_a_trained_policy_acts_as_the_weights_that_were_saved(trained: dict[str, Run]) -> None:
    run = trained["dqn"]
    saved, _ = run.weights("last")
    loaded = load_policy(run, "last").policy.weights()
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(saved[name], loaded[name]) for name in saved)


def test_what_a_policy_needs_is_small(trained: dict[str, Run], tmp_path: Path) -> None:
    policy, *_ = load_policy(trained["ppo"])
    assert {"learner", "optimizer", "replay", "rollout"}.isdisjoint(vars(policy))
