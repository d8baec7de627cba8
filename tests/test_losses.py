"""The losses against arithmetic done by hand, written beside each expected value."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.devices import DEVICES
from support.slow_losses import slow_quantile_huber
from torch import Tensor

from agents.core.math import losses, targets


def td_error(
    q_BA: Tensor,
    action_B: Tensor,
    reward_B: Tensor,
    discount_B: Tensor,
    q_next_BA: Tensor,
    select_BA: Tensor,
    action_gap: float = 0.0,
    legal_BA: Tensor | None = None,
    next_legal_BA: Tensor | None = None,
) -> Tensor:
    """The error of DQN, from the target's parts."""
    next_value_B = targets.taken(q_next_BA, losses.greedy(select_BA, next_legal_BA))
    target_B = targets.bootstrapped(reward_B, discount_B, next_value_B)
    return losses.td_error(q_BA, action_B, target_B, action_gap, legal_BA)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_dqn_error_bootstraps_from_the_largest_target_value(device: torch.device):
    q_next_BA = torch.tensor([[4.0, 6.0, 5.0], [7.0, 2.0, 3.0]], device=device)
    error_B = td_error(
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
    error_B = td_error(
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


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_advantage_learning_takes_off_what_the_action_costs(device: torch.device):
    q_next_BA = torch.tensor([[4.0, 6.0, 5.0], [7.0, 2.0, 3.0]], device=device)
    q_BA = torch.tensor([[1.0, 2.0, 3.0], [0.5, -1.0, 2.0]], device=device, requires_grad=True)
    error_B = td_error(
        q_BA=q_BA,
        action_B=torch.tensor([2, 0], device=device),
        reward_B=torch.tensor([1.0, -1.0], device=device),
        discount_B=torch.tensor([0.5, 0.25], device=device),
        q_next_BA=q_next_BA,
        select_BA=q_next_BA,
        action_gap=0.5,
    )
    # The first took its best action; the second one that is 2 - 0.5 below: 0.25 - 0.5 * 1.5.
    assert error_B.tolist() == [1.0, -0.5]
    error_B.sum().backward()
    assert q_BA.grad is not None
    assert q_BA.grad.tolist() == [[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]]


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_greedy_takes_the_best_legal_action(device: torch.device):
    q_BA = torch.tensor([[1.0, 3.0, 2.0], [5.0, -1.0, -2.0], [1.0, 7.0, 7.0]], device=device)
    legal_BA = torch.tensor([[1, 0, 1], [0, 1, 1], [1, 1, 1]], device=device).bool()
    assert losses.greedy(q_BA).tolist() == [1, 0, 1]
    assert losses.greedy(q_BA, legal_BA).tolist() == [2, 1, 1]
    assert losses.greedy(q_BA, legal_BA).dtype == torch.int64


def test_where_no_action_is_legal_the_values_stay_finite():
    # The state after the last step of an episode: its value is finite, and its discount 0.
    q_BA = torch.tensor([[1.0, 3.0], [4.0, 2.0]])
    legal_BA = torch.tensor([[False, False], [False, True]])
    assert losses.greedy(q_BA, legal_BA).tolist() == [1, 1]
    assert losses.legal_values(q_BA, legal_BA).tolist() == [[1.0, 3.0], [-math.inf, 2.0]]


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_an_illegal_action_is_neither_the_target_nor_the_gap(device: torch.device):
    q_next_BA = torch.tensor([[4.0, 60.0, 5.0], [7.0, 2.0, 3.0]], device=device)
    q_BA = torch.tensor([[1.0, 90.0, 3.0], [0.5, -1.0, 2.0]], device=device, requires_grad=True)
    error_B = td_error(
        q_BA=q_BA,
        action_B=torch.tensor([0, 0], device=device),
        reward_B=torch.tensor([1.0, -1.0], device=device),
        discount_B=torch.tensor([0.5, 0.25], device=device),
        q_next_BA=q_next_BA,
        select_BA=q_next_BA,
        action_gap=0.5,
        legal_BA=torch.tensor([[1, 0, 1], [1, 1, 1]], device=device).bool(),
        next_legal_BA=torch.tensor([[1, 0, 1], [0, 1, 1]], device=device).bool(),
    )
    # 1 + 0.5 * max(4, 5) - 0.5 * (max(1, 3) - 1) - 1 = 1.5
    # -1 + 0.25 * max(2, 3) - 0.5 * (2 - 0.5) - 0.5 = -1.5
    assert error_B.tolist() == [1.5, -1.5]
    error_B.sum().backward()
    assert q_BA.grad is not None
    assert q_BA.grad.tolist() == [[-1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]


def test_double_q_chooses_among_the_legal_actions():
    one_B = torch.ones(1)
    q_BA = torch.tensor([[1.0, 2.0, 3.0]])
    error_B = td_error(
        q_BA,
        torch.tensor([0]),
        one_B,
        one_B,
        torch.tensor([[4.0, 6.0, 5.0]]),
        torch.tensor([[1.0, 2.0, 9.0]]),
        next_legal_BA=torch.tensor([[True, True, False]]),
    )
    assert error_B.tolist() == [6.0]  # The selector's best legal action is 1: 1 + 6 - 1.


def test_zero_discount_ignores_the_next_state():
    q_next_BA = torch.tensor([[1e30, -1e30]])
    error_B = td_error(
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
    td_error(q_BA, torch.tensor([1]), one_B, one_B, q_next_BA, select_BA).sum().backward()
    assert q_BA.grad is not None
    assert q_BA.grad.tolist() == [[0.0, -1.0, 0.0]]  # d(target - Q(s, a)) / dQ(s, a) = -1
    assert q_next_BA.grad is None
    assert select_BA.grad is None


def test_td_error_refuses_actions_with_a_second_axis():
    q_BA, one_B = torch.zeros(2, 3), torch.ones(2)
    with pytest.raises(AssertionError):
        td_error(q_BA, torch.zeros(2, 1, dtype=torch.int64), one_B, one_B, q_BA, q_BA)


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


def gradient_of(loss: torch.Tensor, leaf: torch.Tensor) -> list[float]:
    (gradient,) = torch.autograd.grad(loss.sum(), leaf)
    return gradient.tolist()


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_the_policy_gradient_is_the_advantage_times_that_of_the_log_probability(
    device: torch.device,
):
    log_prob_B = torch.tensor([-1.0, -2.0, -0.5], device=device, requires_grad=True)
    advantage_B = torch.tensor([3.0, -4.0, 0.0], device=device, requires_grad=True)
    loss_B = losses.policy_gradient(log_prob_B, advantage_B)
    assert loss_B.tolist() == [3.0, -8.0, 0.0]  # -3 * -1, 4 * -2, 0
    assert gradient_of(loss_B, log_prob_B) == [-3.0, 4.0, 0.0]  # downhill is up the advantage


def test_the_policy_gradient_does_not_train_the_advantage():
    value = torch.tensor([1.0], requires_grad=True)
    assert not losses.policy_gradient(torch.tensor([-1.0]), 3 - value).requires_grad


def test_the_policy_gradient_of_a_softmax_is_reinforces():
    # ∂ log π(a) / ∂ logit_k = 1{k = a} - π(k): with π = (1/2, 1/4, 1/4), a = 1 and Â = 2 the loss's
    # gradient is -2 * (-1/2, 3/4, -1/4).
    logits = torch.tensor([2.0, 1.0, 1.0]).log().requires_grad_()
    loss = losses.policy_gradient(logits.log_softmax(dim=0)[1], torch.tensor(2.0))
    assert gradient_of(loss, logits) == pytest.approx([1.0, -1.5, 0.5])


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize(
    ("ratio", "advantage", "expected", "slope"),
    [
        # Likelier and better than expected: clipped to 1.25, and pushed no further.
        (1.5, 2.0, -1.25 * 2.0, 0.0),
        # Less likely though better: not clipped, so that it is pushed back; d(-ρ Â)/dρ = -Â.
        (0.5, 2.0, -0.5 * 2.0, -2.0),
        # Likelier though worse: not clipped, so that it is pushed back.
        (1.5, -2.0, 1.5 * 2.0, 2.0),
        # Less likely and worse: clipped to 0.75, and pushed no further.
        (0.5, -2.0, 0.75 * 2.0, 0.0),
        # Within 1 ± 0.25 nothing is clipped.
        (1.125, 2.0, -1.125 * 2.0, -2.0),
        (0.875, -2.0, 0.875 * 2.0, 2.0),
    ],
)
def test_the_policys_loss_is_clipped_only_where_it_would_move_on(
    ratio: float, advantage: float, expected: float, slope: float, device: torch.device
):
    old_B = torch.tensor([-1.0], device=device)
    log_prob_B = (old_B + math.log(ratio)).requires_grad_()
    advantage_B = torch.tensor([advantage], device=device)
    loss_B = losses.clipped_policy(
        log_prob_B, old_B, advantage_B, torch.tensor(0.25, device=device)
    )
    assert loss_B.tolist() == pytest.approx([expected])
    # dρ / d log π = ρ
    assert gradient_of(loss_B, log_prob_B) == pytest.approx([slope * ratio])


def test_of_the_policy_that_made_the_rollout_the_clipped_gradient_is_the_policy_gradient():
    old = torch.tensor([[-1.0, -2.0], [-0.5, -3.0]])
    advantage = torch.tensor([[1.0, -2.0], [0.5, 4.0]])
    log_prob = old.clone().requires_grad_()
    loss = losses.clipped_policy(log_prob, old, advantage, torch.tensor(0.2))
    clipped = gradient_of(loss, log_prob)
    assert clipped == gradient_of(losses.policy_gradient(log_prob, advantage), log_prob)
    assert clipped == (-advantage).tolist()


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize(
    ("value", "target", "expected", "slope"),
    [
        # From V_old = 1, ε = 0.5: a V of 3 is clipped to 1.5.
        (3.0, 4.0, 3.125, 0.0),  # max((3 - 4)², (1.5 - 4)²) / 2 = 6.25 / 2: has moved enough
        (3.0, 0.0, 4.5, 3.0),  # max((3 - 0)², (1.5 - 0)²) / 2 = 9 / 2: is pushed back
        (-1.0, -2.0, 3.125, 0.0),  # clipped to 0.5: max(1², 2.5²) / 2
        (-1.0, 2.0, 4.5, -3.0),  # max((-1 - 2)², (0.5 - 2)²) / 2
        (1.25, 2.0, 0.28125, -0.75),  # within: (1.25 - 2)² / 2
    ],
)
def test_the_values_loss_is_the_larger_one_of_the_value_and_the_clipped_value(
    value: float, target: float, expected: float, slope: float, device: torch.device
):
    value_B = torch.tensor([value], device=device, requires_grad=True)
    old_B, target_B = torch.ones(1, device=device), torch.tensor([target], device=device)
    loss_B = losses.clipped_value(value_B, old_B, target_B, 0.5)
    assert loss_B.tolist() == [expected]
    assert gradient_of(loss_B, value_B) == [slope]


def test_a_value_clipped_at_infinity_is_not_clipped():
    value_B = torch.tensor([3.0, -1.0, 1.0, 100.0], requires_grad=True)
    old_B, target_B = torch.ones(4), torch.tensor([4.0, -3.0, 1.0, 0.0])
    loss_B = losses.clipped_value(value_B, old_B, target_B, math.inf)
    assert loss_B.tolist() == [0.5, 2.0, 0.0, 5_000.0]  # 1 / 2, 4 / 2, 0, 100² / 2
    assert gradient_of(loss_B, value_B) == [-1.0, 2.0, 0.0, 100.0]  # V - R


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_the_approximate_divergence_is_the_ratio_less_one_less_its_logarithm(device: torch.device):
    old_B = torch.tensor([-1.0, -1.0, -3.0], device=device)
    log_prob_B = old_B + torch.tensor([2.0, 0.5, 1.0], device=device).log()
    # 2 - 1 - log 2, 0.5 - 1 - log 0.5, and 0 where nothing has changed
    expected = [1 - math.log(2), math.log(2) - 0.5, 0.0]
    assert losses.approximate_kl(log_prob_B, old_B).tolist() == pytest.approx(expected)


def test_the_approximate_divergence_is_the_divergence_on_average():
    p_A, q_A = torch.tensor([0.5, 0.25, 0.25]), torch.tensor([0.2, 0.3, 0.5])
    kl = (p_A * (p_A / q_A).log()).sum()
    assert (p_A * losses.approximate_kl(q_A.log(), p_A.log())).sum() == pytest.approx(kl.item())


@given(
    st.floats(-20, 0, width=32),
    st.one_of(st.floats(-20, 0), st.floats(-1e-3, 1e-3)),
)
def test_the_approximate_divergence_is_never_negative(old: float, change: float):
    old_B = torch.tensor([old])
    assert losses.approximate_kl(old_B + change, old_B).item() >= 0.0
    assert losses.approximate_kl(old_B, old_B).item() == 0.0


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_the_clipped_share_is_of_ratios_outside_the_clip(device: torch.device):
    ratio_B = torch.tensor([1.5, 0.5, 1.2, 0.8, 1.0], device=device)
    old_B = torch.full_like(ratio_B, -2.0)
    clip = torch.tensor(0.25, device=device)
    share_B = losses.clipped_share(old_B + ratio_B.log(), old_B, clip)
    assert share_B.tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_quantile_huber_weighs_errors_by_their_midpoints(device: torch.device):
    loss_B = losses.quantile_huber(
        torch.tensor([[0.0, 4.0]], device=device), torch.tensor([[1.0, 3.0, 0.5]], device=device)
    )
    # Midpoints are ¼ and ¾; the Huber loss of u is ½ u² up to 1 and |u| - ½ beyond.
    # θ = 0 has errors 1, 3 and ½, all above it: ¼ (½ + 2½ + ⅛) = 0.78125.
    # θ = 4 has errors -3, -1 and -3½, all below it: |¾ - 1| (2½ + ½ + 3) = 1.5.
    # Means over the three targets, and their sum: (0.78125 + 1.5) / 3.
    assert loss_B.tolist() == pytest.approx([(0.78125 + 1.5) / 3])


def test_quantile_huber_is_least_at_the_quantiles():
    # Of the numbers 0 … 99 a quarter is below 24.5, and three quarters below 74.5.
    target_BJ = torch.arange(100.0).unsqueeze(0)
    quantiles = torch.tensor([[40.0, 60.0]], requires_grad=True)
    optimizer = torch.optim.Adam([quantiles], lr=0.5)
    for _ in range(1_000):
        optimizer.zero_grad()
        losses.quantile_huber(quantiles, target_BJ, threshold=0.01).sum().backward()
        optimizer.step()
    assert quantiles.tolist()[0] == pytest.approx([24.5, 74.5], abs=1.0)


def test_quantile_huber_gives_targets_no_gradient():
    quantiles = torch.zeros(2, 3, requires_grad=True)
    target = torch.ones(2, 5, requires_grad=True)
    losses.quantile_huber(quantiles, target).sum().backward()
    assert quantiles.grad is not None
    assert quantiles.grad.abs().min() > 0
    assert target.grad is None


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_quantile_huber_weighs_errors_by_the_fractions_of_iqn(device: torch.device):
    loss_B = losses.quantile_huber(
        torch.tensor([[0.0, 4.0], [0.0, 4.0]], device=device),
        torch.tensor([[1.0, 3.0, 0.5], [1.0, 3.0, 0.5]], device=device),
        fraction_BI=torch.tensor([[0.5, 0.25], [0.0, 1.0]], device=device),
    )
    # The Huber losses are 2½ + ½ + ⅛ = 3.125 above θ = 0, and 2½ + ½ + 3 = 6 below θ = 4.
    # First row: ½ 3.125 + |¼ - 1| 6 = 6.0625. Second row: 0 * 3.125 + |1 - 1| 6 = 0.
    assert loss_B.tolist() == pytest.approx([6.0625 / 3, 0.0])


def test_the_midpoints_as_fractions_are_the_loss_without_fractions():
    quantiles_BI, target_BJ = torch.randn(4, 5), torch.randn(4, 7)
    fraction_BI = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9]).expand(4, 5)
    got = losses.quantile_huber(quantiles_BI, target_BJ, 0.5, fraction_BI)
    assert got.tolist() == pytest.approx(
        losses.quantile_huber(quantiles_BI, target_BJ, 0.5).tolist()
    )


@pytest.mark.parametrize("implicit", [False, True], ids=["QR-DQN", "IQN"])
@pytest.mark.parametrize("threshold", [1.0, 0.25])
def test_quantile_huber_and_its_gradient_equal_a_loop_over_pairs(implicit: bool, threshold: float):
    draw = torch.Generator().manual_seed(1)
    quantiles = torch.randn(3, 4, generator=draw).requires_grad_()
    targets = 2 * torch.randn(3, 5, generator=draw)
    fractions = torch.rand(3, 4, generator=draw) if implicit else None
    loss = losses.quantile_huber(quantiles, targets, threshold, fractions).sum()
    exact = quantiles.detach().double().requires_grad_()
    each = [[0.125, 0.375, 0.625, 0.875]] * 3 if fractions is None else fractions.tolist()
    slow = slow_quantile_huber(exact, targets.double(), threshold, each)
    assert loss.item() == pytest.approx(slow.item(), abs=1e-5)
    (gradient,) = torch.autograd.grad(loss, quantiles)
    (exact_gradient,) = torch.autograd.grad(slow, exact)
    assert torch.allclose(gradient.double(), exact_gradient, rtol=0, atol=1e-5)
