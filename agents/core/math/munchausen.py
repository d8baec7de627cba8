"""Munchausen reinforcement learning: a soft policy of the values, and its bonus.

Vieillard et al. 2020, Munchausen Reinforcement Learning, https://arxiv.org/abs/2007.14430.
With π(·|s) = softmax(Q⁻(s, ·) / τ), eq. 1 and 2, the target of Q(s, a) is
  r + α [τ log π(a|s)]_{l₀}^0 + γ Σ_b π(b|s') (Q⁻(s', b) - τ log π(b|s'))
The last two terms are `bonus` and `soft_value`. The paper has τ = 0.03, α = 0.9 and l₀ = -1.
M-IQN has the quantiles z(s', b) in place of Q⁻(s', b), and π is of their mean.

Shape suffixes: B batch, A actions. An illegal action has probability 0. A row without a legal
action, the state after an episode's end, counts as if all were legal: its discount is 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agents.core.math import losses
from agents.core.math.targets import taken


def log_policy(q_BA: Tensor, temperature: float, legal_BA: Tensor | None = None) -> Tensor:
    """log π(·|s) = log softmax(Q(s, ·) / τ), shape (B, A); -inf for illegal actions.

    Args:
        q_BA: values Q(s, ·).
        temperature: τ above 0, in units of the values.
        legal_BA: bool, the allowed actions; None if all are allowed.
    """
    legal_q_BA = losses.legal_values(q_BA, legal_BA)
    # The largest value is subtracted first: Q / τ itself would overflow if τ is small.
    best_B1 = legal_q_BA.detach().amax(dim=1, keepdim=True)
    return ((legal_q_BA - best_B1) / temperature).log_softmax(dim=1)


def bonus(
    q_BA: Tensor,
    action_B: Tensor,
    temperature: float,
    scale: float,
    floor: float,
    legal_BA: Tensor | None = None,
) -> Tensor:
    """The reward's bonus α [τ log π(a|s)]_{l₀}^0, shape (B,), between α l₀ and 0.

    Args:
        q_BA: target values Q⁻(s, ·).
        action_B: int64 actions taken in s.
        temperature: τ above 0, in units of the values.
        scale: α.
        floor: l₀, at most 0: the least τ log π that counts.
        legal_BA: bool, the actions that are allowed in s; None if all are.
    """
    log_prob_BA = log_policy(q_BA, temperature, legal_BA)
    taken_B = taken(log_prob_BA, action_B)
    return scale * (temperature * taken_B).clamp(min=floor, max=0.0)


def soft_value(
    values: Tensor, q_BA: Tensor, temperature: float, legal_BA: Tensor | None = None
) -> Tensor:
    """Σ_a π(a|s) (z(s, a) - τ log π(a|s)), shape (B,) or (B, J).

    For z = Q it equals τ log Σ_a exp(Q(s, a) / τ). If τ tends to 0, it tends to z(s, argmax_a Q).

    Args:
        values: z(s, ·): values (B, A), or J quantiles or samples of each action (B, A, J).
        q_BA: values Q(s, ·) whose soft policy is π; for quantiles, their mean.
        temperature: τ above 0, in units of the values.
        legal_BA: bool, the actions that are allowed in s; None if all are.
    """
    assert values.shape[:2] == q_BA.shape
    log_prob_BA = log_policy(q_BA, temperature, legal_BA)
    impossible_BA = log_prob_BA == -torch.inf
    log_prob_BA = log_prob_BA.masked_fill(impossible_BA, 0.0)
    prob_BA = log_prob_BA.exp().masked_fill(impossible_BA, 0.0)
    entropy_B = -(prob_BA * log_prob_BA).sum(dim=1)
    if values.ndim == 2:
        return (prob_BA * values).sum(dim=1) + temperature * entropy_B
    expected_BJ = (prob_BA.unsqueeze(2) * values).sum(dim=1)
    return expected_BJ + temperature * entropy_B.unsqueeze(1)
