"""Losses of value-based agents: pure functions, one value per sample, never a mean.

Shape suffixes: B batch, A actions. The discount is gamma**n where the return may be
bootstrapped and 0 where it may not, so that no loss knows of gamma, n or episode ends.
"""

from __future__ import annotations

from torch import Tensor


def td_error(
    q_BA: Tensor,
    action_B: Tensor,
    reward_B: Tensor,
    discount_B: Tensor,
    q_next_BA: Tensor,
    select_BA: Tensor,
) -> Tensor:
    """Temporal-difference error, r + γ Q⁻(s', argmax_a S(s', a)) - Q(s, a), shape (B,).

    With the target network's own values as the selector S this is DQN (Mnih et al. 2015,
    https://doi.org/10.1038/nature14236, eq. 1); with the online network's values it is
    double DQN (van Hasselt et al. 2016, https://arxiv.org/abs/1509.06461, eq. 4).

    Args:
        q_BA: online values Q(s, ·), the only argument that carries a gradient.
        action_B: int64 actions taken in s.
        reward_B: n-step discounted rewards.
        discount_B: discount of the bootstrap value.
        q_next_BA: target values Q⁻(s', ·).
        select_BA: values whose argmax chooses the action in s'.
    """
    assert q_BA.shape == q_next_BA.shape == select_BA.shape and action_B.ndim == 1
    best_B1 = select_BA.argmax(dim=1, keepdim=True)
    target_B = reward_B + discount_B * q_next_BA.gather(1, best_B1).squeeze(1)
    return target_B.detach() - q_BA.gather(1, action_B.unsqueeze(1)).squeeze(1)


def squared(error_B: Tensor) -> Tensor:
    """½ δ² for each sample."""
    return 0.5 * error_B.square()


def huber(error_B: Tensor, threshold: float = 1.0) -> Tensor:
    """½ δ² where |δ| ≤ threshold, and linear with the same slope beyond (Huber 1964).

    With threshold 1 its gradient is the error clipped to [-1, 1] of Mnih et al. 2015.
    """
    clipped_B = error_B.abs().clamp(max=threshold)
    return clipped_B * (error_B.abs() - 0.5 * clipped_B)
