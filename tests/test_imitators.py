"""Value agents that imitate: their losses by hand, their minibatches, and what they never see."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import module_of, read_metrics, run_tiny, tiny
from support.devices import CPU, DEVICES
from support.experts import expert_games
from support.refusals import error_line
from torch import Tensor, nn

from agents import dqfd, iq_learn, sqil
from agents.core.math import inverse_q, losses
from agents.core.training import building
from agents.core.training.algorithms import algorithm
from agents.core.training.arguments import parse
from agents.core.training.launch import main, train
from agents.core.types.batches import Batch, PairedBatch
from agents.core.types.inputs import Inputs
from agents.core.types.step import Step

ONLINE = ("dqfd", "iq_learn", "sqil")


class Table(nn.Module):
    """A Q-function of observations (B, 1) that number the rows of a table."""

    def __init__(self, q_SA: list[list[float]]):
        super().__init__()
        self.q_SA = nn.Parameter(torch.tensor(q_SA))

    def forward(self, inputs: Inputs) -> Tensor:
        return self.q_SA[inputs.obs_BL.flatten().long()]


def batch_of(
    obs: list[int],
    action: list[int],
    reward: list[float],
    discount: list[float],
    next_obs: list[int],
) -> Batch:
    """A minibatch of rows of a table; its second half is demonstrated."""
    size = len(obs)
    return Batch(
        torch.tensor(obs).float().unsqueeze(1),
        torch.tensor(action),
        torch.tensor(reward),
        torch.tensor(discount),
        torch.tensor(next_obs).float().unsqueeze(1),
        torch.ones(size),
        torch.arange(size),
        is_demo=torch.arange(size) >= size // 2,
    )


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_the_implied_reward_and_the_loss_by_hand(device: torch.device) -> None:
    q_B = torch.tensor([1.0, 0.5], device=device)
    discount_B = torch.tensor([0.5, 0.0], device=device)
    next_value_B = torch.tensor([3.0, 8.0], device=device)
    reward_B = inverse_q.implied_reward(q_B, discount_B, next_value_B)
    assert reward_B.tolist() == [-0.5, 0.5]
    expert_B = torch.tensor([0.0, 2.0], device=device)
    fall_B = torch.tensor([0.25, 0.75], device=device)
    loss_B = inverse_q.loss(reward_B, fall_B, expert_B, alpha=0.5)
    # 0.25 + 0.25 / 2, and 0.75 - 2 * 0.5 + 0.25 / 2.
    assert loss_B.tolist() == [0.375, -0.125]


@pytest.mark.parametrize("means", ["expert", "all"])
def test_the_loss_of_iq_learn_is_its_equation(means: Any) -> None:
    """The second half of the rows is the expert's; `means` says over which rows two means are."""
    config = iq_learn.Config(alpha=0.25, temperature=0.5, demo_share=0.5, means=means)
    network, target = Table([[0.0, 1.0], [0.5, -0.5], [2.0, 1.0]]), Table([[1.0, 0.0]] * 3)
    batch = batch_of([0, 1, 2, 0], [1, 0, 0, 0], [9.0] * 4, [0.9, 0.9, 0.0, 0.9], [1, 2, 0, 2])
    found = iq_learn.IQLearn(config, network, target).loss(batch).loss.mean()  # pyright: ignore

    def soft(row: list[float]) -> float:
        return 0.5 * math.log(sum(math.exp(each / 0.5) for each in row))

    rows = network.q_SA.tolist()
    next_value = soft([1.0, 0.0])
    discounts = [0.9, 0.9, 0.0, 0.9]
    taken = [1.0, 0.5, 2.0, 0.0]
    reward = [q - d * next_value for q, d in zip(taken, discounts, strict=True)]
    falls = [soft(rows[s]) - d * next_value for s, d in zip([0, 1, 2, 0], discounts, strict=True)]
    counted = slice(2, 4) if means == "expert" else slice(0, 4)
    expected = np.mean(falls[counted]) + np.mean(np.square(reward[counted])) / (4 * 0.25)
    assert found.item() == pytest.approx(expected - np.mean(reward[2:]), abs=1e-6)


@pytest.mark.parametrize("residual", [True, False])
def test_a_gradient_flows_through_the_next_value_if_asked(residual: bool) -> None:
    config = iq_learn.Config(residual=residual)
    network, target = Table([[0.0, 0.0], [1.0, 0.0]]), Table([[0.0, 0.0], [5.0, 0.0]])
    batch = batch_of([0, 0], [0, 0], [0.0, 0.0], [0.5, 0.5], [1, 1])
    iq_learn.IQLearn(config, network, target).loss(batch).loss.mean().backward()  # pyright: ignore
    assert network.q_SA.grad is not None
    assert bool((network.q_SA.grad[1] != 0).any()) is residual


