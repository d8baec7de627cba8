"""Returns: pure functions of rewards and episode ends. Shapes: B batch, T time."""

from __future__ import annotations

import torch
from torch import Tensor


def n_step(
    reward_BT: Tensor, terminated_BT: Tensor, ended_BT: Tensor, gamma: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The n-step return of Sutton (1988) over windows of T = n consecutive steps.

    R = Σ_k γ^k r_k over the steps up to the first end, bootstrapped from the state after
    them with discount γ^steps, or 0 where that end is a termination. A truncation ends the
    sum but not the bootstrap.

    Args:
        reward_BT: float rewards.
        terminated_BT: bool, the step reached a terminal state (no bootstrap).
        ended_BT: bool, the step is the last one the sum may hold (true wherever terminated).
        gamma: discount per step.

    Returns:
        return_B, discount_B (float) and steps_B (int64), the number of steps summed.
    """
    assert reward_BT.shape == terminated_BT.shape == ended_BT.shape
    running_BT = (~ended_BT).cumprod(dim=1)
    taken_BT = torch.cat([torch.ones_like(running_BT[:, :1]), running_BT[:, :-1]], dim=1)
    power_T = gamma ** torch.arange(reward_BT.shape[1], device=reward_BT.device)
    return_B = (reward_BT * taken_BT * power_T).sum(dim=1)
    steps_B = taken_BT.sum(dim=1)
    bootstrap_B = ~(terminated_BT & taken_BT.bool()).any(dim=1)
    return return_B, gamma**steps_B * bootstrap_B, steps_B
