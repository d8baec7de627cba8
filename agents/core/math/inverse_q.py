"""Inverse soft Q-learning: the reward that a Q-function implies, and its objective.

IQ-Learn, Garg et al. 2021, https://arxiv.org/abs/2106.12142. A soft Q-function Q with
V(s) = τ log Σ_a exp(Q(s, a) / τ) implies the reward
  r(s, a) = Q(s, a) - γ V(s')                                                     (eq. 9)
The best Q maximizes, with expert steps E, steps μ of any policy, and χ² (section 5.1 and table 5)
  E_E[r] - E_μ[V(s) - γ V(s')] - E_{E, μ}[r²] / 4α
E_μ stands for the start's value, (1 - γ) E[V(s₀)], because V telescopes along a trajectory.

Shape suffixes: B batch.
"""

from __future__ import annotations

from torch import Tensor


def implied_reward(q_B: Tensor, discount_B: Tensor, next_value_B: Tensor) -> Tensor:
    """r = Q(s, a) - γ V(s'), shape (B,).

    Args:
        q_B: values Q(s, a) of the actions taken.
        discount_B: γ, or 0 if s' is terminal.
        next_value_B: V(s').
    """
    assert q_B.shape == discount_B.shape == next_value_B.shape
    return q_B - discount_B * next_value_B


def loss(
    reward_B: Tensor,
    fall_B: Tensor,
    is_demo_B: Tensor,
    demo_share: float,
    alpha: float,
) -> Tensor:
    """The negative objective of each transition, (B,); its mean is to be minimized.

    Args:
        reward_B: implied rewards r.
        fall_B: V(s) - γ V(s'), by which the value falls in the step.
        is_demo_B: bool, the transition is the expert's.
        demo_share: the share of the expert's transitions in minibatches.
        alpha: α of χ²; a smaller α keeps rewards smaller.
    """
    assert reward_B.shape == fall_B.shape == is_demo_B.shape
    of_expert_B = is_demo_B.to(reward_B.dtype) / demo_share
    return fall_B - of_expert_B * reward_B + reward_B.square() / (4 * alpha)
