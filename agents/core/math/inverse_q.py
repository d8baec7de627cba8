"""Inverse soft Q-learning: the reward that a Q-function implies, and its objective.

IQ-Learn, Garg et al. 2021, https://arxiv.org/abs/2106.12142. A soft Q-function Q with
V(s) = τ log Σ_a exp(Q(s, a) / τ) implies the reward
  r(s, a) = Q(s, a) - γ V(s')                                                     (eq. 9)
The best Q maximizes, with the expert's steps E, steps μ of any policy, and χ² (section 5)
  E_E[r] - E_μ[V(s) - γ V(s')] - E_μ[r²] / 4α
E_μ[V(s) - γ V(s')] stands for the start's value, (1 - γ) E[V(s₀)], because V telescopes along an
episode. μ is the expert, or a mixture of expert and agent.

Shape suffixes: B batch.
"""

from __future__ import annotations

from torch import Tensor


def implied_reward(q_B: Tensor, discount_B: Tensor, next_value_B: Tensor) -> Tensor:
    """r = Q(s, a) - γ V(s'), shape (B,), or (E, B) for E critics.

    Args:
        q_B: values Q(s, a) of the actions taken, (B,) or (E, B).
        discount_B: γ, or 0 if s' is terminal.
        next_value_B: V(s').
    """
    assert q_B.shape[-1:] == discount_B.shape == next_value_B.shape
    return q_B - discount_B * next_value_B


def loss(
    reward_B: Tensor,
    fall_B: Tensor,
    expert_B: Tensor,
    alpha: float,
    counted_B: Tensor | float = 1.0,
) -> Tensor:
    """The negative objective of each transition, (B,); its mean is to be minimized.

    Args:
        reward_B: implied rewards r, (B,) or (E, B).
        fall_B: V(s) - γ V(s'), by which the value falls in the step; or (1 - γ) V(s) of a start.
        expert_B: weights of mean 1 for the expert's mean: 0 on other transitions.
        alpha: α of χ²; a smaller α keeps rewards smaller.
        counted_B: weights of mean 1 for the other two means.
    """
    assert reward_B.shape[-1:] == fall_B.shape == expert_B.shape
    penalty_B = reward_B.square() / (4 * alpha)
    return counted_B * (fall_B + penalty_B) - expert_B * reward_B
