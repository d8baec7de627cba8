"""C51's projection and HL-Gauss against arithmetic by hand and slow formulations in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.devices import DEVICES
from torch import Tensor

from agents.core.math import categorical


def project(
    targets: list[float], probs: list[float], support_Z: Tensor, device: torch.device | str = "cpu"
) -> list[float]:
    target_BZ, prob_BZ = (torch.tensor([each], device=device) for each in (targets, probs))
    return categorical.project(target_BZ, prob_BZ, support_Z.to(device))[0].tolist()


def test_a_support_is_uniform_and_has_both_ends():
    support_Z = categorical.support(-10.0, 10.0, 51)
    assert support_Z.dtype == torch.float32
    assert support_Z[[0, 25, 50]].tolist() == pytest.approx([-10.0, 0.0, 10.0], abs=1e-6)
    assert support_Z.diff().tolist() == pytest.approx([0.4] * 50, abs=1e-5)


def test_a_support_without_width_or_with_one_atom_is_refused():
    with pytest.raises(ValueError, match=r"at least 2 atoms, not 1"):
        categorical.support(-1.0, 1.0, 1)
    with pytest.raises(ValueError, match=r"highest return, 1.0, is not above its lowest, 1.0"):
        categorical.support(1.0, 1.0, 5)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_an_atom_between_two_of_the_support_is_shared_by_nearness(device: torch.device):
    support_Z = categorical.support(-2.0, 2.0, 3)  # -2, 0, 2
    # 0.5 is a quarter of the way from 0 to 2: ½ (¾, ¼). -1 is halfway: ¼ (½, ½).
    # 2 is an atom itself: ¼ goes there whole.
    got = project([0.5, -1.0, 2.0], [0.5, 0.25, 0.25], support_Z, device)
    assert got == [0.125, 0.125 + 0.375, 0.125 + 0.25]


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_atoms_beyond_the_support_go_to_its_ends(device: torch.device):
    support_Z = categorical.support(-2.0, 2.0, 3)
    assert project([-9.0, 1e30, 2.5], [0.5, 0.25, 0.25], support_Z, device) == [0.5, 0.0, 0.5]


def test_targets_on_the_atoms_stay_there():
    support_Z = categorical.support(-10.0, 10.0, 51)
    prob_BZ = torch.rand(4, 51).softmax(dim=1)
    got = categorical.project(support_Z.expand(4, 51), prob_BZ, support_Z)
    # No probability is lost, as it is where floor(b) = ceil(b) in algorithm 1 as printed.
    assert torch.allclose(got, prob_BZ, atol=1e-6)


def test_the_end_of_an_episode_is_one_reward():
    support_Z = categorical.support(-2.0, 2.0, 5)
    # The discount is 0: all atoms are at the reward ½, halfway between 0 and 1.
    assert project([0.5] * 5, [0.2] * 5, support_Z) == pytest.approx([0, 0, 0.5, 0.5, 0])


def slow_project(targets: list[float], probs: list[float], support: list[float]) -> list[float]:
    """Algorithm 1's loop, with a target on an atom given to this atom."""
    step = (support[-1] - support[0]) / (len(support) - 1)
    mass = [0.0] * len(support)
    for target, prob in zip(targets, probs, strict=True):
        clipped = min(max(target, support[0]), support[-1])
        position = (clipped - support[0]) / step
        lower, upper = math.floor(position), math.ceil(position)
        if lower == upper:
            mass[lower] += prob
        else:
            mass[lower] += prob * (upper - position)
            mass[upper] += prob * (position - lower)
    return mass


rows = st.integers(0, 10_000)


