"""Targets of action values: pure functions of the values in s' and of n-step rewards.

Shape suffixes: B batch, A actions, J quantiles or samples of the return. The discount is γⁿ if the
return bootstraps, and 0 if it does not.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from agents.core.math import returns
from agents.core.math.rescaling import rescale, unscale


def taken(values: Tensor, action: Tensor) -> Tensor:
    """Selects one action in each row: (..., A) becomes (...), and (..., A, J) becomes (..., J).

    Args:
        action: int64, the actions; its shape is the leading dimensions of `values`.
    """
    dim = action.ndim
    index = action.view(*action.shape, *[1] * (values.ndim - dim))
    return values.gather(dim, index.expand(*action.shape, 1, *values.shape[dim + 1 :])).squeeze(dim)


def bootstrapped(
    reward_B: Tensor, discount_B: Tensor, next_values: Tensor, rescales: bool = False
) -> Tensor:
    """R_n + γⁿ V(s'), of shape (B,), or (B, J) for samples of the return.

    Args:
        reward_B: n-step discounted rewards R_n.
        discount_B: discount of the bootstrap value.
        next_values: V(s'), (B,) or (B, J).
        rescales: whether values are rescaled; then this is h(R_n + γⁿ h⁻¹(V(s')))
            (`agents.core.math.rescaling`).
    """
    if next_values.ndim == 2:
        reward_B = reward_B.unsqueeze(1)
        discount_B = discount_B.unsqueeze(1)
    if rescales:
        return rescale(reward_B + discount_B * unscale(next_values))
    return reward_B + discount_B * next_values


def traced(
    reward_BT: Tensor,
    discount_BT: Tensor,
    q_next_BTA: Tensor,
    next_action_BT: Tensor,
    action_BT: Tensor,
    ended_BT: Tensor,
    trace_lambda: float,
    corrects: bool,
) -> Tensor:
    """Returns (B, T) of replayed sequences of T consecutive steps that mix all lengths by λ.

    With correction this is Retrace(λ) of the greedy policy: a trace goes on while the actions taken
    are greedy (Munos et al. 2016, https://arxiv.org/abs/1606.02647). Without it, this is Peng's
    Q(λ), whose traces go on with any action (Kozuno et al. 2021, https://arxiv.org/abs/2103.00107):
      G_t = r_t + γ [V(s_{t+1}) + λ 1{a_{t+1} = a*} (G_{t+1} - Q(s_{t+1}, a_{t+1}))]
      G_t = r_t + γ [V(s_{t+1}) + λ (G_{t+1} - V(s_{t+1}))]
    The sum stops at an episode's end and at the last step.

    Args:
        reward_BT, discount_BT: rewards of one step, and γ, or 0 if the step terminates the return.
        q_next_BTA: the target network's values in s_{t+1}.
        next_action_BT: a*, the action that the policy chooses in s_{t+1}.
        action_BT: the actions taken in s_t.
        ended_BT: bool, the step terminates the return or ends the episode.
        corrects: whether the returns are Retrace's.
    """
    value_BT = taken(q_next_BTA, next_action_BT)
    trace_BT = torch.full_like(value_BT, trace_lambda)
    before_BT = value_BT[:, :-1]
    if corrects:
        later_BT = action_BT[:, 1:]
        before_BT = taken(q_next_BTA[:, :-1], later_BT)
        greedy_BT = later_BT == next_action_BT[:, :-1]
        trace_BT = functional.pad(trace_lambda * greedy_BT.to(value_BT.dtype), (1, 0))
    taken_BT = functional.pad(before_BT, (1, 0))
    of_steps = (reward_BT, discount_BT, value_BT, taken_BT, trace_BT, ended_BT)
    return returns.retrace(*(each.T for each in of_steps)).T
