"""The value rescaling h of Pohlen et al. and R2D2: large returns without clipped rewards.

Pohlen et al. 2018, Observe and Look Further, https://arxiv.org/abs/1805.11593, section 3.2:
  h(x) = sign(x) (√(|x| + 1) - 1) + ε x,   target h(r + γ h⁻¹(Q(s', a')))
R2D2, Kapturowski et al. 2019, https://openreview.net/forum?id=r1lyTjAqYX, has ε = 10⁻³.
"""

from __future__ import annotations

from torch import Tensor


def rescale(x: Tensor, epsilon: float = 1e-3) -> Tensor:
    """h(x) = sign(x) (√(|x| + 1) - 1) + ε x, of any shape.

    It is computed as x / (√(|x| + 1) + 1) + ε x, which keeps float32's digits near 0.

    Args:
        x: returns.
        epsilon: ε above 0; at 0 the inverse is not Lipschitz, so its bootstrap may diverge.
    """
    return x / ((x.abs() + 1).sqrt() + 1) + epsilon * x


def unscale(y: Tensor, epsilon: float = 1e-3) -> Tensor:
    """The inverse h⁻¹(y) of `rescale`, of any shape.

    With u = √(|x| + 1) - 1 the equation |y| = h(|x|) is ε u² + (1 + 2ε) u = |y|. Its positive root
    is 2|y| / (1 + 2ε + √((1 + 2ε)² + 4ε|y|)), and |x| = u (u + 2). The closed form of the paper
    (proposition A.2) is the same, but float32 loses four of its seven digits in it.

    Args:
        y: rescaled returns.
        epsilon: ε of `rescale`.
    """
    slope = 1 + 2 * epsilon
    root = 2 * y / (slope + (slope**2 + 4 * epsilon * y.abs()).sqrt())
    return root * (root.abs() + 2)
