"""The returns against arithmetic done by hand, written beside each expected value."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from agents.core import returns

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = [torch.device("cpu"), pytest.param(torch.device("cuda"), marks=CUDA)]


def n_step(
    rewards: list[float],
    terminated: list[int],
    ended: list[int],
    gamma: float,
    device: torch.device | str = "cpu",
) -> tuple[float, float, int]:
    return_B, discount_B, steps_B = returns.n_step(
        torch.tensor([rewards], device=device),
        torch.tensor([terminated], device=device).bool(),
        torch.tensor([ended], device=device).bool(),
        gamma,
    )
    assert return_B.dtype == discount_B.dtype == torch.float32
    assert steps_B.dtype == torch.int64
    return return_B.item(), discount_B.item(), int(steps_B.item())


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_a_full_window_sums_all_n_rewards_and_bootstraps(device: torch.device):
    # 1 + 0.5 * 2 + 0.25 * 4 = 3, then 0.5³ of the value three steps on
    assert n_step([1.0, 2.0, 4.0], [0, 0, 0], [0, 0, 0], 0.5, device) == (3.0, 0.125, 3)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_truncation_bootstraps_but_termination_does_not(device: torch.device):
    # Both end the sum after 1 + 0.5 * 2 = 2; a truncation goes on to 0.5² of the next value.
    assert n_step([1.0, 2.0, 4.0], [0, 0, 0], [0, 1, 0], 0.5, device) == (2.0, 0.25, 2)
    assert n_step([1.0, 2.0, 4.0], [0, 1, 0], [0, 1, 0], 0.5, device) == (2.0, 0.0, 2)


def test_a_lost_life_ends_the_return_as_a_termination_and_the_next_life_adds_nothing():
    # The replay marks the step of a lost life terminated and ended; later steps are played on.
    assert n_step([1.0, 2.0, 100.0, 100.0], [0, 1, 0, 0], [0, 1, 0, 0], 0.5) == (2.0, 0.0, 2)


def test_an_end_at_the_first_or_last_step_of_the_window():
    assert n_step([1.0, 2.0], [1, 0], [1, 0], 0.5) == (1.0, 0.0, 1)
    assert n_step([1.0, 2.0], [0, 0], [1, 0], 0.5) == (1.0, 0.5, 1)
    assert n_step([1.0, 2.0], [0, 1], [0, 1], 0.5) == (2.0, 0.0, 2)  # 1 + 0.5 * 2
    assert n_step([1.0, 2.0], [0, 0], [0, 1], 0.5) == (2.0, 0.25, 2)


def test_a_termination_after_a_truncation_is_of_another_episode():
    assert n_step([1.0, 9.0, 9.0], [0, 0, 1], [1, 0, 1], 0.5) == (1.0, 0.5, 1)


def test_a_truncation_after_a_termination_is_of_another_episode():
    assert n_step([1.0, 9.0, 9.0], [1, 0, 0], [1, 0, 1], 0.5) == (1.0, 0.0, 1)


def test_one_step_is_the_reward_and_gamma():
    assert n_step([3.0], [0], [0], 0.25) == (3.0, 0.25, 1)
    assert n_step([3.0], [1], [1], 0.25) == (3.0, 0.0, 1)
    assert n_step([3.0], [0], [1], 0.25) == (3.0, 0.25, 1)


def test_gamma_of_zero_and_one():
    assert n_step([3.0, 5.0], [0, 0], [0, 0], 0.0) == (3.0, 0.0, 2)  # 0⁰ = 1 weighs the first
    assert n_step([3.0, 5.0], [0, 0], [0, 0], 1.0) == (8.0, 1.0, 2)


def slow_n_step(
    rewards: list[float], terminated: list[bool], ended: list[bool], gamma: float
) -> tuple[float, float, int]:
    total, power = 0.0, 1.0
    for k, reward in enumerate(rewards):
        total += power * reward
        power *= gamma
        if terminated[k]:
            return total, 0.0, k + 1
        if ended[k]:
            return total, power, k + 1
    return total, power, len(rewards)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.floats(0, 1, width=32), st.randoms())
def test_every_row_equals_a_loop_over_its_steps(n, batch, gamma, random):
    rows = [
        [(random.uniform(-2, 2), random.random() < 0.2, random.random() < 0.2) for _ in range(n)]
        for _ in range(batch)
    ]
    reward_BT, terminated_BT, truncated_BT = (Tensor(rows)[..., i] for i in range(3))
    ended_BT = (terminated_BT + truncated_BT).bool()
    got = returns.n_step(reward_BT, terminated_BT.bool(), ended_BT, gamma)
    for b, row in enumerate(rows):
        rewards, terminated, truncated = map(list, zip(*row, strict=True))
        ended = [a or b for a, b in zip(terminated, truncated, strict=True)]
        expected = slow_n_step(rewards, terminated, ended, gamma)
        assert [float(column[b]) for column in got] == pytest.approx(expected, abs=1e-5)
