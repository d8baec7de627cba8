"""The squashed Gaussian: its density against torch's, by hand and by integration."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import AffineTransform, Normal, TanhTransform, TransformedDistribution

from agents.core.nets.squashed import (
    LOG_STD,
    ActionScale,
    SquashedGaussian,
    SquashedGaussianHead,
    log_slope,
)
from agents.core.types.spaces import Spaces

LOW = (-2.0, 0.0)
HIGH = (2.0, 3.0)
SPACES = Spaces(
    1, (3,), torch.float32, 1, 0, False, action_low=LOW, action_high=HIGH, action_shape=(2,)
)  # fmt: skip


def squashed(mean: Tensor, log_std: Tensor) -> SquashedGaussian:
    return SquashedGaussian(mean, log_std, ActionScale(SPACES))


def torch_form(mean: Tensor, log_std: Tensor) -> TransformedDistribution:
    """The same distribution, made of torch's own parts."""
    scale = ActionScale(SPACES)
    transforms: list[Any] = [TanhTransform(), AffineTransform(scale.center, scale.radius)]
    return TransformedDistribution(Normal(mean, log_std.exp()), transforms)


def test_the_density_of_one_action_by_hand() -> None:
    policy = squashed(torch.tensor([[0.5, 0.0]]), torch.tensor([[0.0, -1.0]]))
    normal = torch.tensor([[1.0, 0.0]])
    action, log_prob = policy.draw(normal)
    # u = 1.5 and 0; tanh 1.5 = 0.905148, of which the Box makes 2 tanh and 1.5 + 1.5 tanh.
    assert action.flatten().tolist() == pytest.approx([1.810297, 1.5], abs=1e-5)
    # log N(1) - log(1 - 0.905148²) + log N(0) - (-1) - log 1.
    by_hand = -0.5 - 0.918939 - math.log(1 - 0.9051483**2) - 0.918939 + 1.0
    assert log_prob.item() == pytest.approx(by_hand, abs=1e-5)
    # In the units of the Box the density is smaller by its radii.
    in_box = policy.log_prob(action)
    assert in_box.item() == pytest.approx(by_hand - math.log(2.0) - math.log(1.5), abs=1e-5)


def test_the_density_is_torchs() -> None:
    torch.manual_seed(0)
    mean, log_std = torch.randn(64, 2), 0.5 * torch.randn(64, 2) - 0.5
    action = torch_form(mean, log_std).sample()
    expected = torch_form(mean, log_std).log_prob(action).sum(dim=1)
    found = squashed(mean, log_std).log_prob(action)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_the_density_integrates_to_one() -> None:
    mean, log_std = torch.tensor([0.3, -0.4]), torch.tensor([-0.7, -0.2])
    axes = [torch.linspace(a, b, 401, dtype=torch.float64) for a, b in zip(LOW, HIGH, strict=True)]
    grid = torch.cartesian_prod(*axes).float()
    density = squashed(mean, log_std).log_prob(grid).exp().double().view(401, 401)
    integral = torch.trapezoid(torch.trapezoid(density, axes[1]), axes[0])
    assert integral.item() == pytest.approx(1.0, abs=2e-3)


def test_the_log_slope_is_exact_where_the_plain_form_is_infinite() -> None:
    u = torch.tensor([-30.0, -1.0, 0.0, 1.0, 30.0], requires_grad=True)
    slope = log_slope(u)
    expected = [2 * math.log(2) - 60, math.log(1 - math.tanh(1) ** 2), 0.0]
    assert slope.tolist() == pytest.approx([*expected, *expected[1::-1]], abs=1e-6)
    (gradient,) = torch.autograd.grad(slope.sum(), u)
    tanh = [math.tanh(each) for each in u.tolist()]
    assert gradient.tolist() == pytest.approx([-2 * each for each in tanh], abs=1e-6)
    assert torch.log(1 - torch.tanh(u.detach()) ** 2)[0] == -math.inf


def test_the_entropy_is_the_mean_of_draws() -> None:
    torch.manual_seed(0)
    mean, log_std = torch.tensor([0.8, -2.0]), torch.tensor([0.1, -1.0])
    policy = squashed(mean.expand(200_000, 2), log_std.expand(200_000, 2))
    action, log_prob = policy.draw(torch.randn(200_000, 2))
    assert (action >= torch.tensor(LOW)).all()
    assert (action <= torch.tensor(HIGH)).all()
    in_box = -log_prob.mean().item() + math.log(2.0) + math.log(1.5)
    assert squashed(mean, log_std).entropy().item() == pytest.approx(in_box, abs=0.01)


def test_the_heads_distribution_is_float32_with_a_clipped_deviation() -> None:
    head = SquashedGaussianHead(4, SPACES)
    with torch.no_grad():
        head.moments.bias.copy_(torch.tensor([0.0, 0.0, 99.0, -99.0]))
    with torch.autocast("cpu", torch.bfloat16):
        policy = head(torch.zeros(5, 4))
    assert policy.mean.dtype == policy.log_std.dtype == torch.float32
    assert policy.log_std[0].tolist() == [LOG_STD[1], LOG_STD[0]]
    joined = SquashedGaussian.join([policy, policy])
    assert joined.mean.shape == joined.log_std.shape == (10, 2)
    assert not list(head.scale.state_dict())


def test_scales_invert_each_other() -> None:
    scale = ActionScale(SPACES)
    unit = torch.tensor([[-1.0, 1.0], [0.5, -0.5]])
    box = scale.to_box(unit)
    assert box.tolist() == [[-2.0, 3.0], [1.0, 0.75]]
    torch.testing.assert_close(scale.to_unit(box), unit)
