"""The losses against arithmetic done by hand, written beside each expected value."""

from __future__ import annotations

import pytest
import torch

from agents.core import losses

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = [torch.device("cpu"), pytest.param(torch.device("cuda"), marks=CUDA)]


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_dqn_error_bootstraps_from_the_largest_target_value(device: torch.device):
    q_next_BA = torch.tensor([[4.0, 6.0, 5.0], [7.0, 2.0, 3.0]], device=device)
    error_B = losses.td_error(
        q_BA=torch.tensor([[1.0, 2.0, 3.0], [0.5, -1.0, 2.0]], device=device),
        action_B=torch.tensor([2, 0], device=device),
        reward_B=torch.tensor([1.0, -1.0], device=device),
        discount_B=torch.tensor([0.5, 0.25], device=device),
        q_next_BA=q_next_BA,
        select_BA=q_next_BA,
    )
    # 1 + 0.5 * max(4, 6, 5) - 3 = 1;  -1 + 0.25 * max(7, 2, 3) - 0.5 = 0.25
    assert error_B.tolist() == [1.0, 0.25]


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_double_dqn_error_takes_the_target_value_of_the_selectors_choice(device: torch.device):
    error_B = losses.td_error(
        q_BA=torch.tensor([[1.0, 2.0, 3.0], [0.5, -1.0, 2.0]], device=device),
        action_B=torch.tensor([2, 0], device=device),
        reward_B=torch.tensor([1.0, -1.0], device=device),
        discount_B=torch.tensor([0.5, 0.25], device=device),
        q_next_BA=torch.tensor([[4.0, 6.0, 5.0], [7.0, 2.0, 3.0]], device=device),
        select_BA=torch.tensor([[0.0, 0.0, 9.0], [1.0, 3.0, 2.0]], device=device),
    )
    # The selector prefers actions 2 and 1, whose target values are 5 and 2:
    # 1 + 0.5 * 5 - 3 = 0.5;  -1 + 0.25 * 2 - 0.5 = -1
    assert error_B.tolist() == [0.5, -1.0]


def test_zero_discount_ignores_the_next_state():
    q_next_BA = torch.tensor([[1e30, -1e30]])
    error_B = losses.td_error(
        torch.tensor([[0.25, 8.0]]),
        torch.tensor([0]),
        torch.tensor([1.0]),
        torch.tensor([0.0]),
        q_next_BA,
        q_next_BA,
    )
    assert error_B.tolist() == [0.75]  # 1 + 0 * 1e30 - 0.25


def test_only_the_value_of_the_action_taken_has_a_gradient():
    q_BA = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    q_next_BA = torch.tensor([[4.0, 6.0, 5.0]], requires_grad=True)
    select_BA = torch.tensor([[9.0, 0.0, 0.0]], requires_grad=True)
    one_B = torch.ones(1)
    losses.td_error(q_BA, torch.tensor([1]), one_B, one_B, q_next_BA, select_BA).sum().backward()
    assert q_BA.grad is not None
    assert q_BA.grad.tolist() == [[0.0, -1.0, 0.0]]  # d(target - Q(s, a)) / dQ(s, a) = -1
    assert q_next_BA.grad is None
    assert select_BA.grad is None


def test_td_error_refuses_actions_with_a_second_axis():
    q_BA, one_B = torch.zeros(2, 3), torch.ones(2)
    with pytest.raises(AssertionError):
        losses.td_error(q_BA, torch.zeros(2, 1, dtype=torch.int64), one_B, one_B, q_BA, q_BA)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_squared_is_half_the_square(device: torch.device):
    error_B = torch.tensor([-3.0, 0.0, 0.5], device=device)
    assert losses.squared(error_B).tolist() == [4.5, 0.0, 0.125]  # 9 / 2, 0 / 2, 0.25 / 2


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_huber_is_quadratic_within_the_threshold_and_linear_beyond(device: torch.device):
    error_B = torch.tensor([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0], device=device)
    # Within: 0.5²/2 = 0.125, 1²/2 = 0.5. Beyond: 1 * (|δ| - 1/2), so 3 - 0.5 and 2 - 0.5.
    assert losses.huber(error_B).tolist() == [2.5, 0.5, 0.125, 0.0, 0.125, 0.5, 1.5]


def test_huber_with_another_threshold():
    # Within 2: 1.5²/2 = 1.125. Beyond: 2 * (5 - 2/2) = 8.
    assert losses.huber(torch.tensor([1.5, -5.0]), threshold=2.0).tolist() == [1.125, 8.0]


@pytest.mark.parametrize("threshold", [1.0, 2.0])
def test_the_gradient_of_huber_is_the_clipped_error(threshold: float):
    error_B = torch.tensor([-7.0, -1.5, -0.25, 0.25, 0.999, 1.5, 7.0], requires_grad=True)
    losses.huber(error_B, threshold).sum().backward()
    assert torch.equal(error_B.grad, error_B.detach().clamp(-threshold, threshold))
