"""Targets of action values: pure functions of the values in s' and of n-step rewards.

Shape suffixes: B batch, A actions, J quantiles or samples of the return. The discount is γⁿ if the
return bootstraps, and 0 if it does not.
"""

from __future__ import annotations

from torch import Tensor

from agents.core.math.rescaling import rescale, unscale


def taken(values: Tensor, action_B: Tensor) -> Tensor:
    """Selects one action in each row: (B, A) becomes (B,), and (B, A, J) becomes (B, J)."""
    index = action_B.view(-1, *[1] * (values.ndim - 1))
    return values.gather(1, index.expand(-1, 1, *values.shape[2:])).squeeze(1)


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
