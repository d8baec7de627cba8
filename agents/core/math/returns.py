"""Returns: pure functions of rewards and episode ends. Shapes: B batch, N environments, T time."""

from __future__ import annotations

import torch
from torch import Tensor


def n_step(
    reward_BT: Tensor, terminated_BT: Tensor, ended_BT: Tensor, gamma: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The n-step return of Sutton (1988) over windows of T = n consecutive steps.

    R = Σ_k γ^k r_k over the steps up to the first end. The value of the state after them has the
    discount γ^steps, or 0 if that end is a termination. A truncation ends the sum, but the return
    still bootstraps.

    Args:
        reward_BT: float rewards.
        terminated_BT: bool, the step reaches a terminal state, so the return does not bootstrap.
        ended_BT: bool, the sum ends with this step; true if the step terminates.
        gamma: discount of a step.

    Returns:
        The return_B, the discount_B (float) and the number of summed steps, steps_B (int64).
    """
    assert reward_BT.shape == terminated_BT.shape == ended_BT.shape
    running_BT = (~ended_BT).cumprod(dim=1)
    taken_BT = torch.cat([torch.ones_like(running_BT[:, :1]), running_BT[:, :-1]], dim=1)
    power_T = gamma ** torch.arange(reward_BT.shape[1], device=reward_BT.device)
    return_B = (reward_BT * taken_BT * power_T).sum(dim=1)
    steps_B = taken_BT.sum(dim=1)
    bootstrap_B = ~(terminated_BT & taken_BT.bool()).any(dim=1)
    return return_B, gamma**steps_B * bootstrap_B, steps_B


def gae(
    reward_TN: Tensor,
    discount_TN: Tensor,
    value_TN: Tensor,
    next_value_TN: Tensor,
    ended_TN: Tensor,
    gae_lambda: float,
) -> Tensor:
    """Generalized advantage estimates (Schulman et al. 2016, https://arxiv.org/abs/1506.02438).

    Â_t = δ_t + γ λ Â_{t+1} with δ_t = r_t + γ V(s_{t+1}) - V(s_t) (eq. 11 and 16). The sum stops
    at an episode's end and at the last step. λ = 1 gives the whole return minus the value.

    Args:
        reward_TN: float rewards, time first.
        discount_TN: γ, or 0 if the step terminates the return.
        value_TN: V(s_t).
        next_value_TN: V(s_{t+1}); after a truncation, V of the final observation.
        ended_TN: bool, the step terminates or truncates the episode.
        gae_lambda: λ.
    """
    assert reward_TN.shape == discount_TN.shape == value_TN.shape == next_value_TN.shape
    assert ended_TN.shape == reward_TN.shape
    delta_TN = reward_TN + discount_TN * next_value_TN - value_TN
    trace_TN = gae_lambda * discount_TN * ~ended_TN
    advantage_TN = torch.empty_like(delta_TN)
    running_N = torch.zeros_like(delta_TN[0])
    for t in reversed(range(len(delta_TN))):
        running_N = delta_TN[t] + trace_TN[t] * running_N
        advantage_TN[t] = running_N
    return advantage_TN


def q_lambda(
    reward_TN: Tensor,
    discount_TN: Tensor,
    next_value_TN: Tensor,
    ended_TN: Tensor,
    trace_lambda: float,
) -> Tensor:
    """Q(λ) returns of Peng, the targets of PQN: Gallici et al. 2024, https://arxiv.org/abs/2407.04811.

    G_t = r_t + γ [(1 - λ) max_a Q(s_{t+1}, a) + λ G_{t+1}] (Peng & Williams 1996). At an episode's
    end and at the last step, max_a Q(s_{t+1}, a) stands for G_{t+1}. λ = 0 gives the target of one
    step. An exploring action does not cut the trace.

    Args:
        reward_TN: float rewards, time first.
        discount_TN: γ, or 0 if the step terminates the return.
        next_value_TN: max_a Q(s_{t+1}, a) over legal actions; after a truncation, s_{t+1} is the
            final observation.
        ended_TN: bool, the step terminates or truncates the episode.
        trace_lambda: λ.
    """
    assert reward_TN.shape == discount_TN.shape == next_value_TN.shape == ended_TN.shape
    trace_TN = trace_lambda * (~ended_TN).to(next_value_TN.dtype)
    return_TN = torch.empty_like(next_value_TN)
    running_N = next_value_TN[-1]
    for t in reversed(range(len(return_TN))):
        beyond_N = torch.lerp(next_value_TN[t], running_N, trace_TN[t])
        running_N = reward_TN[t] + discount_TN[t] * beyond_N
        return_TN[t] = running_N
    return return_TN


def retrace(
    reward_TN: Tensor,
    discount_TN: Tensor,
    next_value_TN: Tensor,
    taken_TN: Tensor,
    trace_TN: Tensor,
    ended_TN: Tensor,
) -> Tensor:
    """Off-policy returns of replayed sequences: Munos et al. 2016, https://arxiv.org/abs/1606.02647.

    G_t = r_t + γ [V(s_{t+1}) + c_{t+1} (G_{t+1} - Q(s_{t+1}, a_{t+1}))], which is Q(s_t, a_t) plus
    eq. 3. The trace c chooses the method (their table 1):
      Retrace(λ): λ min(1, π(a|s) / μ(a|s)); with a greedy π it is λ, or 0 if a is not greedy.
      Tree-backup(λ): λ π(a|s).    Q(λ) of Harutyunyan et al.: λ.
    The sum stops at an episode's end and at the last step.

    Args:
        reward_TN: float rewards, time first.
        discount_TN: γ, or 0 if the step terminates the return.
        next_value_TN: V(s_{t+1}) = Σ_a π(a|s_{t+1}) Q(s_{t+1}, a); after a truncation, s_{t+1} is
            the final observation.
        taken_TN: Q(s_t, a_t) of the actions taken.
        trace_TN: c_t of the actions taken, in [0, 1]; the first step's is not used.
        ended_TN: bool, the step terminates or truncates the episode.
    """
    assert reward_TN.shape == discount_TN.shape == next_value_TN.shape == ended_TN.shape
    assert taken_TN.shape == trace_TN.shape == reward_TN.shape
    return_TN = torch.empty_like(next_value_TN)
    correction_N = torch.zeros_like(next_value_TN[0])
    for t in reversed(range(len(return_TN))):
        beyond_N = next_value_TN[t] + correction_N * ~ended_TN[t]
        return_TN[t] = reward_TN[t] + discount_TN[t] * beyond_N
        correction_N = trace_TN[t] * (return_TN[t] - taken_TN[t])
    return return_TN
