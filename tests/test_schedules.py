"""The schedules against arithmetic done by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.core.math.schedules import Linear, constant


def test_a_schedule_falls_in_proportion_to_the_step():
    epsilon = Linear(1.0, 0.1, 0, 100)
    assert epsilon(0) == 1.0
    assert epsilon(1) == pytest.approx(0.991)  # 1 - 0.9 * 1 / 100
    assert epsilon(50) == pytest.approx(0.55)  # 1 - 0.9 * 50 / 100
    assert epsilon(99) == pytest.approx(0.109)  # 1 - 0.9 * 99 / 100


@pytest.mark.parametrize("step", [100, 101, 10**12])
def test_a_schedule_stays_at_its_end(step: int):
    assert Linear(1.0, 0.1, 0, 100)(step) == pytest.approx(0.1)


def test_a_schedule_may_begin_later():
    epsilon = Linear(1.0, 0.0, 10, 30)
    assert [epsilon(step) for step in (0, 10, 15, 30, 31)] == [1.0, 1.0, 0.75, 0.0, 0.0]


def test_a_schedule_may_rise():
    assert Linear(0.0, 2.0, 0, 4)(1) == 0.5  # 0 + 2 * 1 / 4


def test_a_schedule_without_duration_is_its_end_at_once():
    schedule = Linear(1.0, 0.25, 7, 7)
    assert [schedule(0), schedule(7)] == [0.25, 0.25]


def test_a_constant_is_the_same_at_every_step():
    schedule = constant(0.3)
    assert [schedule(0), schedule(10**12)] == [0.3, 0.3]


def test_a_schedule_without_a_last_step_ends_with_the_run():
    schedule = Linear(1.0, 0.0, 10)
    with pytest.raises(ValueError, match=r"call until\(total_steps\)"):
        schedule(20)
    assert schedule.until(30)(20) == 0.5
    assert schedule.until(50)(20) == 0.75
    assert Linear(1.0, 0.0, 10, 30).until(50)(20) == 0.5


def test_another_start_keeps_the_share_of_the_end():
    assert Linear(7e-4, 7e-5, 3, 9).from_start(1.0) == Linear(1.0, 0.1, 3, 9)
    assert Linear(7e-4, 0.0).from_start(0.5) == Linear(0.5, 0.0)
    assert constant(7e-4).from_start(0.3) == constant(0.3)


@pytest.mark.parametrize(
    ("text", "schedule", "written"),
    [
        ("0.1", constant(0.1), "0.1"),
        ("20", constant(20), "20"),
        ("1..0.01", Linear(1, 0.01), "1..0.01"),
        ("1..0.01@0..25_000", Linear(1, 0.01, 0, 25_000), "1..0.01@0..25000"),
        ("1..0.01@..1e5", Linear(1, 0.01, 0, 100_000), "1..0.01@0..100000"),
        ("7e-4..7e-5@2e5..", Linear(7e-4, 7e-5, 200_000), "0.0007..7e-05@200000.."),
        ("1...5", Linear(1, 0.5), "1..0.5"),
        ("-1..-.5", Linear(-1, -0.5), "-1..-0.5"),
    ],
)
def test_a_schedule_is_read_as_it_is_written(text: str, schedule: Linear, written: str):
    assert Linear.parse(text) == schedule
    assert str(schedule) == written


@pytest.mark.parametrize(
    "text",
    [
        *("", "nan", "inf", "x", "1,0", "1-0.1", "1..", "..1", "1..nan", "1..0..2"),
        *("0.1@0..5", "1..0@", "1..0@5", "1..0@-1..5", "1..0@0..-5", "1..0@0..5.5"),
        *("1..0@0..1..2", "1..0@1e30.."),
    ],
)
def test_what_is_no_schedule_is_named(text: str):
    with pytest.raises(ValueError, match=r": must be a finite number such as 0\.1, or a line"):
        Linear.parse(text)


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_the_text_of_a_schedule_stands_for_the_same_numbers(
    start: float, end: float, first: int, last: int
):
    schedule = Linear(start, end, first, last)
    again = Linear.parse(str(schedule))
    assert again == schedule or (not schedule.moves and again == constant(start))
