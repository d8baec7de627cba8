"""PQN's returns and loss by hand, and its rollouts beside the policy that acted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support.learners import make_algorithm
from support.settings import Settings
from torch import Tensor

import envs
from agents import pqn
from agents.core.data.rollouts import Rollout
from agents.core.data.targets import ReturnTargets
from agents.core.nets.previous import NO_PREVIOUS
from agents.core.training.building import spaces_of
from agents.core.training.env_group import EnvGroup
from agents.core.types.batches import ReturnSequences
from agents.core.types.env_rng import EnvRng
from agents.core.types.inputs import Inputs
from agents.core.types.spaces import Spaces
from agents.core.types.step import PolicyInputs, Step

CPU = torch.device("cpu")


def one_step(
    t: int, reward: float, value: float, end: str = "", masks: tuple[Any, ...] = (None, None)
) -> Step:
    """Step t of one environment; its action has the number t."""
    ended = end in ("terminated", "truncated")
    next_legal, final_legal = (None if each is None else np.array([each]) for each in masks)
    return Step(
        obs=np.array([[t]], np.float32),
        action_N=np.array([t]),
        reward_N=np.array([reward], np.float32),
        terminated_N=np.array([end == "terminated"]),
        truncated_N=np.array([end == "truncated"]),
        life_lost_N=np.array([end == "life_lost"]),
        final_obs=np.array([[100.0 + t]], np.float32) if ended else None,
        next_obs=np.array([[t + 1]], np.float32),
        extras={
            "obs": torch.tensor([[float(t)]]),
            "memory": torch.empty(1, 0),
            "previous": torch.empty(1, 0),
            "action": torch.tensor([t]),
            "value": torch.tensor([value]),
        },
        rows=slice(0, 1),
        next_legal_NA=next_legal,
        final_legal_NA=final_legal,
    )


def rollout_of_three(trace_lambda: float = 0.5, **values: Any) -> Rollout:
    spaces = Spaces(1, (1,), torch.float32, stack=1, atari=False, num_actions=3)
    settings = Settings(horizon_steps=3, gamma=0.5, **values)
    return Rollout(settings, spaces, CPU, 0, ReturnTargets(trace_lambda, NO_PREVIOUS))


GOLDEN = [
    # G₂ = 3 + ½ 16, G₁ = 2 + ½ (½ 2 + ½ 11), G₀ = 1 + ½ (½ 4 + ½ 5¼).
    ("", 0.5, [3.3125, 5.25, 11.0]),
    # The trace reaches to the end, or only to the next value.
    ("", 1.0, [4.75, 7.5, 11.0]),
    ("", 0.0, [3.0, 3.0, 11.0]),
    # Step 1 ends without a value beyond it: G₁ = 2, G₀ = 1 + ½ (½ 4 + ½ 2).
    ("terminated", 0.5, [2.5, 2.0, 11.0]),
    # A lost life ends the return too.
    ("life_lost", 0.5, [2.5, 2.0, 11.0]),
    # The last observation has the value 32: G₁ = 2 + ½ 32, G₀ = 1 + ½ (½ 4 + ½ 18).
    ("truncated", 0.5, [6.5, 18.0, 11.0]),
]


@pytest.mark.parametrize(("end", "trace_lambda", "expected"), GOLDEN)
def test_the_returns_of_a_rollout(end: str, trace_lambda: float, expected: list[float]) -> None:
    rollout = rollout_of_three(trace_lambda)
    beyond = {101.0: 32.0, 3.0: 16.0}
    for t, (reward, value) in enumerate([(1.0, 8.0), (2.0, 4.0), (3.0, 2.0)]):
        cut = rollout.add(one_step(t, reward, value, end if t == 1 else ""))
        if cut is not None:
            rollout.complete(cut, torch.tensor([beyond[float(cut.inputs.obs[0, 0])]]))
    (batch,) = rollout.minibatches(3)
    found = dict(zip(batch.action_B.tolist(), batch.return_B.tolist(), strict=True))
    assert [found[t] for t in range(3)] == expected
    assert batch.obs_BL.shape == (3, 1, 1)
    assert batch.size == 3


def test_what_lies_beyond_has_the_inputs_of_its_state() -> None:
    """After a truncation they are the final ones, and after the rollout the next ones."""
    now = [True, False, True]
    final = [False, True, True]
    rollout = rollout_of_three()
    assert rollout.add(one_step(0, 1.0, 0.0, masks=(now, None))) is None
    cut = rollout.add(one_step(1, -7.0, 0.0, "truncated", masks=(now, final)))
    last = rollout.add(one_step(2, 3.0, 0.0, masks=(now, None)))
    assert cut is not None and last is not None
    for beyond, obs, action, reward, legal in (
        (cut, 101.0, 1, -7.0, final),
        (last, 3.0, 2, 3.0, now),
    ):
        inputs = beyond.inputs
        assert inputs.obs.tolist() == [[obs]]
        assert inputs.action_N is not None and inputs.legal_NA is not None
        assert inputs.action_N.tolist() == [action]
        assert inputs.reward_N.tolist() == [reward]
        assert inputs.is_first_N.tolist() == [False]
        assert inputs.legal_NA.tolist() == [legal]


class Table:
    """Values (N, A) by the first number of each observation."""

    def __init__(self, *rows: list[float]):
        self.rows = torch.tensor(rows, requires_grad=True)

    def __call__(self, inputs: Inputs) -> Tensor:
        return self.rows[inputs.obs_BL.flatten(0, 1)[:, 0].long()]


def test_the_loss_and_its_gradient() -> None:
    network: Any = Table([1.0, 5.0], [3.0, -2.0])
    batch = ReturnSequences(
        obs_BL=torch.tensor([[[0.0], [1.0]]]),
        previous_BLP=torch.empty(1, 2, 0),
        memory_BS=torch.empty(1, 0),
        start_BL=torch.zeros(1, 2, dtype=torch.bool),
        action_BL=torch.tensor([[1, 0]]),
        return_BL=torch.tensor([[7.0, 0.0]]),
        size=2,
    )
    learner: Any = None
    output = pqn.PQN(pqn.Config(), network, learner).loss(batch)
    # ½ (7 - 5)² and ½ (0 - 3)²; only the actions taken have a gradient.
    assert output.loss.tolist() == [2.0, 4.5]
    output.loss.sum().backward()
    assert network.rows.grad.tolist() == [[0.0, -2.0], [3.0, 0.0]]
    assert output.metrics["losses/td_error"].tolist() == [2.0, 3.0]
    assert output.metrics["losses/q_values"].tolist() == [3.0, 0.5]


SMALL = replace(
    pqn.PRESETS["control"],
    num_envs=4,
    horizon_steps=12,
    sequence_steps=4,
    batch_size=16,
    hidden=16,
    previous_inputs=True,
    num_threads=1,
    precision="fp32",
)


def filled(env_id: str, **values: Any) -> tuple[Any, list[Step]]:
    """An algorithm whose rollout is full, and the steps of it."""
    torch.manual_seed(0)
    config = replace(SMALL, env_id=env_id, **values)
    env = envs.make(envs.spec(env_id), config.num_envs, seed=1)
    spaces = spaces_of(envs.spec(env_id), config.num_envs)
    algorithm = make_algorithm(pqn, config, spaces)
    group = EnvGroup(algorithm.policy, env, EnvRng(1, config.num_envs))
    group.reset()
    steps = []
    for _ in range(config.horizon_steps):
        group.send(0.5)
        step, _ = group.recv()
        algorithm.observe(step)
        steps.append(step)
    env.close()
    return algorithm, steps


@pytest.mark.parametrize("core", ["none", "lstm", "gru"])
def test_the_loss_sees_the_values_by_which_the_policy_acted(core: Any) -> None:
    """With the memory, the previous action and the episodes' starts of that time."""
    algorithm, steps = filled("toy/Recall-v0", core=core)
    assert np.stack([step.terminated_N for step in steps])[:-1].any()
    acted = torch.stack([step.extras["value"] for step in steps])
    assert torch.equal(algorithm.rollout.kept["value"], acted)
    seen = [
        algorithm.policy.network(batch.inputs).amax(dim=1).detach()
        for batch in algorithm.rollout.minibatches(16)
    ]
    torch.testing.assert_close(torch.cat(seen).sort()[0], acted.flatten().sort()[0])