def test_the_gradient_of_iq_learn_raises_the_experts_action() -> None:
    """Where expert and agent were in one state, the expert's action rises over the agent's."""
    config = iq_learn.Config(temperature=0.1, means="all")
    network, target = Table([[0.0, 0.0]]), Table([[0.0, 0.0]])
    batch = batch_of([0, 0], [0, 1], [0.0, 0.0], [0.9, 0.9], [0, 0])
    iq_learn.IQLearn(config, network, target).loss(batch).loss.mean().backward()  # pyright: ignore
    assert network.q_SA.grad is not None
    of_agent, of_expert = network.q_SA.grad[0].tolist()
    assert of_expert < 0 < of_agent


def test_the_target_of_sqil_is_soft_and_has_the_batchs_reward() -> None:
    config = sqil.Config(munchausen_temperature=0.5)
    network, target = Table([[0.0, 1.0]]), Table([[2.0, 1.0]])
    batch = batch_of([0, 0], [1, 0], [0.0, 1.0], [0.5, 0.0], [0, 0])
    found = sqil.SQIL(config, network, target).loss(batch).loss  # pyright: ignore
    soft = 0.5 * math.log(math.exp(4.0) + math.exp(2.0))
    expected = [0.5 * (0.5 * soft - 1.0) ** 2, 0.5 * (1.0 - 0.0) ** 2]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_the_margin_by_hand(device: torch.device) -> None:
    q_BA = torch.tensor([[1.0, 2.0, 0.0], [3.0, 1.0, 0.0], [1.0, 0.5, 9.0]], device=device)
    action_B = torch.tensor([0, 0, 0], device=device)
    legal_BA = torch.tensor([[True] * 3, [True] * 3, [True, True, False]], device=device)
    # 2 + 0.8 - 1; the action leads by more than 0.8; 0.5 + 0.8 - 1, since 9 is illegal.
    expected = pytest.approx([1.8, 0.0, 0.3], abs=1e-6)
    assert losses.margin(q_BA, action_B, 0.8, legal_BA).tolist() == expected


def test_the_loss_of_dqfd_is_the_sum_of_its_three_parts() -> None:
    config = dqfd.Config(margin=0.5, margin_weight=2.0, n_step_weight=3.0)
    network, target = Table([[0.0, 1.0]]), Table([[2.0, 1.0]])
    n_steps = batch_of([0, 0], [0, 0], [0.5, 0.5], [0.25, 0.25], [0, 0])
    one_step = batch_of([0, 0], [0, 0], [0.0, 0.0], [0.0, 0.0], [0, 0])
    found = dqfd.DQfD(config, network, target).loss(PairedBatch.of(n_steps, one_step))  # pyright: ignore
    # The error over one step is 0; over n steps it is 0.5 + 0.25 * 2, whose Huber loss is 0.5.
    # The margin is 1 + 0.5 - 0, for the demonstrated row alone.
    assert found.loss.tolist() == pytest.approx([3 * 0.5, 3 * 0.5 + 2 * 1.5])
    assert found.priority_B is not None and found.priority_B.tolist() == [0.0, 0.0]


def test_dqfd_begins_with_demonstrations_alone() -> None:
    more = ("--learning-starts-steps", "64", "--pretrain-samples-per-step", "2")
    learning = made("dqfd", "CartPole-v1", *more)
    seen: list[PairedBatch] = []
    loss = learning.loss
    learning.loss = lambda batch: seen.append(batch) or loss(batch)
    for _ in range(12):
        play(learning, 1, reward=1.0)
        learning.update()
    # 7 calls before step 64, each of 2 updates on 8 transitions.
    assert [bool(each.is_demo_B.all()) for each in seen[:14]] == [True] * 14
    assert not any(each.is_demo_B.all() for each in seen[14:]) and len(seen) > 14
    assert learning.updates == len(seen)


def test_the_rewards_that_dqfd_sums_become_fewer_before_learning_starts_too() -> None:
    learning = made("dqfd", "CartPole-v1", "--n-step", "5..1@0..64", "--gamma", "0.5")
    discounts: list[float] = []
    loss = learning.loss
    learning.loss = lambda batch: discounts.append(batch.discount_B.max().item()) or loss(batch)
    for _ in range(7):
        play(learning, 1, reward=1.0)
        learning.update()
    assert learning.steps < learning.config.learning_starts_steps
    # After 8 steps n is 4.5, which rounds to 4; after 56 it is 1.5, which rounds to 2.
    assert (discounts[0], discounts[-1]) == (0.5**4, 0.5**2)


def test_a_pair_has_the_returns_of_one_step_and_of_n_of_both_sources() -> None:
    learning = made("dqfd", "CartPole-v1", "--n-step", "3", "--gamma", "0.5", "--batch-size", "8")
    play(learning, 20, reward=1.0)
    pair = learning.minibatch(*(each[0] for each in learning.draw(1)))
    one = pair.one_step
    assert (one.reward_B == 1.0).all()
    own = ~pair.is_demo_B
    assert own.sum() == 6
    assert (pair.reward_B[own] == 1.75).all() and (pair.discount_B[own] == 0.125).all()
    assert (one.discount_B[own] == 0.5).all()
    assert torch.equal(one.obs, pair.obs) and torch.equal(one.action_B, pair.action_B)
    rows = pair.slot_B[pair.is_demo_B]
    demos = learning.demos.training
    expected = demos.observations_at(demos.slot_N[rows] + 1)
    assert torch.equal(one.next_obs[pair.is_demo_B], expected)


