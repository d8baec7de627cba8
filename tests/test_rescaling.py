"""The value rescaling h and its inverse."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.devices import DEVICES

from agents.core.math import rescaling


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_rescaling_is_the_root_and_a_slope(device: torch.device):
    x = torch.tensor([[0.0, 3.0], [-8.0, 99.0]], device=device)
    # √1 - 1, √4 - 1 + 0.5 * 3, -(√9 - 1 + 0.5 * 8), √100 - 1 + 0.5 * 99
    assert rescaling.rescale(x, 0.5).tolist() == [[0.0, 2.5], [-6.0, 58.5]]
    assert rescaling.unscale(rescaling.rescale(x, 0.5), 0.5).tolist() == [[0.0, 3.0], [-8.0, 99.0]]


def test_the_default_slope_is_one_thousandth():
    # √(10⁴) - 1 + 10⁻³ * 9999 = 99 + 9.999
    assert rescaling.rescale(torch.tensor([9999.0])).tolist() == pytest.approx([108.999])


@pytest.mark.parametrize("epsilon", [0.0, 1e-3, 0.01, 1.0])
@given(x=st.floats(-1e8, 1e8, width=32))
def test_the_inverse_undoes_the_rescaling_to_float32s_digits(epsilon: float, x: float):
    there = rescaling.rescale(torch.tensor([x]), epsilon)
    # The digits of h(x) that float32 drops are up to twice as large in x.
    assert rescaling.unscale(there, epsilon).item() == pytest.approx(x, rel=1e-6, abs=1e-37)


@given(st.floats(-1e6, 1e6, width=32))
def test_both_equal_the_papers_closed_forms_in_float64(x: float):
    epsilon = 1e-3
    sign = math.copysign(1.0, x)
    expected = sign * (math.sqrt(abs(x) + 1) - 1) + epsilon * x
    assert rescaling.rescale(torch.tensor([x])).item() == pytest.approx(
        expected, rel=1e-6, abs=1e-12
    )
    # Proposition A.2 (iii)
    root = (math.sqrt(1 + 4 * epsilon * (abs(x) + 1 + epsilon)) - 1) / (2 * epsilon)
    expected = sign * (root**2 - 1)
    assert rescaling.unscale(torch.tensor([x])).item() == pytest.approx(
        expected, rel=1e-6, abs=1e-9
    )


def test_the_inverse_rises_and_is_odd():
    y = torch.linspace(-50, 50, 1001)
    x = rescaling.unscale(y)
    assert (x.diff() > 0).all()
    assert torch.equal(rescaling.unscale(-y), -x)


@pytest.mark.parametrize("x", [-30.0, -1e-3, 0.0, 0.5, 1e4])
def test_the_gradients_are_the_derivatives(x: float):
    leaf = torch.tensor(x, requires_grad=True)
    (slope,) = torch.autograd.grad(rescaling.rescale(leaf), leaf)
    # h'(x) = 1 / (2 √(|x| + 1)) + ε
    assert slope.item() == pytest.approx(0.5 / math.sqrt(abs(x) + 1) + 1e-3, rel=1e-5)
    there = rescaling.rescale(leaf).detach().requires_grad_()
    (inverse_slope,) = torch.autograd.grad(rescaling.unscale(there), there)
    assert inverse_slope.item() == pytest.approx(1 / slope.item(), rel=1e-5)
