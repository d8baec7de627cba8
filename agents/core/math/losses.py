"""Losses: pure functions that return one value for each sample, never a mean.

Shape suffixes: B batch, A actions, I quantiles, J target samples; the losses of policies take any
shape. The discount is gamma**n if the return bootstraps, and 0 if it does not. Therefore no loss
needs gamma, n or episode ends.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agents.core.math.targets import taken


def legal_values(q_BA: Tensor, legal_BA: Tensor | None = None) -> Tensor:
    """Values (..., A), or logits, with -inf for illegal actions.

    A row without a legal action stays as it is: it is the state after an episode's end, where
    the discount is 0 and -inf would become NaN.

    Args:
        q_BA: values Q(s, ·).
        legal_BA: bool, the allowed actions; None if all are allowed.
    """
    if legal_BA is None:
        return q_BA
    assert legal_BA.shape == q_BA.shape
    return q_BA.masked_fill(~legal_BA & legal_BA.any(dim=-1, keepdim=True), -torch.inf)


def greedy(q_BA: Tensor, legal_BA: Tensor | None = None) -> Tensor:
    """The legal action with the largest value, argmax_a Q(s, a), int64 (B,).

    The first action wins a tie. A row without a legal action counts as if all were legal.

    Args:
        q_BA: values Q(s, ·).
        legal_BA: bool, the allowed actions; None if all are allowed.
    """
    return legal_values(q_BA, legal_BA).argmax(dim=1)


def td_error(
    q_BA: Tensor,
    action_B: Tensor,
    target_B: Tensor,
    action_gap: float = 0.0,
    legal_BA: Tensor | None = None,
) -> Tensor:
    """Temporal-difference error, target - Q(s, a), shape (B,).

    Args:
        q_BA: online values Q(s, ·), the only argument that carries a gradient.
        action_B: int64 actions taken in s.
        target_B: R_n + γⁿ V(s') (`agents.core.math.targets`).
        action_gap: α of advantage learning (Bellemare et al. 2016,
            https://arxiv.org/abs/1512.04860, here with the online values). The target is lowered
            by α (max_b Q(s, b) - Q(s, a)), which separates the best action from the others.
        legal_BA: bool, the actions b that are allowed in s; None if all are.
    """
    assert action_B.ndim == target_B.ndim == 1
    taken_B = taken(q_BA, action_B)
    if action_gap > 0:
        target_B = target_B - action_gap * (legal_values(q_BA, legal_BA).amax(dim=1) - taken_B)
    return target_B.detach() - taken_B


def squared(error_B: Tensor) -> Tensor:
    """½ δ² for each sample."""
    return 0.5 * error_B.square()


def huber(error_B: Tensor, threshold: float = 1.0) -> Tensor:
    """½ δ² if |δ| ≤ threshold, and linear with the same slope beyond (Huber 1964).

    With threshold 1, the gradient is the error clipped to [-1, 1], as in Mnih et al. 2015.
    """
    clipped_B = error_B.abs().clamp(max=threshold)
    return clipped_B * (error_B.abs() - 0.5 * clipped_B)


def margin(q_BA: Tensor, action_B: Tensor, least: float, legal_BA: Tensor | None = None) -> Tensor:
    """max_a (Q(s, a) + m 1{a ≠ a_E}) - Q(s, a_E), shape (B,): 0 if a_E leads by m or more.

    Hester et al. 2018, https://arxiv.org/abs/1704.03732, eq. 2.

    Args:
        q_BA: values Q(s, ·).
        action_B: int64, the demonstrator's actions a_E.
        least: m, the margin.
        legal_BA: bool, the allowed actions; None if all are allowed.
    """
    others_BA = torch.arange(q_BA.shape[1], device=q_BA.device) != action_B.unsqueeze(1)
    best_B = legal_values(q_BA + least * others_BA, legal_BA).amax(dim=1)
    return best_B - taken(q_BA, action_B)


PENALTIES = {"huber": huber, "squared": squared}


def quantile_huber(
    quantiles_BI: Tensor,
    target_BJ: Tensor,
    threshold: float = 1.0,
    fraction_BI: Tensor | None = None,
) -> Tensor:
    """Quantile Huber loss Σ_i E_j[ρ_τ_i(T_j - θ_i)], shape (B,).

    QR-DQN: Dabney et al. 2018a, https://arxiv.org/abs/1710.10044, eq. 10 and algorithm 1:
    ρ_τ(u) = |τ - 1{u < 0}| L_κ(u) / κ with the midpoints τ_i = (i - ½) / I.
    IQN: Dabney et al. 2018b, https://arxiv.org/abs/1806.06923, eq. 3, with sampled τ_i. Both sum
    over the I estimates and average over the J targets, so they differ by the fractions alone.

    Args:
        quantiles_BI: estimated quantiles θ of a return's distribution, in order of i.
        target_BJ: samples T of the target distribution; no gradient flows into them.
        threshold: κ; the loss is linear beyond this error.
        fraction_BI: τ in [0, 1] of each estimate, for IQN; None takes QR-DQN's midpoints.
    """
    if fraction_BI is None:
        fraction_BI = midpoints(quantiles_BI.shape[1], quantiles_BI).expand_as(quantiles_BI)
    assert fraction_BI.shape == quantiles_BI.shape and len(target_BJ) == len(quantiles_BI)
    error_BIJ = target_BJ.detach().unsqueeze(1) - quantiles_BI.unsqueeze(2)
    weight_BIJ = (fraction_BI.detach().unsqueeze(2) - (error_BIJ.detach() < 0).float()).abs()
    loss_BIJ = weight_BIJ * huber(error_BIJ, threshold) / threshold
    return loss_BIJ.mean(dim=2).sum(dim=1)


def midpoints(num_quantiles: int, like: Tensor) -> Tensor:
    """The middles (i - ½) / I of I equal parts of [0, 1], (I,), with the dtype of `like`."""
    steps_I = torch.arange(num_quantiles, device=like.device, dtype=like.dtype)
    return (steps_I + 0.5) / num_quantiles


def policy_gradient(log_prob: Tensor, advantage: Tensor) -> Tensor:
    """-Â log π(a|s), whose gradient is the one of REINFORCE.

    Williams 1992, https://doi.org/10.1007/BF00992696, eq. 4; Â is the return minus a baseline.
    """
    return -advantage.detach() * log_prob


def clipped_policy(
    log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip: Tensor
) -> Tensor:
    """-min(ρ Â, clip(ρ, 1 ± ε) Â) with ρ = π(a|s) / π_old(a|s).

    Schulman et al. 2017, https://arxiv.org/abs/1707.06347, eq. 7.

    Args:
        clip: ε; a tensor, because a recorded CUDA graph must read its present value.
    """
    ratio = (log_prob - old_log_prob).exp()
    return -torch.min(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def clipped_value(value: Tensor, old_value: Tensor, target: Tensor, clip: float) -> Tensor:
    """½ max((V - R)², (V_old + clip(V - V_old, ± ε) - R)²); an infinite ε does not clip.

    Core detail 9 of "The 37 implementation details of PPO" (Huang et al. 2022).
    """
    clipped = old_value + (value - old_value).clamp(-clip, clip)
    return 0.5 * torch.max((value - target).square(), (clipped - target).square())


def approximate_kl(log_prob: Tensor, old_log_prob: Tensor) -> Tensor:
    """ρ - 1 - log ρ, whose mean over π_old estimates KL(π_old, π) and is never negative.

    Schulman 2020, "Approximating KL divergence", http://joschu.net/blog/kl-approx.html, k₃.
    """
    log_ratio = log_prob - old_log_prob
    return log_ratio.expm1() - log_ratio


def clipped_share(log_prob: Tensor, old_log_prob: Tensor, clip: Tensor) -> Tensor:
    """1 if ρ is outside 1 ± ε, else 0."""
    return ((log_prob - old_log_prob).exp() - 1).abs().gt(clip).float()