@settings(max_examples=50, deadline=None)
@given(rows, st.integers(2, 12), st.integers(1, 9), st.floats(0, 1), st.floats(-5, 5))
def test_the_projection_equals_the_loop_of_algorithm_1(seed, atoms, sources, discount, reward):
    draw = torch.Generator().manual_seed(seed)
    support_Z = categorical.support(-3.0, 4.0, atoms)
    prob_BZ = torch.randn(2, sources, generator=draw).softmax(dim=1)
    target_BZ = reward + discount * 6 * torch.randn(2, sources, generator=draw)
    got_BZ = categorical.project(target_BZ, prob_BZ, support_Z)
    assert got_BZ.shape == (2, atoms)
    assert got_BZ.sum(dim=1).tolist() == pytest.approx([1.0, 1.0], abs=1e-6)
    exact_Z = torch.linspace(-3.0, 4.0, atoms, dtype=torch.float64).tolist()
    for b in range(2):
        arguments = [each[b].double().tolist() for each in (target_BZ, prob_BZ)]
        assert got_BZ[b].tolist() == pytest.approx(slow_project(*arguments, exact_Z), abs=1e-5)


@given(st.integers(0, 10_000), st.floats(-1, 1))
@settings(max_examples=25, deadline=None)
def test_the_projection_keeps_the_mean_of_atoms_within_the_support(seed: int, reward: float):
    draw = torch.Generator().manual_seed(seed)
    support_Z = categorical.support(-10.0, 10.0, 51)
    prob_BZ = torch.randn(3, 51, generator=draw).softmax(dim=1)
    target_BZ = reward + 0.9 * support_Z.expand(3, 51)  # at most 1 + 9
    got_B = categorical.project(target_BZ, prob_BZ, support_Z) @ support_Z
    assert torch.allclose(got_B, (prob_BZ * target_BZ).sum(dim=1), atol=1e-4)


def slow_loss(logits: Tensor, mass: list[float]) -> Tensor:
    """-Σ m_i (x_i - log Σ_k e^{x_k}), written out."""
    total = torch.zeros((), dtype=torch.float64)
    partition = sum(logit.exp() for logit in logits)
    for logit, share in zip(logits, mass, strict=True):
        total = total - share * (logit - partition.log())
    return total


def assert_equal_loss_and_gradient(logits_BZ: Tensor, mass_BZ: Tensor, slow: list[list[float]]):
    leaf_BZ = logits_BZ.clone().requires_grad_()
    loss = categorical.cross_entropy(leaf_BZ.log_softmax(dim=1), mass_BZ).sum()
    exact_BZ = logits_BZ.double().requires_grad_()
    expected = sum(slow_loss(exact_BZ[b], row) for b, row in enumerate(slow))
    assert isinstance(expected, Tensor)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    (gradient_BZ,) = torch.autograd.grad(loss, leaf_BZ)
    (exact_gradient_BZ,) = torch.autograd.grad(expected, exact_BZ)
    assert torch.allclose(gradient_BZ.double(), exact_gradient_BZ, rtol=0, atol=1e-5)


def test_the_loss_of_c51_and_its_gradient_equal_a_loop_in_float64():
    draw = torch.Generator().manual_seed(5)
    support_Z = categorical.support(-3.0, 3.0, 7)
    prob_BZ = torch.randn(4, 7, generator=draw).softmax(dim=1)
    target_BZ = torch.randn(4, 1, generator=draw) + 0.97**3 * support_Z
    logits_BZ = 2 * torch.randn(4, 7, generator=draw)
    exact_Z = [float(i) for i in range(-3, 4)]
    slow = [
        slow_project(target.tolist(), prob.tolist(), exact_Z)
        for target, prob in zip(target_BZ.double(), prob_BZ.double(), strict=True)
    ]
    mass_BZ = categorical.project(target_BZ, prob_BZ, support_Z)
    assert_equal_loss_and_gradient(logits_BZ, mass_BZ, slow)


