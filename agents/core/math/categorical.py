"""Categorical values: the return's distribution as probabilities of fixed atoms.

C51: Bellemare et al. 2017, A Distributional Perspective on Reinforcement Learning,
https://arxiv.org/abs/1707.06887, algorithm 1.
HL-Gauss: Imani & White 2018, https://arxiv.org/abs/1806.04613; for deep reinforcement learning
Farebrother et al. 2024, Stop Regressing, https://arxiv.org/abs/2403.03950, section 3.1.

Shape suffixes: B batch, Z atoms. The support is uniform. Nothing here waits for the device, and
nothing adds with atomics, so a CUDA graph can hold it and a run repeats bit for bit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def support(low: float, high: float, num_atoms: int, device: torch.device | None = None) -> Tensor:
    """The returns z_i = low + i Δ that atoms stand for, float32 (Z,), with z_{Z-1} = high.

    Args:
        low: the least return.
        high: the largest return, above `low`.
        num_atoms: Z, at least 2; an odd number has an atom in the middle.
        device: where the tensor lives.

    Raises:
        ValueError: there are fewer than two atoms, or `high` is not above `low`.
    """
    if num_atoms < 2:
        raise ValueError(f"a support has at least 2 atoms, not {num_atoms}")
    if not low < high:
        raise ValueError(f"the support's highest return, {high}, is not above its lowest, {low}")
    return torch.linspace(low, high, num_atoms, device=device)


def return_bound(
    gamma: float,
    n_step: int = 1,
    reward_bound: float = 1.0,
    density: float = 0.1,
    horizon: int | None = None,
) -> float:
    """A bound V of returns, for the support [-V, V], from γ, n and the clipping of rewards.

    A reward of ±r in every step is worth at most r (1 - γ^H) / (1 - γ). No return is ever beyond
    it if the density is 1, which is right for CartPole. In games with clipped rewards, most steps
    have none, and nearly all atoms would be of returns that do not occur. So this is the return of
    a reward in every tenth step. At γ = 0.99 it is 10, which C51 and Rainbow chose by hand.

    The return's distribution does not depend on n, but its first n rewards come as a sample. So V
    is also at least the sum of n steps with a burst, a reward in every second step (or as many as
    the density says), and at least one reward.

    Args:
        gamma: γ of a step, in [0, 1].
        n_step: n, the rewards that are summed before the bootstrap, at least 1.
        reward_bound: r, the largest absolute reward: 1 if rewards are clipped to ±1.
        density: the share of steps that have a reward, in (0, 1].
        horizon: H, the most steps of an episode; None is endless, so that γ must be below 1.

    Raises:
        ValueError: the bound is infinite, because γ is 1 and there is no horizon.
    """
    if gamma >= 1 and horizon is None:
        raise ValueError(f"returns have no bound if gamma is {gamma} and episodes have no horizon")
    lasting = density * discounted_steps(gamma, horizon)
    window = n_step if horizon is None else min(n_step, horizon)
    burst = max(density, 0.5) * discounted_steps(gamma, window)
    return reward_bound * max(1.0, lasting, burst)


def discounted_steps(gamma: float, steps: int | None) -> float:
    """Σ_{k < steps} γ^k; all of them if `steps` is None."""
    if steps is None:
        return 1 / (1 - gamma)
    if gamma == 1:
        return float(steps)
    return (1 - gamma**steps) / (1 - gamma)


def project(target_BZ: Tensor, prob_BZ: Tensor, support_Z: Tensor) -> Tensor:
    """Projects a distribution onto the support, Φ T̂ Z of C51's algorithm 1, shape (B, Z).

    Each atom is clipped to the support's ends, and its probability is shared by the two neighbors
    in proportion to nearness: m_i = Σ_j p_j [1 - |[T_j] - z_i| / Δ]_0^1 (eq. 7). Rows sum to
    Σ_j p_j, also where a target is exactly on an atom. The mean is kept unless atoms are clipped.

    Args:
        target_BZ: returns T of the atoms, r + γⁿ z_j; their number may differ from the support's.
        prob_BZ: probability p of each, in the same shape.
        support_Z: uniform returns z in ascending order.
    """
    assert target_BZ.shape == prob_BZ.shape and support_Z.ndim == 1
    num_atoms = len(support_Z)
    step = (support_Z[-1] - support_Z[0]) / (num_atoms - 1)
    # In units of atoms, both neighbors' shares come from one number, so that they sum to 1.
    position_BZ = ((target_BZ - support_Z[0]) / step).clamp(0, num_atoms - 1)
    index_Z1 = torch.arange(num_atoms, device=support_Z.device).unsqueeze(1)
    share_BZZ = (1 - (position_BZ.unsqueeze(1) - index_Z1).abs()).clamp(min=0)
    # Not a matrix product, which autocast would compute in bfloat16.
    return (share_BZZ * prob_BZ.unsqueeze(1)).sum(dim=2)


def hl_gauss(target_B: Tensor, support_Z: Tensor, sigma: float | Tensor) -> Tensor:
    """Histogram of a normal distribution around each target, shape (B, Z); rows sum to 1.

    Stop Regressing, eq. 3.5: p_i = Φ((z_i + Δ/2 - y) / σ) - Φ((z_i - Δ/2 - y) / σ), divided by the
    sum over the bins. The atoms are the bins' centers, and the outer edges are half a bin beyond.
    Targets are clipped to the support's ends, so that the sum is never 0.

    Args:
        target_B: scalar returns y.
        support_Z: uniform returns z in ascending order, the bins' centers.
        sigma: σ above 0, in units of the return; the paper has 0.75 Δ.
    """
    assert target_B.ndim == 1 and support_Z.ndim == 1
    half_step = (support_Z[-1] - support_Z[0]) / (2 * (len(support_Z) - 1))
    edge_E = torch.cat([support_Z[:1] - half_step, support_Z + half_step])
    clipped_B = torch.clamp(target_B, support_Z[0], support_Z[-1])
    below_BE = torch.special.erf((edge_E - clipped_B.unsqueeze(1)) / (sigma * math.sqrt(2)))
    mass_BZ = below_BE.diff(dim=1)
    return mass_BZ / mass_BZ.sum(dim=1, keepdim=True)


def cross_entropy(log_prob_BZ: Tensor, target_BZ: Tensor) -> Tensor:
    """Cross entropy -Σ_i m_i log p_i, the loss of C51 and HL-Gauss, shape (B,).

    Args:
        log_prob_BZ: log p of the estimated distribution, as log_softmax gives it.
        target_BZ: probabilities m of the target; no gradient flows into them.
    """
    return -(target_BZ.detach() * log_prob_BZ).sum(dim=1)


def kl(log_prob_BZ: Tensor, target_BZ: Tensor) -> Tensor:
    """Divergence Σ_i m_i (log m_i - log p_i), shape (B,), never negative.

    Rainbow's priorities (Hessel et al. 2018, https://arxiv.org/abs/1710.02298). It is the cross
    entropy less the target's own entropy, so it is 0 where the estimate is right.

    Args:
        log_prob_BZ: log p of the estimated distribution, as log_softmax gives it.
        target_BZ: probabilities m of the target, which may be 0; no gradient flows into them.
    """
    target_BZ = target_BZ.detach()
    negative_entropy_B = torch.special.xlogy(target_BZ, target_BZ).sum(dim=1)
    # Rounding may leave -1e-7, and a power of a negative priority is NaN.
    return (cross_entropy(log_prob_BZ, target_BZ) + negative_entropy_B).clamp(min=0)
