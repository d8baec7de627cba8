"""Averages of metrics between two reports, by hand."""

from __future__ import annotations

import pytest
import torch

from agents.core.logging.averages import Averages, Diverged


def test_each_name_has_the_mean_of_the_updates_that_gave_it() -> None:
    averages = Averages()
    averages.add({"critic": torch.tensor(1.0)})
    averages.add({"critic": torch.tensor(3.0), "actor": torch.tensor(5.0)})
    averages.add({})
    assert averages.flush() == {"critic": 2.0, "actor": 5.0}
    assert averages.flush() == {}
    averages.add({"actor": torch.tensor(7.0)})
    assert averages.flush() == {"actor": 7.0}


def test_a_sum_does_not_follow_a_metric_that_the_next_update_overwrites() -> None:
    averages = Averages()
    metric = torch.tensor(1.0)
    averages.add({"loss": metric})
    metric.fill_(9.0)
    assert averages.flush() == {"loss": 1.0}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_mean_that_is_not_finite_is_named(value: float) -> None:
    averages = Averages()
    averages.add({"loss": torch.tensor(value)})
    with pytest.raises(Diverged, match=f"loss is {value}"):
        averages.flush()
