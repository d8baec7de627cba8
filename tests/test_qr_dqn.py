"""QR-DQN's loss on two transitions, by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from agents.core.types.batches import Batch
from agents.core.types.inputs import Inputs
from agents.qr_dqn import QRDQN, Config


class Table:
    """Quantiles (B, A, I) by the first number of each observation."""

    def __init__(self, *rows: list[list[float]]):
        self.rows = torch.tensor(rows)

    def __call__(self, inputs: Inputs) -> Tensor:
        return self.rows[inputs.obs_BL[:, 0, 0].long()]


def test_the_loss_bootstraps_from_the_quantiles_of_the_best_mean() -> None:
    network: Any = Table([[0.0, 1.0], [5.0, 5.0]], [[2.0, 2.0], [0.0, 8.0]])
    # Of the first next state action 0 has the better mean, 3, and of the second action 1.
    target: Any = Table([[2.0, 4.0], [9.0, -9.0]], [[0.0, 0.0], [1.0, 1.0]])
    config = Config()
    obs = torch.tensor([[0.0], [1.0]])
    batch = Batch(
        obs=obs,
        action_B=torch.tensor([0, 1]),
        reward_B=torch.tensor([1.0, 2.0]),
        discount_B=torch.tensor([0.5, 0.0]),
        next_obs=obs,
        weight_B=torch.ones(2),
        slot_B=torch.arange(2),
    )
    output = QRDQN(config, network, target).loss(batch)
    # First: targets 1 + ½ (2, 4) = 2, 3 for the quantiles 0 and 1 at ¼ and ¾.
    #   θ = 0: errors 2 and 3, ¼ (1½ + 2½) / 2 = ½.   θ = 1: errors 1 and 2, ¾ (½ + 1½) / 2 = ¾.
    # Second: it ended, so both targets are 2, for the quantiles 0 and 8.
    #   θ = 0: error 2, ¼ 1½ = 0.375.   θ = 8: error -6, |¾ - 1| 5½ = 1.375.
    assert output.loss.tolist() == pytest.approx([1.25, 1.75])
    # Errors of the means: 2½ - ½ and 2 - 4.
    assert output.priority_B is not None
    assert output.priority_B.tolist() == [2.0, 2.0]
