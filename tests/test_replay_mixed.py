"""Minibatches from two sources, and priorities on their way from a loss to where they belong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.devices import CPU
from test_replay import Plan, drawable_slots, play
from torch import Tensor

from agents import dqn
from agents.core.data.samplers import Mixed, Sampler
from agents.core.optimize.learner import LossOutput
from agents.core.training.off_policy import OffPolicyAlgorithm
from agents.core.types.batches import Batch
from agents.core.types.spaces import Spaces
from agents.core.types.step import Step

SPACES = Spaces(1, (3,), torch.float32, stack=1, num_actions=2, atari=False)


class Source:
    """A sampler whose transitions all show its number; it writes down what it is asked."""

    def __init__(self, number: float, ready: bool = True):
        self.number = number
        self.ready = ready
        self.preferred: list[tuple[list[int], list[float]]] = []

    def draw(self, *shape: int) -> Tensor:
        return torch.full(shape, self.number / 10, dtype=torch.float64)

    def sample(self, uniform_B: Tensor) -> Batch:
        """Slots count from the source's number times 100."""
        assert (uniform_B == self.number / 10).all(), "random numbers of another source"
        obs = torch.full((len(uniform_B), 3), self.number)
        of_each = obs[:, 0]
        slot_B = torch.arange(len(uniform_B)) + int(100 * self.number)
        return Batch(obs, slot_B, of_each, of_each, obs, of_each, slot_B)

    def update_priorities(self, batch: Batch, priority_B: Tensor) -> None:
        assert (batch.obs == self.number).all(), "transitions of another source"
        self.preferred.append((batch.slot_B.tolist(), priority_B.tolist()))


@pytest.mark.parametrize(
    ("share", "size", "of_second"),
    [(0.5, 8, 4), (0.25, 8, 2), (0.75, 8, 6), (0.1, 64, 6), (0.3, 10, 3), (0.99, 100, 99)],
)
def test_every_minibatch_has_exactly_its_share_of_each_source(
    share: float, size: int, of_second: int
):
    mixed = Mixed(Source(1), Source(2), share)
    uniform_UB = mixed.draw(3, size)
    assert uniform_UB.shape == (3, size)
    for uniform_B in uniform_UB:
        batch = mixed.sample(uniform_B)
        assert batch.size == size
        assert batch.obs[:, 0].tolist() == [1.0] * (size - of_second) + [2.0] * of_second
        # Each source's importance is its own.
        assert batch.weight_B.tolist() == batch.obs[:, 0].tolist()


@given(st.floats(0.01, 0.99), st.integers(2, 300))
def test_a_share_is_rounded_to_whole_transitions_whatever_it_is(share: float, size: int):
    mixed = Mixed(Source(1), Source(2), share)
    batch = mixed.sample(mixed.draw(size))
    assert batch.size == size
    of_second = int((batch.obs[:, 0] == 2).sum())
    assert 1 <= of_second < size
    assert abs(of_second - share * size) <= 1.0


@given(st.sampled_from([0.1, 0.25, 0.5, 0.9]), st.integers(10, 40))
def test_priorities_reach_the_transitions_of_the_source_they_came_from(share: float, size: int):
    first, second = Source(1), Source(2)
    mixed = Mixed(first, second, share)
    batch = mixed.sample(mixed.draw(size))
    mixed.update_priorities(batch, batch.slot_B + 0.5)
    for source in (first, second):
        ((slots, priorities),) = source.preferred
        assert slots == batch.slot_B[batch.obs[:, 0] == source.number].tolist()
        assert priorities == [slot + 0.5 for slot in slots]
    assert len(first.preferred[0][0]) + len(second.preferred[0][0]) == size


@pytest.mark.parametrize("ready", [(True, True), (True, False), (False, True), (False, False)])
def test_two_sources_are_ready_when_both_are(ready: tuple[bool, bool]):
    assert Mixed(Source(1, ready[0]), Source(2, ready[1]), 0.5).ready is all(ready)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 1.5])
def test_a_share_that_leaves_a_source_out_is_refused(share: float):
    with pytest.raises(ValueError, match=f"share {share}: must be between 0 and 1"):
        Mixed(Source(1), Source(2), share)


def test_two_replays_keep_their_own_draws_and_priorities():
    """Slots of both have the same numbers."""
    values = {"priority_exponent": 1.0, "seed": 3}
    replays = [play(Plan(100, truncated=False), num_steps=20, **values)[2] for _ in range(2)]
    alone = play(Plan(100, truncated=False), num_steps=20, **values)[2]
    first, second = replays
    mixed = Mixed(first, second, 0.25)
    batch = mixed.sample(mixed.draw(8))
    own, other = batch.cut(6)
    assert torch.equal(own.slot_B, alone.sample(alone.draw(6)).slot_B)
    slots = torch.tensor(drawable_slots(first))
    before = [replay.priorities[slots] for replay in replays]
    mixed.update_priorities(batch, torch.arange(8.0) + 2)
    for replay, was, part in zip(replays, before, (own, other), strict=True):
        changed = slots[replay.priorities[slots] != was]
        assert sorted(set(part.slot_B.tolist())) == changed.tolist()
    last = second.priorities[other.slot_B[-1:]].item()
    assert last == pytest.approx(9.001)  # The priority of the last, and what is added to all.


class Method:
    """A loss whose priorities, if it gives any, are none of its metrics."""

    def __init__(self, network: Any, prioritizes: bool):
        self.network = network
        self.prioritizes = prioritizes

    def loss(self, batch: Batch) -> LossOutput:
        error_B = self.network(batch.inputs).square().sum(dim=1)
        metrics = {"losses/td_error": error_B, "priority": error_B}
        priority_B = batch.slot_B + 0.5 if self.prioritizes else None
        return LossOutput(error_B, metrics, priority_B)


@pytest.mark.parametrize("prioritizes", [True, False])
def test_what_a_loss_prefers_is_what_the_sampler_hears(prioritizes: bool):
    source = Source(1)
    algorithm = algorithm_on(source, prioritizes)
    for _ in range(2):
        algorithm.observe(step())
        assert algorithm.update()
    assert algorithm.updates == 4
    slots = list(range(100, 104))
    heard = (slots, [slot + 0.5 for slot in slots])
    assert source.preferred == [heard] * (4 if prioritizes else 0)


def test_nothing_is_learned_before_the_sampler_is_ready():
    source = Source(1, ready=False)
    algorithm = algorithm_on(source, prioritizes=True)
    algorithm.observe(step())
    assert algorithm.update() == {}
    source.ready = True
    assert algorithm.update()
    assert algorithm.updates == 2


def algorithm_on(source: Sampler, prioritizes: bool) -> OffPolicyAlgorithm:
    """Two updates a step, on minibatches of a source."""
    config = replace(
        dqn.Config(num_threads=1, hidden=8, batch_size=4, buffer_size=100),
        samples_per_step=8.0,
        learning_starts_steps=0,
    )
    policy = dqn.make_policy(config, SPACES, CPU)
    method = lambda _, network, target: Method(network, prioritizes)  # noqa: E731
    return OffPolicyAlgorithm(config, policy, method, lambda replay: source)


def step() -> Step:
    never_N = np.zeros(1, bool)
    obs = np.zeros((1, 3), np.float32)
    reward_N = np.zeros(1, np.float32)
    return Step(obs, np.zeros(1, np.int64), reward_N, never_N, never_N, never_N, None)