def made(algo: str, env_id: str, *more: str) -> Any:
    """The algorithm of a tiny run, before its first step."""
    module = algorithm(module_of(algo))
    config: Any = parse(module, [*tiny(algo, env_id), *more, "--num-threads", "1"]).config
    spaces = building.spaces_of(config.spec_of(env_id), config.num_envs)
    return module.make_algorithm(config, module.make_policy(config, spaces, CPU))


def play(learning: Any, steps: int, reward: float) -> None:
    """Observes steps of CartPole's shape, all with one reward."""
    never_N = np.zeros(8, bool)
    for _ in range(steps):
        obs = np.zeros((8, 4), np.float32)
        action_N = np.zeros(8, np.int64)
        reward_N = np.full(8, reward, np.float32)
        learning.observe(Step(obs, action_N, reward_N, never_N, never_N, never_N, None))


def test_sqil_sees_no_reward_of_the_environment() -> None:
    learning = made("sqil", "CartPole-v1")
    play(learning, 10, reward=7.0)
    batch = learning.minibatch(*(each[0] for each in learning.draw(1)))
    assert batch.reward_B.tolist() == [0.0] * 4 + [1.0] * 4
    assert batch.is_demo_B.tolist() == [False] * 4 + [True] * 4


def test_the_share_of_demonstrations_is_the_configs() -> None:
    learning = made("sqil", "CartPole-v1", "--demo-share", "0.25")
    play(learning, 10, reward=0.0)
    batch = learning.minibatch(*(each[0] for each in learning.draw(1)))
    assert batch.is_demo_B.sum() == 2


@pytest.mark.parametrize("algo", ONLINE)
def test_a_run_goes_on_exactly_from_its_checkpoint(algo: str, tmp_path: Path) -> None:
    common = ("--env", "toy/Catch-v0", "--priority-exponent", "0.5", "--n-step", "2")
    whole = run_tiny(tmp_path, algo, *common, "--total-steps", "256")
    part = run_tiny(tmp_path, algo, *common, "--total-steps", "128")
    assert train(algo, ["--resume", str(part.path), "--total-steps", "256"]) == 0
    weights = [each.restore()[2] for each in (whole, part)]
    for name, expected in weights[0].items():
        assert torch.equal(weights[1][name], expected), name


def test_other_demonstrations_do_not_go_on_with_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_tiny(
        tmp_path, "sqil", "--env", "CartPole-v1", "--total-steps", "64", "--num-demos", "1"
    )
    config = run.path / "config.json"
    config.write_text(config.read_text().replace('"num_demos": 1', '"num_demos": 2'))
    again = ["--resume", str(run.path), "--total-steps", "128"]
    error = error_line(lambda: main("sqil", again), capsys)
    assert "must be the episodes of the run's start" in error


def test_more_demonstrations_than_there_are_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = [*tiny("sqil", "CartPole-v1"), "--num-demos", "9"]
    error = error_line(lambda: main("sqil", command), capsys)
    assert error == "--num-demos 9: there are 3 episodes to learn from"


@pytest.mark.parametrize("algo", ONLINE)
def test_an_evaluation_is_compared_with_the_demonstrator(algo: str, tmp_path: Path) -> None:
    args = ("--env", "CartPole-v1", "--total-steps", "64", "--eval-every-steps", "64")
    rows = read_metrics(run_tiny(tmp_path, algo, *args, "--eval-episodes", "1"))
    assert any("eval/of_demonstrator" in row for row in rows)


QUICK = (
    "--learning-rate",
    "3e-3",
    "--hidden",
    "32",
    "--epsilon",
    "1..0.1@0..1000",
    "--n-step",
    "1",
)
QUICK += ("--batch-size", "32", "--samples-per-step", "8", "--target-every-updates", "25")


@pytest.mark.full
@pytest.mark.parametrize("algo", ONLINE)
def test_an_agent_without_rewards_plays_as_the_expert_does(algo: str, tmp_path: Path) -> None:
    """On the best weights of the run. Random play gets 2.5."""
    args = ("--env", "toy/Identity-v0", "--demos", str(expert_games()), "--total-steps", "2000")
    scored = ("--eval-every-steps", "500", "--eval-episodes", "5", "--final-eval-episodes", "20")
    run = run_tiny(tmp_path, algo, *args, *QUICK, *scored)
    score = json.loads((run.path / "eval.json").read_text())
    assert score["eval/return_mean"] >= 9.5
