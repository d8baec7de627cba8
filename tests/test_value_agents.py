"""The losses of value agents on small tables, by hand: targets, C51, IQN, Munchausen."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from agents import c51, dqn, iqn
from agents.core.math.rescaling import rescale, unscale
from agents.core.optimize.bootstrap import Bootstrap
from agents.core.types.batches import Batch
from agents.core.types.inputs import Inputs
from agents.core.types.spaces import Spaces


class Table:
    """A network: its output for an observation is the row of that number."""

    support_Z = torch.tensor([-1.0, 0.0, 1.0])

    def __init__(self, *rows: Any):
        self.rows = torch.tensor(rows, requires_grad=True)

    def __call__(self, inputs: Inputs) -> Tensor:
        return self.rows[inputs.obs_BL[:, 0, 0].long()]

    def q_values(self, inputs: Inputs) -> Tensor:
        return self(inputs)

    def mean(self, outputs: Tensor) -> Tensor:
        return (outputs.exp() * self.support_Z).sum(dim=2)


def batch_of(reward: float, discount: float, action: int = 0, **more: Tensor) -> Batch:
    """One transition from observation 0 to observation 1."""
    batch = Batch(
        obs=torch.zeros(1, 1),
        action_B=torch.tensor([action]),
        reward_B=torch.tensor([reward]),
        discount_B=torch.tensor([discount]),
        next_obs=torch.ones(1, 1),
        weight_B=torch.ones(1),
        slot_B=torch.arange(1),
    )
    return replace(batch, **more)


def target_of(config: dqn.Config, batch: Batch, online: Table, target: Table) -> float:
    q_next_BA = target(batch.next_inputs)
    return Bootstrap(config, online, target).targets(batch, q_next_BA, q_next_BA).item()


ONLINE = Table([0.0, 0.0], [9.0, 1.0])
TARGET = Table([1.0, 2.0], [3.0, 4.0])


def test_a_target_takes_the_best_value_or_the_networks_choice() -> None:
    batch = batch_of(1.0, 0.5)
    assert target_of(dqn.Config(), batch, ONLINE, TARGET) == 1 + 0.5 * 4
    # The network prefers action 0, whose target value is 3.
    assert target_of(dqn.Config(double=True), batch, ONLINE, TARGET) == 1 + 0.5 * 3


def test_an_illegal_action_is_no_target() -> None:
    legal_BA = torch.tensor([[True, False]])
    batch = batch_of(1.0, 0.5, next_legal_BA=legal_BA)
    assert target_of(dqn.Config(), batch, ONLINE, TARGET) == 1 + 0.5 * 3
    soft = dqn.Config(munchausen=1e-9, munchausen_temperature=5.0)
    assert target_of(soft, batch, ONLINE, TARGET) == pytest.approx(1 + 0.5 * 3)


def test_a_rescaled_target_adds_rewards_at_their_own_scale() -> None:
    config = dqn.Config(rescale_values=True)
    batch = batch_of(10.0, 0.5)
    expected = rescale(10 + 0.5 * unscale(torch.tensor(4.0)))
    assert target_of(config, batch, ONLINE, TARGET) == pytest.approx(expected.item())


def test_munchausen_adds_the_actions_log_probability_and_a_soft_value() -> None:
    config = dqn.Config(munchausen=0.9, munchausen_temperature=1.0)
    # π(0|s) = e¹ / (e¹ + e²), and the soft value of (3, 4) at τ = 1 is log(e³ + e⁴).
    log_prob = 1 - math.log(math.exp(1) + math.exp(2))
    assert log_prob < -1  # So the floor of -1 counts.
    soft = math.log(math.exp(3) + math.exp(4))
    target = target_of(config, batch_of(1.0, 0.5), ONLINE, TARGET)
    assert target == pytest.approx(1 + 0.9 * -1 + 0.5 * soft)
    lower = replace(config, munchausen_floor=-5.0)
    target = target_of(lower, batch_of(1.0, 0.5), ONLINE, TARGET)
    assert target == pytest.approx(1 + 0.9 * log_prob + 0.5 * soft)


def test_double_munchausen_has_the_networks_policy_of_the_next_action() -> None:
    config = dqn.Config(munchausen=1e-9, munchausen_temperature=1.0, double=True)
    prob = 1 / (1 + math.exp(-8.0))  # The network's values are 9 and 1.
    entropy = -prob * math.log(prob) - (1 - prob) * math.log(1 - prob)
    expected = 1 + 0.5 * (prob * 3 + (1 - prob) * 4 + entropy)
    target = target_of(config, batch_of(1.0, 0.5), ONLINE, TARGET)
    assert target == pytest.approx(expected)


def log_probs(*rows: list[list[float]]) -> Table:
    return Table(*torch.tensor(rows).log().tolist())


def test_c51_projects_the_distribution_of_the_best_mean() -> None:
    network: Any = log_probs([[0.25, 0.5, 0.25], [0.1, 0.1, 0.8]], [[0.2] * 3, [0.2] * 3])
    # In s' the means are 0.5 and -0.4: action 0.
    target: Any = log_probs([[0.2] * 3, [0.2] * 3], [[0.1, 0.3, 0.6], [0.6, 0.2, 0.2]])
    output = c51.C51(c51.Config(num_atoms=3), network, target).loss(batch_of(0.5, 0.5))
    # The atoms -1, 0, 1 become 0, 0.5, 1; the second is halfway between 0 and 1.
    mass = [0.0, 0.1 + 0.15, 0.15 + 0.6]
    expected = -(mass[1] * math.log(0.5) + mass[2] * math.log(0.25))
    assert output.loss.item() == pytest.approx(expected)
    assert output.priority_B is not None
    entropy = -(mass[1] * math.log(mass[1]) + mass[2] * math.log(mass[2]))
    assert output.priority_B.item() == pytest.approx(expected - entropy, abs=1e-6)


def test_hl_gauss_is_a_normal_distribution_around_dqns_target() -> None:
    uniform = [[1 / 3] * 3] * 2
    network: Any = log_probs(uniform, uniform)
    target: Any = log_probs(uniform, [[0.1, 0.3, 0.6], [0.6, 0.2, 0.2]])
    config = c51.Config(num_atoms=3, target="hl_gauss")
    method = c51.C51(config, network, target)
    assert method.deviation.item() == pytest.approx(0.75)
    batch = batch_of(-0.25, 0.5)
    found_BZ = method.target_of(batch, target(batch.next_inputs))
    # The target is -0.25 + 0.5 * 0.5 = 0, so the histogram is symmetric.

    def below(x: float) -> float:
        return 0.5 * (1 + math.erf(x / (0.75 * math.sqrt(2))))

    whole = below(1.5) - below(-1.5)
    middle = (below(0.5) - below(-0.5)) / whole
    side = (1 - middle) / 2
    assert found_BZ[0].tolist() == pytest.approx([side, middle, side], abs=1e-6)


def test_the_atoms_follow_from_gamma_and_the_clipping() -> None:
    spaces = Spaces(1, (3,), torch.float32, stack=1, num_actions=2, atari=True)
    clipped = c51.support_of(c51.Config(gamma=0.98), spaces)
    assert clipped[[0, -1]].tolist() == pytest.approx([-5.0, 5.0])
    raw = c51.support_of(c51.Config(gamma=0.98, clip_reward=False), spaces)
    assert raw[[0, -1]].tolist() == pytest.approx([-50.0, 50.0])
    assert c51.support_of(c51.PRESETS["paper"], spaces)[[0, -1]].tolist() == [-10.0, 10.0]
    assert len(clipped) == 51


class Linear:
    """A network whose quantile at τ is the row's number plus τ, for each action."""

    def __init__(self, *rows: list[float]):
        self.rows = torch.tensor(rows)

    def at(self, inputs: Inputs, fraction_BI: Tensor) -> Tensor:
        row_BA = self.rows[inputs.obs_BL[:, 0, 0].long()]
        return row_BA.unsqueeze(2) + fraction_BI.unsqueeze(1)


def test_iqn_weighs_errors_by_the_fractions_of_the_batch() -> None:
    config = iqn.Config(num_fractions=2, num_target_fractions=1)
    network: Any = Linear([0.0, 0.0], [0.0, 0.0])
    target: Any = Linear([0.0, 0.0], [1.0, 2.0])
    batch = batch_of(1.0, 0.5, uniform=torch.tensor([[0.2, 0.6, 0.4]]))
    output = iqn.IQN(config, network, target).loss(batch)
    # The target is 1 + 0.5 * 2.4 = 2.2; the quantiles are 0.2 and 0.6. The errors are 2 and 1.6,
    # their Huber losses 1.5 and 1.1, and both are above: 0.2 * 1.5 + 0.6 * 1.1.
    assert output.loss.item() == pytest.approx(0.96)
    assert output.priority_B is not None
    assert output.priority_B.item() == pytest.approx(2.2 - 0.4)
