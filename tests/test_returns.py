"""The returns against arithmetic done by hand, written beside each expected value."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.devices import DEVICES
from torch import Tensor

from agents.core.math import returns


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


def gae(
    rewards: list[float],
    values: list[float],
    next_values: list[float],
    *,
    terminated: tuple[int, ...] = (),
    truncated: tuple[int, ...] = (),
    gamma: float = 0.5,
    gae_lambda: float = 0.5,
    device: torch.device | str = "cpu",
) -> list[float]:
    """The advantages of one environment; `terminated` and `truncated` are steps."""
    discounts = [0.0 if t in terminated else gamma for t in range(len(rewards))]
    ended = [t in terminated or t in truncated for t in range(len(rewards))]
    columns = (torch.tensor([c], device=device).T for c in (rewards, discounts, values))
    next_value_TN, ended_TN = (torch.tensor([c], device=device).T for c in (next_values, ended))
    advantage_TN = returns.gae(*columns, next_value_TN, ended_TN, gae_lambda)
    assert advantage_TN.shape == (len(rewards), 1)
    assert advantage_TN.dtype == torch.float32
    return advantage_TN[:, 0].tolist()


REWARDS, VALUES = [1.0, 2.0, 4.0], [8.0, 4.0, 2.0]
BOOTSTRAP = 16.0  # the value of what the last step led to


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_gae_adds_up_the_errors_ahead_discounted_by_gamma_lambda(device: torch.device):
    # δ₂ = 4 + 0.5 * 16 - 2 = 10, δ₁ = 2 + 0.5 * 2 - 4 = -1, δ₀ = 1 + 0.5 * 4 - 8 = -5;
    # γλ = 0.25: Â₂ = 10, Â₁ = -1 + 0.25 * 10 = 1.5, Â₀ = -5 + 0.25 * 1.5 = -4.625
    got = gae(REWARDS, VALUES, [4.0, 2.0, BOOTSTRAP], device=device)
    assert got == [-4.625, 1.5, 10.0]


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_a_termination_in_mid_rollout_has_no_value_beyond_it_and_cuts_the_trace(
    device: torch.device,
):
    # δ₁ = 2 + 0 - 4 = -2, so Â₁ = -2 and Â₀ = -5 + 0.25 * -2 = -5.5; Â₂ = 10 is of the next
    # episode. The value 99 of what the termination led to does not count.
    next_values = [4.0, 99.0, BOOTSTRAP]
    got = gae(REWARDS, VALUES, next_values, terminated=(1,), device=device)
    assert got == [-5.5, -2.0, 10.0]


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_a_truncation_in_mid_rollout_bootstraps_from_its_final_observation_and_cuts_the_trace(
    device: torch.device,
):
    # The final observation's value is 6: δ₁ = 2 + 0.5 * 6 - 4 = 1, so Â₁ = 1 (and not
    # 1 + 0.25 * 10) and Â₀ = -5 + 0.25 * 1 = -4.75.
    next_values = [4.0, 6.0, BOOTSTRAP]
    got = gae(REWARDS, VALUES, next_values, truncated=(1,), device=device)
    assert got == [-4.75, 1.0, 10.0]


def test_the_last_step_bootstraps_unless_it_terminated():
    assert gae([4.0], [2.0], [BOOTSTRAP]) == [10.0]  # 4 + 0.5 * 16 - 2
    assert gae([4.0], [2.0], [BOOTSTRAP], truncated=(0,)) == [10.0]
    assert gae([4.0], [2.0], [BOOTSTRAP], terminated=(0,)) == [2.0]  # 4 - 2


def test_lambda_zero_is_the_error_of_one_step():
    # 1 + 0.5 * 4 - 8, 2 + 0.5 * 2 - 4, 4 + 0.5 * 16 - 2
    assert gae(REWARDS, VALUES, [4.0, 2.0, BOOTSTRAP], gae_lambda=0.0) == [-5.0, -1.0, 10.0]


def test_lambda_one_is_the_return_less_the_value():
    # Returns: 4 + 0.5 * 16 = 12, 2 + 0.5 * 12 = 8, 1 + 0.5 * 8 = 5; less 2, 4 and 8.
    assert gae(REWARDS, VALUES, [4.0, 2.0, BOOTSTRAP], gae_lambda=1.0) == [-3.0, 4.0, 10.0]
    # The return up to the termination is 2, then 1 + 0.5 * 2 = 2.
    got = gae(REWARDS, VALUES, [4.0, 2.0, BOOTSTRAP], gae_lambda=1.0, terminated=(1,))
    assert got == [2.0 - 8.0, 2.0 - 4.0, 10.0]


@pytest.mark.parametrize("gae_lambda", [0.0, 0.5, 1.0])
def test_where_the_values_are_right_the_advantages_are_zero(gae_lambda: float):
    # Reward 1 for ever is worth 1 / (1 - 0.5) = 2 everywhere.
    assert gae([1.0] * 5, [2.0] * 5, [2.0] * 5, gae_lambda=gae_lambda) == [0.0] * 5
    assert gae([1.0] * 5, [2.0] * 5, [2.0] * 5, gae_lambda=gae_lambda, truncated=(2,)) == [0.0] * 5


def test_a_constant_error_adds_up_to_a_geometric_sum():
    # Reward 1 and values of 0: δ = 1 everywhere, Â = 1 + γλ + ... = 1, 1.25, 1.3125, 1.328125.
    assert gae([1.0] * 4, [0.0] * 4, [0.0] * 4) == [1.328125, 1.3125, 1.25, 1.0]


def test_an_end_in_one_environment_is_none_in_the_next():
    ended_TN = torch.tensor([[False, True], [False, False]])
    discount_TN = torch.tensor([[0.5, 0.0], [0.5, 0.5]])
    reward_TN, zero_TN = torch.tensor([[1.0, 1.0], [8.0, 8.0]]), torch.zeros(2, 2)
    # Â₁ = 8 in both; Â₀ = 1 + 0.5 * 8 = 5 where the episode goes on, 1 where it terminated.
    got = returns.gae(reward_TN, discount_TN, zero_TN, zero_TN, ended_TN, 1.0)
    assert got.tolist() == [[5.0, 1.0], [8.0, 8.0]]


def test_gae_leaves_its_arguments_as_they_were():
    reward_TN, ended_TN = torch.rand(3, 2), torch.zeros(3, 2, dtype=torch.bool)
    before = reward_TN.clone()
    returns.gae(reward_TN, reward_TN, reward_TN, reward_TN, ended_TN, 0.5)
    assert torch.equal(reward_TN, before)


def slow_gae(
    rewards: list[float],
    values: list[float],
    next_values: list[float],
    terminated: list[bool],
    truncated: list[bool],
    gamma: float,
    gae_lambda: float,
) -> list[float]:
    """Eq. 16 as it is printed: for each step, the sum over the steps ahead of it."""
    advantages = []
    for t in range(len(rewards)):
        total, weight = 0.0, 1.0
        for k in range(t, len(rewards)):
            beyond = 0.0 if terminated[k] else next_values[k]
            total += weight * (rewards[k] + gamma * beyond - values[k])
            if terminated[k] or truncated[k]:
                break
            weight *= gamma * gae_lambda
        advantages.append(total)
    return advantages


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 6),
    st.integers(1, 3),
    st.floats(0, 1, width=32),
    st.floats(0, 1, width=32),
    st.randoms(),
)
def test_every_environments_advantages_equal_a_loop_over_its_steps(
    steps, num_envs, gamma, gae_lambda, random
):
    def grid(draw) -> list[list]:
        return [[draw() for _ in range(num_envs)] for _ in range(steps)]

    def number() -> float:
        return random.uniform(-2, 2)

    def coin() -> bool:
        return random.random() < 0.25

    numbers, ends = [grid(number) for _ in range(3)], [grid(coin) for _ in range(2)]
    terminated_TN, truncated_TN = (torch.tensor(each) for each in ends)
    reward_TN, value_TN, next_value_TN = (torch.tensor(each) for each in numbers)
    got = returns.gae(
        reward_TN,
        gamma * (~terminated_TN).float(),
        value_TN,
        next_value_TN,
        terminated_TN | truncated_TN,
        gae_lambda,
    )
    for env in range(num_envs):
        columns = [[row[env] for row in each] for each in (*numbers, *ends)]
        expected = slow_gae(*columns, gamma, gae_lambda)
        assert got[:, env].tolist() == pytest.approx(expected, abs=1e-5)


def q_lambda(
    rewards: list[float],
    next_values: list[float],
    *,
    terminated: tuple[int, ...] = (),
    truncated: tuple[int, ...] = (),
    trace_lambda: float = 0.5,
    device: torch.device | str = "cpu",
) -> list[float]:
    """The returns of one environment with γ = ½; `terminated` and `truncated` are steps."""
    discounts = [0.0 if t in terminated else 0.5 for t in range(len(rewards))]
    ended = [t in terminated or t in truncated for t in range(len(rewards))]
    columns = (torch.tensor([c], device=device).T for c in (rewards, discounts, next_values, ended))
    return_TN = returns.q_lambda(*columns, trace_lambda)
    assert return_TN.shape == (len(rewards), 1)
    assert return_TN.dtype == torch.float32
    return return_TN[:, 0].tolist()


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_q_lambda_mixes_the_next_best_value_with_the_return_ahead(device: torch.device):
    # G₂ = 4 + ½ 16 = 12, G₁ = 2 + ½ (½ 2 + ½ 12) = 5.5, G₀ = 1 + ½ (½ 4 + ½ 5.5) = 3.375
    assert q_lambda(REWARDS, [4.0, 2.0, BOOTSTRAP], device=device) == [3.375, 5.5, 12.0]


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_a_termination_ends_q_lambda_with_its_reward(device: torch.device):
    # G₁ = 2, though 99 is the value of what it led to; G₀ = 1 + ½ (½ 4 + ½ 2) = 2.5
    next_values = [4.0, 99.0, BOOTSTRAP]
    got = q_lambda(REWARDS, next_values, terminated=(1,), device=device)
    assert got == [2.5, 2.0, 12.0]


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_a_truncation_bootstraps_q_lambda_from_its_final_observation(device: torch.device):
    # G₁ = 2 + ½ 6 = 5, without the next episode's 12; G₀ = 1 + ½ (½ 4 + ½ 5) = 3.25
    got = q_lambda(REWARDS, [4.0, 6.0, BOOTSTRAP], truncated=(1,), device=device)
    assert got == [3.25, 5.0, 12.0]


def test_the_last_step_of_q_lambda_bootstraps_unless_it_terminated():
    assert q_lambda([4.0], [BOOTSTRAP]) == [12.0]  # 4 + ½ 16
    assert q_lambda([4.0], [BOOTSTRAP], truncated=(0,)) == [12.0]
    assert q_lambda([4.0], [BOOTSTRAP], terminated=(0,)) == [4.0]


def test_q_lambda_of_zero_is_one_step_and_of_one_is_the_whole_return():
    # 1 + ½ 4, 2 + ½ 2, 4 + ½ 16;  then 4 + ½ 16 = 12, 2 + ½ 12 = 8, 1 + ½ 8 = 5
    next_values = [4.0, 2.0, BOOTSTRAP]
    assert q_lambda(REWARDS, next_values, trace_lambda=0.0) == [3.0, 3.0, 12.0]
    assert q_lambda(REWARDS, next_values, trace_lambda=1.0) == [5.0, 8.0, 12.0]


def slow_q_lambda(
    rewards: list[float],
    next_values: list[float],
    terminated: list[bool],
    truncated: list[bool],
    gamma: float,
    trace_lambda: float,
) -> list[float]:
    """The weighted sum of n-step returns, (1 - λ) Σ λ^{n-1} R⁽ⁿ⁾, the last with all the rest."""
    result = []
    for t in range(len(rewards)):
        total = 0.0
        weight = 1.0
        summed = 0.0
        power = 1.0
        for k in range(t, len(rewards)):
            summed += power * rewards[k]
            power *= gamma
            n_step_return = summed + (0.0 if terminated[k] else power * next_values[k])
            if terminated[k] or truncated[k] or k == len(rewards) - 1:
                total += weight * n_step_return
                break
            total += weight * (1 - trace_lambda) * n_step_return
            weight *= trace_lambda
        result.append(total)
    return result


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 7),
    st.floats(0, 1, width=32),
    st.floats(0, 1, width=32),
)
def test_q_lambda_equals_the_sum_of_n_step_returns(seed, steps, gamma, trace_lambda):
    draw = torch.Generator().manual_seed(seed)
    reward_TN, next_value_TN = torch.randn(2, steps, 2, generator=draw)
    terminated_TN, truncated_TN = torch.rand(2, steps, 2, generator=draw) < 0.2
    discount_TN = gamma * (~terminated_TN).float()
    ended_TN = terminated_TN | truncated_TN
    got_TN = returns.q_lambda(reward_TN, discount_TN, next_value_TN, ended_TN, trace_lambda)
    grids = (reward_TN, next_value_TN, terminated_TN, truncated_TN)
    for env in range(2):
        columns = [grid[:, env].tolist() for grid in grids]
        expected = slow_q_lambda(*columns, gamma, trace_lambda)
        assert got_TN[:, env].tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("trace_lambda", [0.0, 0.65, 1.0])
def test_q_lambda_is_the_advantage_plus_the_value(trace_lambda: float):
    # It holds where the next step's value is the value of the next state, as it is within an
    # episode; after an end, the next step has the value of the next episode's first
    # state.
    draw = torch.Generator().manual_seed(4)
    reward_TN, value_TN = torch.randn(2, 6, 3, generator=draw)
    final_TN = torch.randn(6, 3, generator=draw)
    terminated_TN = torch.zeros(6, 3, dtype=torch.bool)
    terminated_TN[2, 0] = True
    ended_TN = terminated_TN.clone()
    ended_TN[3, 1] = True
    following_TN = torch.cat([value_TN[1:], final_TN[-1:]])
    next_value_TN = torch.where(ended_TN, final_TN, following_TN)
    discount_TN = 0.9 * (~terminated_TN).float()
    arguments = (next_value_TN, ended_TN, trace_lambda)
    advantage_TN = returns.gae(reward_TN, discount_TN, value_TN, *arguments)
    got_TN = returns.q_lambda(reward_TN, discount_TN, *arguments)
    assert torch.allclose(got_TN, advantage_TN + value_TN, atol=1e-5)


def retrace(
    traces: list[float],
    next_values: list[float],
    *,
    terminated: tuple[int, ...] = (),
    truncated: tuple[int, ...] = (),
    device: torch.device | str = "cpu",
) -> list[float]:
    """The returns of REWARDS with γ = ½, where Q of the actions taken is VALUES."""
    discounts = [0.0 if t in terminated else 0.5 for t in range(len(REWARDS))]
    ended = [t in terminated or t in truncated for t in range(len(REWARDS))]
    rows = (REWARDS, discounts, next_values, VALUES, traces, ended)
    return_TN = returns.retrace(*(torch.tensor([row], device=device).T for row in rows))
    assert return_TN.shape == (len(REWARDS), 1)
    return return_TN[:, 0].tolist()


TRACES = [9.0, 0.5, 1.0]  # The first is of an action before which there is no step.


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_retrace_corrects_the_next_value_by_its_trace(device: torch.device):
    # G₂ = 4 + ½ 16 = 12
    # G₁ = 2 + ½ (6 + 1 (12 - 2)) = 10
    # G₀ = 1 + ½ (8 + ½ (10 - 4)) = 6.5
    assert retrace(TRACES, [8.0, 6.0, BOOTSTRAP], device=device) == [6.5, 10.0, 12.0]


def test_an_end_cuts_retrace():
    # A termination: G₁ = 2, G₀ = 1 + ½ (8 + ½ (2 - 4)) = 4.5
    next_values = [8.0, 6.0, BOOTSTRAP]
    assert retrace(TRACES, next_values, terminated=(1,)) == [4.5, 2.0, 12.0]
    # A truncation: G₁ = 2 + ½ 6 = 5, G₀ = 1 + ½ (8 + ½ (5 - 4)) = 5.25
    assert retrace(TRACES, next_values, truncated=(1,)) == [5.25, 5.0, 12.0]


def test_retrace_without_traces_is_one_step():
    # 1 + ½ 8, 2 + ½ 6, 4 + ½ 16
    assert retrace([0.0] * 3, [8.0, 6.0, BOOTSTRAP]) == [5.0, 5.0, 12.0]


def slow_retrace(
    rewards: list[float],
    discounts: list[float],
    next_values: list[float],
    taken: list[float],
    traces: list[float],
    ended: list[bool],
) -> list[float]:
    """Eq. 3 as it is printed: Q plus the errors ahead, weighed by the product of the traces."""
    result = []
    for t in range(len(rewards)):
        total = taken[t]
        weight = 1.0
        for k in range(t, len(rewards)):
            if k > t:
                weight *= discounts[k - 1] * traces[k]
            total += weight * (rewards[k] + discounts[k] * next_values[k] - taken[k])
            if ended[k]:
                break
        result.append(total)
    return result


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 7), st.floats(0, 1, width=32))
def test_retrace_equals_the_sum_of_the_errors_ahead(seed, steps, gamma):
    draw = torch.Generator().manual_seed(seed)
    reward_TN, next_value_TN, taken_TN = torch.randn(3, steps, 2, generator=draw)
    trace_TN = torch.rand(steps, 2, generator=draw)
    terminated_TN, truncated_TN = torch.rand(2, steps, 2, generator=draw) < 0.2
    discount_TN = gamma * (~terminated_TN).float()
    ended_TN = terminated_TN | truncated_TN
    arguments = (reward_TN, discount_TN, next_value_TN, taken_TN, trace_TN, ended_TN)
    got_TN = returns.retrace(*arguments)
    for env in range(2):
        expected = slow_retrace(*(each[:, env].tolist() for each in arguments))
        assert got_TN[:, env].tolist() == pytest.approx(expected, abs=1e-5)