def slow_hl_gauss(target: float, support: list[float], sigma: float) -> list[float]:
    half = (support[1] - support[0]) / 2
    clipped = min(max(target, support[0]), support[-1])

    def below(z: float) -> float:
        return 0.5 * math.erfc(-(z - clipped) / (sigma * math.sqrt(2)))

    whole = below(support[-1] + half) - below(support[0] - half)
    return [(below(z + half) - below(z - half)) / whole for z in support]


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_hl_gauss_is_a_histogram_of_the_normal_distribution(device: torch.device):
    support_Z = categorical.support(-2.0, 2.0, 5, device)
    got = categorical.hl_gauss(torch.tensor([0.0], device=device), support_Z, 0.5)[0].tolist()
    # Edges at -2½ … 2½ are -5, -3, -1, 1, 3 and 5 deviations away. Of the normal distribution
    # 68.27% is within one, 99.73% within three and all but 6e-7 within five.
    within = [math.erf(deviations / math.sqrt(2)) for deviations in (1, 3, 5)]
    near, far = (within[1] - within[0]) / 2, (within[2] - within[1]) / 2
    expected = [each / within[2] for each in (far, near, within[0], near, far)]
    assert got == pytest.approx(expected, abs=1e-6)
    assert expected[2] == pytest.approx(0.6827, abs=1e-4)


@settings(max_examples=50, deadline=None)
@given(st.floats(-8, 8, width=32), st.integers(2, 60), st.floats(0.05, 5))
def test_hl_gauss_equals_a_loop_in_float64(target: float, atoms: int, sigma: float):
    support_Z = categorical.support(-3.0, 4.0, atoms)
    got_Z = categorical.hl_gauss(torch.tensor([target]), support_Z, sigma)[0]
    assert got_Z.sum().item() == pytest.approx(1.0, abs=1e-5)
    assert (got_Z >= 0).all()
    exact = torch.linspace(-3.0, 4.0, atoms, dtype=torch.float64).tolist()
    assert got_Z.tolist() == pytest.approx(slow_hl_gauss(target, exact, sigma), abs=1e-5)


@pytest.mark.parametrize("target", [-1e30, -10.0, 10.0, 1e30])
@pytest.mark.parametrize("sigma", [1e-3, 0.3, 100.0])
def test_hl_gauss_is_finite_beyond_the_support(target: float, sigma: float):
    support_Z = categorical.support(-10.0, 10.0, 51)
    got_Z = categorical.hl_gauss(torch.tensor([target]), support_Z, sigma)[0]
    assert got_Z.isfinite().all()
    assert got_Z.sum().item() == pytest.approx(1.0, abs=1e-5)
    assert (got_Z @ support_Z).item() * math.copysign(1.0, target) > 0


@given(st.floats(-8, 8, width=32))
def test_the_mean_of_hl_gauss_is_its_target(target: float):
    support_Z = categorical.support(-10.0, 10.0, 51)
    got_Z = categorical.hl_gauss(torch.tensor([target]), support_Z, 0.75 * 0.4)[0]
    assert (got_Z @ support_Z).item() == pytest.approx(target, abs=1e-3)


def test_the_loss_of_hl_gauss_and_its_gradient_equal_a_loop_in_float64():
    draw = torch.Generator().manual_seed(6)
    support_Z = categorical.support(-3.0, 3.0, 7)
    target_B = 2 * torch.randn(4, generator=draw)
    logits_BZ = 2 * torch.randn(4, 7, generator=draw)
    exact_Z = [float(i) for i in range(-3, 4)]
    slow = [slow_hl_gauss(target, exact_Z, 0.75) for target in target_B.double().tolist()]
    mass_BZ = categorical.hl_gauss(target_B, support_Z, 0.75)
    assert_equal_loss_and_gradient(logits_BZ, mass_BZ, slow)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_cross_entropy_and_divergence_by_hand(device: torch.device):
    log_prob_BZ = torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]], device=device).log()
    target_BZ = torch.tensor([[0.0, 0.5, 0.5], [0.5, 0.25, 0.25]], device=device)
    # -½ log ¼ - ½ log ¼ = 2 log 2;  ½ log 2 + ½ log 4 = 1½ log 2
    log_2 = math.log(2)
    got = categorical.cross_entropy(log_prob_BZ, target_BZ).tolist()
    assert got == pytest.approx([2 * log_2, 1.5 * log_2])
    # Less the targets' entropies log 2 and 1½ log 2. A probability of 0 adds nothing.
    got = categorical.kl(log_prob_BZ, target_BZ).tolist()
    assert got == pytest.approx([log_2, 0.0], abs=1e-6)


