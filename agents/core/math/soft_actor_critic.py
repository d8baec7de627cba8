"""The losses of soft actor-critics: pure functions that return one value for each sample.

Soft Actor-Critic Algorithms and Applications, Haarnoja et al. 2018,
https://arxiv.org/abs/1812.05905; for discrete actions, Christodoulou 2019,
https://arxiv.org/abs/1910.07207. The discount is γⁿ if the return bootstraps, and 0 if it does not.

Shape suffixes: E critics, B batch, A actions.
"""

from __future__ import annotations

from torch import Tensor

LEAST = -1e4
"""The log-probability of an impossible action in sums: its probability is exactly 0 in float32."""


def soft_value(q_EB: Tensor, log_prob_B: Tensor, alpha: Tensor) -> Tensor:
    """V(s) = min_e Q_e(s, a) - α log π(a|s) for an action drawn from π (eq. 3), shape (B,).

    The policy's loss is -V: its mean over s is eq. 9.
    """
    return q_EB.amin(dim=0) - alpha * log_prob_B


def expected_soft_value(q_EBA: Tensor, log_prob_BA: Tensor, alpha: Tensor) -> Tensor:
    """V(s) = Σ_a π(a|s) (min_e Q_e(s, a) - α log π(a|s)), shape (B,).

    Christodoulou 2019, eq. 10. The policy's loss is -V (eq. 12). An action of probability 0, such
    as an illegal one, adds nothing.
    """
    log_prob_BA = log_prob_BA.clamp_min(LEAST)
    return (log_prob_BA.exp() * (q_EBA.amin(dim=0) - alpha * log_prob_BA)).sum(dim=1)


def entropy(log_prob_BA: Tensor) -> Tensor:
    """-Σ_a π(a|s) log π(a|s), shape (B,); an action of probability 0 adds nothing."""
    log_prob_BA = log_prob_BA.clamp_min(LEAST)
    return -(log_prob_BA.exp() * log_prob_BA).sum(dim=1)


def critic(q_EB: Tensor, target_B: Tensor) -> Tensor:
    """Σ_e ½ (Q_e(s, a) - target)² (eq. 5), shape (B,)."""
    return 0.5 * (q_EB - target_B).square().sum(dim=0)


def temperature(log_alpha: Tensor, entropy_B: Tensor, target_entropy: float) -> Tensor:
    """log α (H - H̄), shape (B,): α falls while the entropy is above its target.

    Eq. 18 with log α in place of α, as in the authors' code
    (https://github.com/rail-berkeley/softlearning). The gradient has the same sign.
    """
    return log_alpha * (entropy_B - target_entropy).detach()
