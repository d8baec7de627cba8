"""The numbers of the page, against arithmetic by hand."""

from __future__ import annotations

import numpy as np
import pytest

from agents.report.statistics import (
    aggregate,
    estimate_iqm,
    estimate_share,
    iqm,
    resampled,
    thinned,
)


def test_an_interquartile_mean_leaves_out_a_quarter_at_each_end():
    # Of 8 the 2 lowest and the 2 highest go: (3 + 4 + 5 + 6) / 4.
    assert iqm(np.array([8.0, 1, 100, 3, 4, 5, 6, -50])) == pytest.approx(4.5)
    # A quarter of 3, rounded down, is none: (1 + 2 + 9) / 3.
    assert iqm(np.array([1.0, 2, 9])) == pytest.approx(4.0)


def test_the_interquartile_mean_is_over_the_runs_of_all_games():
    # 0, 1, 2, 3 | 10, 20, 30, 40 without 0, 1 and 30, 40: (2 + 3 + 10 + 20) / 4.
    games = [np.array([0.0, 1, 2, 3]), np.array([10.0, 20, 30, 40])]
    assert estimate_iqm(games).value == pytest.approx(8.75)


def test_one_run_a_game_has_no_interval():
    found = estimate_iqm([np.array([3.0]), np.array([5.0])])
    assert found.value == found.low == found.high == 4.0


def test_runs_are_drawn_within_their_game():
    # Each game's runs are equal: whatever is drawn, the mean of all is (1 + 1 + 7 + 7) / 4.
    found = estimate_iqm([np.array([1.0, 1.0]), np.array([7.0, 7.0])])
    assert (found.low, found.high) == (4.0, 4.0)


def test_the_interval_of_two_runs_is_from_one_to_the_other():
    # Of two runs drawn from two, a quarter are the lower twice and a quarter the higher twice.
    found = estimate_iqm([np.array([0.0, 1.0])])
    assert (found.low, found.value, found.high) == (0.0, 0.5, 1.0)


def test_a_single_run_beside_others_stays_what_it_is():
    found = estimate_iqm([np.array([0.0, 1.0]), np.array([5.0])])
    # (0 + 0 + 5) / 3, (0 + 1 + 5) / 3, (1 + 1 + 5) / 3
    assert found.low == pytest.approx(5 / 3)
    assert found.value == pytest.approx(2.0)
    assert found.high == pytest.approx(7 / 3)


def test_the_interval_is_the_same_each_time_and_widens_with_the_spread():
    runs = np.random.default_rng(3).normal(size=12)
    one, again, wide = (estimate_iqm([each]) for each in (runs, runs, 10 * runs))
    assert one.low == again.low < one.value < one.high
    assert wide.high - wide.low == pytest.approx(10 * (one.high - one.low))


def test_curves_are_estimated_point_by_point_with_whole_runs_drawn():
    runs = np.array([[0.0, 10.0], [1.0, 11.0]])
    found = estimate_iqm([runs])
    np.testing.assert_allclose(found.value, [0.5, 10.5])
    np.testing.assert_allclose(found.low, [0.0, 10.0])


def test_a_profile_is_the_share_of_runs_above_a_score():
    found = estimate_share([np.array([0.1, 0.5]), np.array([2.0, 0.5])], np.array([0.0, 0.5, 3.0]))
    np.testing.assert_allclose(found.value, [1.0, 0.25, 0.0])
    assert (found.low[0], found.high[0]) == (1.0, 1.0)
    assert found.low[1] <= 0.25 <= found.high[1]


def test_a_curve_is_averaged_around_each_point_and_drawn_between_them():
    x, y = np.array([0.0, 1, 9, 11, 30]), np.array([2.0, 4, 10, 20, 40])
    # Nearest to 0 are 0 and 1, to 10 are 9 and 11, to 20 none, to 30 is 30.
    np.testing.assert_allclose(resampled(x, y, np.array([0.0, 10, 20, 30])), [3, 15, 27.5, 40])


def test_a_curve_is_unknown_where_it_has_not_been():
    values = resampled(np.array([10.0, 20]), np.array([1.0, 2]), np.array([0.0, 10, 20, 30]))
    np.testing.assert_array_equal(values, [np.nan, 1, 2, np.nan])


def test_a_run_in_progress_hides_nothing_of_the_others():
    long = (np.array([0.0, 1, 2, 3, 4]), np.array([0.0, 1, 2, 3, 4]))
    short = (np.array([0.0, 1, 2]), np.array([2.0, 3, 4]))
    found = aggregate([[long, short]], points=5)
    np.testing.assert_array_equal(found.runs, [2, 2, 2, 1, 1])
    np.testing.assert_allclose(found.estimate.value, [1, 2, 3, 3, 4])
    np.testing.assert_allclose(found.estimate.low[3:], [3, 4])


def test_thinning_keeps_ends_and_extremes():
    y = np.sin(np.linspace(0, 20, 10_000))
    y[[1234, 7777]] = 50, -50
    chosen = thinned(y, 100)
    assert len(chosen) <= 100
    assert {0, 1234, 7777, 9_999} <= set(chosen.tolist())
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(thinned(y[:7], 100), np.arange(7))