def test_neither_loss_gives_the_target_a_gradient():
    target_BZ = torch.full((2, 4), 0.25, requires_grad=True)
    logits_BZ = torch.randn(2, 4, requires_grad=True)
    for loss in (categorical.cross_entropy, categorical.kl):
        loss(logits_BZ.log_softmax(dim=1), target_BZ).sum().backward()
    assert target_BZ.grad is None
    assert logits_BZ.grad is not None


def test_the_divergence_is_never_negative():
    # Without a bound, rounding makes a third of these up to 2e-7 below 0.
    draw = torch.Generator().manual_seed(1)
    log_prob_BZ = (10 * torch.randn(500, 51, generator=draw)).log_softmax(dim=1)
    divergence_B = categorical.kl(log_prob_BZ, log_prob_BZ.exp())
    assert (divergence_B >= 0).all()
    assert divergence_B.max() < 1e-5


def test_the_bound_of_the_paper_is_the_default_at_its_discount():
    assert categorical.return_bound(0.99) == pytest.approx(10.0)
    assert categorical.return_bound(0.99, n_step=3) == pytest.approx(10.0)  # Rainbow


def test_a_reward_in_every_step_has_the_bound_that_is_never_wrong():
    assert categorical.return_bound(0.99, density=1.0) == pytest.approx(100.0)
    assert categorical.return_bound(0.99, 10, density=1.0) == pytest.approx(100.0)
    # CartPole's 500 steps: (1 - 0.99^500) / 0.01
    got = categorical.return_bound(0.99, density=1.0, horizon=500)
    assert got == pytest.approx(100 * (1 - 0.99**500))


def test_a_bound_scales_with_rewards_and_holds_one_reward_at_least():
    assert categorical.return_bound(0.99, reward_bound=5.0) == pytest.approx(50.0)
    assert categorical.return_bound(0.5) == 1.0
    assert categorical.return_bound(0.0, reward_bound=3.0) == 3.0


def test_a_bound_holds_a_burst_in_one_window():
    # At γ = 0.9 rewards in every tenth step are worth 1, but ten in 20 steps up to
    # ½ (1 - 0.9^20) / 0.1 = 4.39.
    assert categorical.return_bound(0.9, 20) == pytest.approx(5 * (1 - 0.9**20))
    # An episode of 4 steps has no longer window: ½ (1 - 0.9⁴) / 0.1.
    assert categorical.return_bound(0.9, 20, horizon=4) == pytest.approx(5 * (1 - 0.9**4))


def test_undiscounted_returns_have_a_bound_if_episodes_have():
    assert categorical.return_bound(1.0, density=1.0, horizon=200) == 200.0
    with pytest.raises(ValueError, match="no bound if gamma is 1.0"):
        categorical.return_bound(1.0)


@given(st.floats(0, 0.999), st.integers(1, 50), st.floats(0.01, 1), st.integers(1, 1000))
def test_no_bound_is_beyond_a_reward_in_every_step(gamma, n_step, density, horizon):
    bound = categorical.return_bound(gamma, n_step, 1.0, density, horizon)
    assert 1.0 <= bound <= max(1.0, sum(gamma**k for k in range(horizon))) * (1 + 1e-9)


def test_no_equation_waits_for_the_device():
    # Tensors of the meta device have no values, so that a look at one raises.
    meta = torch.device("meta")
    support_Z = categorical.support(-2.0, 2.0, 5, meta)
    scalar_B, row_BZ = torch.empty(3, device=meta), torch.empty(3, 5, device=meta)
    for mass_BZ in (
        categorical.project(row_BZ, row_BZ, support_Z),
        categorical.hl_gauss(scalar_B, support_Z, 0.5),
    ):
        assert mass_BZ.shape == (3, 5)
        for loss in (categorical.cross_entropy, categorical.kl):
            assert loss(row_BZ, mass_BZ).shape == (3,)