def test_a_state_is_worth_its_best_legal_action() -> None:
    algorithm, _ = filled("toy/Recall-v0")
    policy = algorithm.policy
    num_actions = policy.spaces.combinations
    obs = np.random.default_rng(0).normal(size=(4, *policy.spaces.obs_shape)).astype(np.float32)
    legal_NA = torch.eye(num_actions, dtype=torch.bool)[torch.arange(4) % num_actions]
    inputs = PolicyInputs(
        obs, np.zeros(4, np.float32), np.zeros(4, bool), legal_NA, policy.spaces.remembered_none(4)
    )
    free = replace(inputs, legal_NA=None)
    q_NA = policy.values(free, {})
    assert torch.equal(policy.state_values(free, {}), q_NA.amax(dim=1))
    assert torch.equal(policy.state_values(inputs, {}), q_NA[legal_NA])
    extras = policy.act(inputs, {}, EnvRng(0, 4), 0.0).extras
    assert torch.equal(extras["value"], q_NA[legal_NA])
    assert extras["action"].tolist() == [each % num_actions for each in range(4)]


def test_the_preset_paper_has_the_papers_settings() -> None:
    """Gallici et al. 2024, table of Atari's hyperparameters."""
    config = pqn.PRESETS["paper"]
    assert (config.num_envs, config.horizon_steps, config.epochs) == (128, 32, 2)
    assert config.num_envs * config.horizon_steps / config.batch_size == 32
    assert (config.q_lambda, config.gamma, config.max_grad_norm) == (0.65, 0.99, 10.0)
    assert (config.optimizer, config.learning_rate.start) == ("radam", 2.5e-4)
    assert not config.learning_rate.moves
    assert config.layer_norm and config.torso_norm == "layer"
    epsilon = config.epsilon.until(config.total_steps)
    assert [epsilon(step) for step in (0, 5_000_000)] == pytest.approx([1.0, 0.001])
