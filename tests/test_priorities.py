"""Sampling in proportion to weights: exact shares, exact zeros."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.devices import DEVICES
from torch import Tensor

from agents.core.data.priorities import Priorities

JUST_BELOW_ONE = float(np.nextafter(1.0, 0.0))


def with_weights(weights: list[float] | Tensor, device: torch.device | str = "cpu") -> Priorities:
    weight = torch.as_tensor(weights, dtype=torch.float32, device=device)
    priorities = Priorities(len(weight), device)
    priorities.set(torch.arange(len(weight), device=device), weight)
    return priorities


def draw(priorities: Priorities, batch: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    uniform_B = torch.rand(batch, dtype=torch.float64, generator=generator)
    return priorities.sample(uniform_B.to(priorities.total().device))


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_draws_are_in_proportion_to_the_weights(device: torch.device):
    weights = torch.tensor([0.0, 1.0, 2.5, 0.125, 0.0, 10.0, 3.0, 0.75, 0.0, 6.0, 0.0])
    batch = 20_000
    counts = torch.bincount(draw(with_weights(weights, device), batch).cpu(), minlength=11)
    # Each stratum is drawn from once, so a slot's count differs from its share by at most the
    # two strata that it has in part.
    share = weights.double() / weights.sum() * batch
    assert (counts - share).abs().max() < 2
    assert counts[weights == 0].sum() == 0


def test_single_draws_are_in_proportion_to_the_weights():
    weights, draws = torch.tensor([1.0, 0.0, 2.0, 3.0, 4.0, 0.0, 10.0]), 4_000
    priorities = with_weights(weights)
    uniform = torch.rand(draws, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    counts = torch.bincount(torch.cat([priorities.sample(u) for u in uniform]), minlength=7)
    positive = weights > 0
    expected = weights[positive] / weights.sum() * draws
    chi_square = ((counts[positive] - expected).square() / expected).sum()
    assert counts[~positive].sum() == 0
    assert chi_square < 18.5  # The 99.9 % quantile for 4 degrees of freedom is 18.47.


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("size", [1, 2, 9, 10, 100])
def test_uniform_is_exactly_uniform(size: int, device: torch.device):
    drawn = draw(with_weights(torch.ones(size), device), 3 * size).cpu()
    assert torch.bincount(drawn, minlength=size).tolist() == [3] * size


def test_draws_come_in_strata():
    # Total 8 in 4 strata of 2; their middles 1, 3, 5, 7 fall in the slots of
    # [0, 1), [1, 4), [4, 4), [4, 8).
    priorities = with_weights([1.0, 3.0, 0.0, 4.0])
    assert priorities.sample(torch.full((4,), 0.5, dtype=torch.float64)).tolist() == [1, 1, 3, 3]


EXTREME_WEIGHTS = st.one_of(
    st.just(0.0),
    st.floats(0, float(np.finfo(np.float32).max), width=32),
    st.floats(0, 2.0**-100, width=32),
    st.sampled_from([2.0**k for k in (-149, -126, -1, 0, 1, 24, 53, 100, 127)]),
)
UNIFORM = st.one_of(
    st.sampled_from([0.0, 2.0**-60, 0.5, 1 - 2.0**-40, 1 - 5 * 2.0**-53, JUST_BELOW_ONE]),
    st.floats(0, JUST_BELOW_ONE),
)


# The first block sums to 2⁵³ - 1, where adding the second block's 4 rounds to 2⁵³ + 4: taking
# the 4 away again gives 2⁵³, past the mass 2⁵³ - 1 that belongs to the second block.
@example([2.0**53 - 2.0**29, 2.0**29 - 2.0**5, 2.0**5 - 1, 0, 0, 4, 0, 0, 0], [1 - 5 * 2.0**-53])
@settings(max_examples=300, deadline=None)
@given(st.lists(EXTREME_WEIGHTS, min_size=1, max_size=30), st.lists(UNIFORM, min_size=1))
def test_a_slot_of_weight_zero_is_never_drawn(weights: list[float], uniform: list[float]):
    weight = torch.tensor(weights, dtype=torch.float32)
    if not (weight > 0).any():
        weight[0] = 1.0
    drawn_B = with_weights(weight).sample(torch.tensor(uniform, dtype=torch.float64))
    assert (drawn_B >= 0).all()
    assert (drawn_B < len(weight)).all()
    assert (weight[drawn_B] > 0).all()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(EXTREME_WEIGHTS, min_size=1, max_size=30),
    st.lists(st.tuples(st.integers(0, 29), EXTREME_WEIGHTS), max_size=20),
)
def test_the_sum_does_not_drift_with_updates(weights: list[float], updates):
    priorities = with_weights(weights)
    expected = torch.tensor(weights, dtype=torch.float32)
    for slot, weight in updates:
        slot %= len(weights)
        priorities.set(torch.tensor([slot]), torch.tensor([weight]))
        expected[slot] = weight
    assert torch.equal(priorities[torch.arange(len(weights))], expected)
    assert priorities.total() == with_weights(expected).total()
    assert priorities.total().item() == pytest.approx(expected.double().sum().item())


def test_an_update_changes_only_the_slots_it_names():
    priorities = with_weights([1.0, 2.0, 3.0, 4.0, 5.0])
    priorities.set(torch.tensor([0, 3]), torch.tensor([0.0, 8.0]))
    assert priorities[torch.arange(5)].tolist() == [0.0, 2.0, 3.0, 8.0, 5.0]
    assert priorities.total() == 18.0  # 0 + 2 + 3 + 8 + 5


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_restored_priorities_draw_the_same(device: torch.device):
    generator = torch.Generator().manual_seed(3)
    saved = with_weights(torch.rand(1_000, generator=generator), device)
    for _ in range(20):
        slots = torch.randint(1_000, (32,), generator=generator)
        saved.set(slots.to(device), torch.rand(32, generator=generator).to(device))
    state = saved.state_dict()
    restored = Priorities(1_000, device)
    restored.load_state_dict(state)
    assert torch.equal(draw(saved, 512), draw(restored, 512))
    saved.set(torch.tensor([0], device=device), torch.tensor([99.0], device=device))
    assert state["weight"].flatten()[0] != 99.0
