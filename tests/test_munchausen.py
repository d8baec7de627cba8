"""Munchausen's policy, bonus and soft value against arithmetic by hand and a slow formulation."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.devices import DEVICES
from support.slow_losses import slow_quantile_huber

from agents.core.math import losses, munchausen

LOG = math.log


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_the_policy_is_the_softmax_of_values_over_the_temperature(device: torch.device):
    # With τ = ½, exp(Q / τ) is 1, 2 and 5: the sum is 8.
    q_BA = 0.5 * torch.tensor([[1.0, 2.0, 5.0]], device=device).log()
    log_prob_BA = munchausen.log_policy(q_BA, 0.5)
    assert log_prob_BA.exp().tolist()[0] == pytest.approx([1 / 8, 2 / 8, 5 / 8])


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_an_illegal_action_has_no_probability(device: torch.device):
    q_BA = 0.5 * torch.tensor([[1.0, 2.0, 5.0], [1.0, 2.0, 5.0]], device=device).log()
    legal_BA = torch.tensor([[1, 0, 1], [0, 1, 0]], device=device).bool()
    log_prob_BA = munchausen.log_policy(q_BA, 0.5, legal_BA)
    # 1 / 6 and 5 / 6; then the only legal action
    assert log_prob_BA.exp().tolist()[0] == pytest.approx([1 / 6, 0, 5 / 6])
    assert log_prob_BA.tolist()[1] == [-math.inf, 0.0, -math.inf]


@pytest.mark.parametrize("temperature", [1e-40, 1e-30, 0.03, 1e30])
def test_the_policy_is_finite_where_values_over_the_temperature_are_not(temperature: float):
    q_BA = torch.tensor([[3e5, -3e5, 3e5], [1e-3, 0.0, -1.0]])
    prob_BA = munchausen.log_policy(q_BA, temperature).exp()
    assert prob_BA.sum(dim=1).tolist() == pytest.approx([1.0, 1.0])
    assert not munchausen.soft_value(q_BA, q_BA, temperature).isnan().any()


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_the_bonus_is_the_clipped_logarithm_of_the_policy(device: torch.device):
    q_BA = 0.5 * torch.tensor([[1.0, 2.0, 5.0]] * 3, device=device).log()
    action_B = torch.tensor([0, 1, 2], device=device)
    # α max(τ log π, l₀) = 0.9 max(½ log(1/8), -1) = 0.9 * -1, 0.9 * ½ log ¼ and 0.9 * ½ log ⅝
    expected = [-0.9, 0.45 * LOG(0.25), 0.45 * LOG(0.625)]
    assert munchausen.bonus(q_BA, action_B, 0.5, 0.9, -1.0).tolist() == pytest.approx(expected)


def test_the_bonus_counts_legal_actions_only():
    q_BA = 0.5 * torch.tensor([[1.0, 2.0, 5.0]]).log()
    legal_BA = torch.tensor([[True, False, True]])
    got = munchausen.bonus(q_BA, torch.tensor([0]), 0.5, 0.9, -9.0, legal_BA)
    assert got.tolist() == pytest.approx([0.45 * LOG(1 / 6)])


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_the_soft_value_is_the_logarithm_of_the_sum_of_exponentials(device: torch.device):
    q_BA = 0.5 * torch.tensor([[1.0, 2.0, 5.0], [1.0, 2.0, 5.0]], device=device).log()
    legal_BA = torch.tensor([[1, 1, 1], [1, 0, 1]], device=device).bool()
    # τ log Σ exp(Q / τ) = ½ log 8, and without the second action ½ log 6
    got = munchausen.soft_value(q_BA, q_BA, 0.5, legal_BA).tolist()
    assert got == pytest.approx([0.5 * LOG(8), 0.5 * LOG(6)])


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_the_soft_value_of_quantiles_mixes_them_by_the_policy(device: torch.device):
    q_BA = 0.5 * torch.tensor([[1.0, 3.0]], device=device).log()  # π = ¼ and ¾
    quantiles_BAJ = torch.tensor([[[0.0, 4.0, 8.0], [4.0, 8.0, -8.0]]], device=device)
    entropy = -(0.25 * LOG(0.25) + 0.75 * LOG(0.75))
    # ¼ 0 + ¾ 4 = 3, ¼ 4 + ¾ 8 = 7, ¼ 8 - ¾ 8 = -4; each with τ times the entropy
    expected = [3 + 0.5 * entropy, 7 + 0.5 * entropy, -4 + 0.5 * entropy]
    got = munchausen.soft_value(quantiles_BAJ, q_BA, 0.5)
    assert got.shape == (1, 3)
    assert got.tolist()[0] == pytest.approx(expected)


@pytest.mark.parametrize("masked", [False, True])
def test_a_temperature_near_zero_is_the_best_legal_action(masked: bool):
    q_BA = torch.tensor([[1.0, 3.0, 2.0], [5.0, -1.0, -2.0]])
    legal_BA = torch.tensor([[True, False, True], [False, True, True]]) if masked else None
    best_B = losses.greedy(q_BA, legal_BA)
    quantiles_BAJ = torch.randn(2, 3, 4)
    got = munchausen.soft_value(quantiles_BAJ, q_BA, 1e-6, legal_BA)
    assert torch.allclose(got, quantiles_BAJ[torch.arange(2), best_B], atol=1e-4)
    plain = munchausen.soft_value(q_BA, q_BA, 1e-6, legal_BA)
    assert torch.allclose(plain, q_BA[torch.arange(2), best_B], atol=1e-4)


def test_where_no_action_is_legal_nothing_is_nan():
    q_BA = torch.tensor([[1.0, 3.0], [1.0, 3.0]], requires_grad=True)
    legal_BA = torch.tensor([[False, False], [True, False]])
    value_B = munchausen.soft_value(q_BA, q_BA, 0.03, legal_BA)
    assert value_B.isfinite().all()
    assert munchausen.bonus(q_BA, torch.tensor([0, 0]), 0.03, 0.9, -1.0, legal_BA).isfinite().all()
    (gradient_BA,) = torch.autograd.grad(value_B.sum(), q_BA)
    assert gradient_BA.isfinite().all()
    assert gradient_BA[1].tolist() == pytest.approx([1.0, 0.0])


def slow_policy(values: list[float], temperature: float, legal: list[bool]) -> list[float]:
    weights = [
        math.exp((q - max(values)) / temperature) if allowed else 0.0
        for q, allowed in zip(values, legal, strict=True)
    ]
    return [weight / sum(weights) for weight in weights]


def slow_target(
    reward: float,
    discount: float,
    bonus: float,
    policy: list[float],
    values: list[float],
    temperature: float,
) -> float:
    """Eq. 2 with the sum over actions that have a probability."""
    total = 0.0
    for probability, value in zip(policy, values, strict=True):
        if probability > 0:
            total += probability * (value - temperature * math.log(probability))
    return reward + bonus + discount * total


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.03, 3.0), st.floats(0, 1), st.integers(1, 5))
def test_the_targets_of_dqn_and_of_quantiles_equal_a_loop_in_float64(seed, temperature, scale, num):
    draw = torch.Generator().manual_seed(seed)
    q_BA = torch.randn(2, num, generator=draw)
    quantiles_BAJ = torch.randn(2, num, 3, generator=draw)
    legal_BA = torch.rand(2, num, generator=draw) < 0.7
    legal_BA[:, 0] = True
    bonus_B = munchausen.bonus(
        q_BA, torch.zeros(2, dtype=torch.int64), temperature, scale, -1.0, legal_BA
    )
    next_q_BA = quantiles_BAJ.mean(dim=2)
    target_B = (
        1.5 + bonus_B + 0.9 * munchausen.soft_value(next_q_BA, next_q_BA, temperature, legal_BA)
    )
    target_BJ = (1.5 + bonus_B).unsqueeze(1) + 0.9 * munchausen.soft_value(
        quantiles_BAJ, next_q_BA, temperature, legal_BA
    )
    for b in range(2):
        legal = legal_BA[b].tolist()
        taken = slow_policy(q_BA[b].double().tolist(), temperature, legal)[0]
        # e^-745 is the least double, and τ log π is far below the floor there.
        bonus = scale * max(temperature * math.log(max(taken, 1e-300)), -1.0)
        values = next_q_BA[b].double().tolist()
        policy = slow_policy(values, temperature, legal)
        assert target_B[b].item() == pytest.approx(
            slow_target(1.5, 0.9, bonus, policy, values, temperature), abs=1e-5
        )
        for j in range(3):
            sampled = quantiles_BAJ[b, :, j].double().tolist()
            assert target_BJ[b, j].item() == pytest.approx(
                slow_target(1.5, 0.9, bonus, policy, sampled, temperature), abs=1e-5
            )


def test_the_losses_of_munchausen_and_their_gradients_equal_loops_in_float64():
    draw = torch.Generator().manual_seed(3)
    temperature, action_B = 0.3, torch.tensor([1, 2])
    q_BA = torch.randn(2, 3, generator=draw)
    quantiles_BAJ = torch.randn(2, 3, 4, generator=draw)
    next_q_BA = quantiles_BAJ.mean(dim=2)
    bonus_B = munchausen.bonus(q_BA, action_B, temperature, 0.9, -1.0)
    soft_BJ = munchausen.soft_value(quantiles_BAJ, next_q_BA, temperature)
    target_BJ = (0.5 + bonus_B).unsqueeze(1) + 0.9 * soft_BJ
    soft_B = munchausen.soft_value(next_q_BA, next_q_BA, temperature)
    estimate_BI = torch.randn(2, 5, generator=draw).requires_grad_()
    error_B = 0.5 + bonus_B + 0.9 * soft_B - estimate_BI[:, 0]

    exact_BI = estimate_BI.detach().double().requires_grad_()
    legal = [True] * 3
    slow_BJ, slow_loss = [], torch.zeros((), dtype=torch.float64)
    for b in range(2):
        taken = slow_policy(q_BA[b].double().tolist(), temperature, legal)[int(action_B[b])]
        bonus = 0.9 * max(temperature * math.log(taken), -1.0)
        values = next_q_BA[b].double().tolist()
        policy = slow_policy(values, temperature, legal)
        error = slow_target(0.5, 0.9, bonus, policy, values, temperature) - exact_BI[b, 0]
        slow_loss = slow_loss + (error**2 / 2 if error.abs() <= 1 else error.abs() - 0.5)
        sampled = quantiles_BAJ[b].double().T.tolist()
        slow_BJ.append([slow_target(0.5, 0.9, bonus, policy, row, temperature) for row in sampled])
    slow_quantiles = slow_quantile_huber(
        exact_BI, torch.tensor(slow_BJ), 1.0, [[0.1, 0.3, 0.5, 0.7, 0.9]] * 2
    )

    pairs = [
        (losses.huber(error_B).sum(), slow_loss),
        (losses.quantile_huber(estimate_BI, target_BJ).sum(), slow_quantiles),
    ]
    for got, expected in pairs:
        assert got.item() == pytest.approx(expected.item(), abs=1e-5)
        (gradient_BI,) = torch.autograd.grad(got, estimate_BI)
        (exact_gradient_BI,) = torch.autograd.grad(expected, exact_BI)
        assert torch.allclose(gradient_BI.double(), exact_gradient_BI, rtol=0, atol=1e-5)


def test_no_equation_waits_for_the_device():
    # Tensors of the meta device have no values, so that a look at one raises.
    q_BA, quantiles_BAJ = torch.empty(3, 4, device="meta"), torch.empty(3, 4, 5, device="meta")
    legal_BA = torch.empty(3, 4, dtype=torch.bool, device="meta")
    action_B = torch.empty(3, dtype=torch.int64, device="meta")
    assert munchausen.bonus(q_BA, action_B, 0.03, 0.9, -1.0, legal_BA).shape == (3,)
    assert munchausen.soft_value(q_BA, q_BA, 0.03, legal_BA).shape == (3,)
    assert munchausen.soft_value(quantiles_BAJ, q_BA, 0.03, legal_BA).shape == (3, 5)
