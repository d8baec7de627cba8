"""The schedules against arithmetic done by hand."""

from __future__ import annotations

import pytest

from agents.core.math import schedules


def test_linear_falls_in_proportion_to_the_step():
    epsilon = schedules.linear(1.0, 0.1, 100)
    assert epsilon(0) == 1.0
    assert epsilon(1) == pytest.approx(0.991)  # 1 - 0.9 * 1 / 100
    assert epsilon(50) == pytest.approx(0.55)  # 1 - 0.9 * 50 / 100
    assert epsilon(99) == pytest.approx(0.109)  # 1 - 0.9 * 99 / 100


@pytest.mark.parametrize("step", [100, 101, 10**12])
def test_linear_stays_at_its_end(step: int):
    assert schedules.linear(1.0, 0.1, 100)(step) == pytest.approx(0.1)


def test_linear_may_begin_later():
    epsilon = schedules.linear(1.0, 0.0, 30, 10)
    assert [epsilon(step) for step in (0, 10, 15, 30, 31)] == [1.0, 1.0, 0.75, 0.0, 0.0]


def test_progress_is_the_share_of_the_steps_between():
    share = schedules.progress(30, 10)
    assert [share(step) for step in (0, 10, 15, 30, 31)] == [0.0, 0.0, 0.25, 1.0, 1.0]


def test_linear_may_rise():
    assert schedules.linear(0.0, 2.0, 4)(1) == 0.5  # 0 + 2 * 1 / 4


@pytest.mark.parametrize("last_step", [0, -1])
def test_linear_without_duration_is_its_end_at_once(last_step: int):
    schedule = schedules.linear(1.0, 0.25, last_step)
    assert [schedule(0), schedule(7)] == [0.25, 0.25]


def test_constant_is_the_same_at_every_step():
    schedule = schedules.constant(0.3)
    assert [schedule(0), schedule(10**12)] == [0.3, 0.3]
