"""Distributions over actions, and the heads that parametrize them.

Actions are (..., K). A discrete action has one number; a multi-discrete action has one number for
each part; a continuous action has one number for each dimension. Outputs are float32, whatever the
dtype of the features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from agents.core.math.losses import legal_values
from agents.core.nets.orthogonal import orthogonal_
from agents.core.types.env_rng import EnvRng
from agents.core.types.spaces import Spaces


@dataclass(frozen=True)
class Categorical:
    """Independent categorical distributions, one for each part of the action.

    Attributes:
        log_probs: K tensors (..., A_k) of normalized log probabilities; -inf for an illegal action.
    """

    log_probs: tuple[Tensor, ...]

    @staticmethod
    def join(parts: list[Categorical]) -> Categorical:
        """Joins distributions along their observations (..., N)."""
        of_each = zip(*(part.log_probs for part in parts), strict=True)
        return Categorical(tuple(torch.cat(log_probs, dim=-2) for log_probs in of_each))

    def sample(self, rng: EnvRng, temperature: float) -> Tensor:
        """Draws actions int64 (..., N, K) with probability proportional to p**(1 / temperature).

        The method is the Gumbel-max trick (https://arxiv.org/abs/1411.0030), so temperature 0 gives
        the likeliest action. An infinite temperature gives each possible action alike. It draws the
        same random numbers at every temperature.
        """
        chosen = []
        # An infinite temperature would make an illegal action's sum NaN.
        temperature = min(temperature, 1e30)
        for log_prob_NA in self.log_probs:
            uniform_NA = rng.uniform(log_prob_NA.shape[-1]).to(
                log_prob_NA.device, non_blocking=True
            )
            gumbel_NA = -torch.log(-torch.log(uniform_NA.clamp_min(1e-20)))
            if math.isinf(temperature):
                noisy_NA = gumbel_NA.masked_fill(log_prob_NA == -math.inf, -math.inf)
            else:
                noisy_NA = log_prob_NA + temperature * gumbel_NA
            chosen.append(noisy_NA.argmax(dim=-1))
        return torch.stack(chosen, dim=-1)

    def mode(self) -> Tensor:
        """The likeliest actions, int64 (..., K)."""
        return torch.stack([log_prob.argmax(dim=-1) for log_prob in self.log_probs], dim=-1)

    def log_prob(self, action: Tensor) -> Tensor:
        """log π(a), shape (...)."""
        parts = zip(self.log_probs, action.unbind(-1), strict=True)
        return sum_of([p.gather(-1, a.unsqueeze(-1)).squeeze(-1) for p, a in parts])

    def smoothed_log_prob(self, action: Tensor, smoothing: float) -> Tensor:
        """(1 - ε) log π(a) + ε mean_a' log π(a'), shape (...), where ε is `smoothing`.

        This is label smoothing: Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, section 7.
        The mean is over the legal actions.
        """
        even = sum_of([mean_of_legal(p) for p in self.log_probs])
        return (1 - smoothing) * self.log_prob(action) + smoothing * even

    def entropy(self) -> Tensor:
        """-Σ π log π, shape (...); an action of probability 0 adds 0."""
        # 0 times -inf would be NaN, in the value and in the gradient.
        return sum_of([-(p.exp() * finite(p)).sum(dim=-1) for p in self.log_probs])


@dataclass(frozen=True)
class DiagonalGaussian:
    """Independent normal distributions, one for each dimension of the action."""

    mean: Tensor
    log_std: Tensor

    @staticmethod
    def join(parts: list[DiagonalGaussian]) -> DiagonalGaussian:
        """Joins distributions along their observations (..., N)."""
        return DiagonalGaussian(torch.cat([part.mean for part in parts], dim=-2), parts[0].log_std)

    def sample(self, rng: EnvRng, temperature: float) -> Tensor:
        """Draws actions (..., N, K) with density proportional to p**(1 / temperature)."""
        normal_NK = rng.normal(self.mean.shape[-1]).to(self.mean.device, non_blocking=True)
        return self.mean + math.sqrt(temperature) * self.log_std.exp() * normal_NK

    def mode(self) -> Tensor:
        """The likeliest actions, (..., K)."""
        return self.mean

    def log_prob(self, action: Tensor) -> Tensor:
        """Σ_k log N(a_k; μ_k, σ_k), shape (...)."""
        z = (action - self.mean) * (-self.log_std).exp()
        return -(0.5 * z.square() + self.log_std + 0.5 * math.log(2 * math.pi)).sum(dim=-1)

    def smoothed_log_prob(self, action: Tensor, smoothing: float) -> Tensor:
        """log π(a), shape (...); `smoothing` must be 0, because a number cannot be smoothed."""
        assert smoothing == 0
        return self.log_prob(action)

    def entropy(self) -> Tensor:
        """Σ_k (½ + ½ log 2π + log σ_k), shape (...)."""
        per_dimension = self.log_std + 0.5 + 0.5 * math.log(2 * math.pi)
        return per_dimension.sum(dim=-1).expand(self.mean.shape[:-1])


Distribution = Categorical | DiagonalGaussian


def join(parts: Sequence[Distribution]) -> Distribution:
    """Joins distributions of the same type along their observations (..., N)."""
    kind: Any = type(parts[0])
    return kind.join(parts)


def masked(distribution: Distribution, legal: Tensor | None) -> Distribution:
    """Sets the probability of illegal actions to 0.

    Args:
        legal: bool (..., A), the allowed actions; None if all are. A row without an allowed action
            stays as it is (`agents.core.math.losses.legal_values`).

    Raises:
        ValueError: the actions are not Discrete.
    """
    if legal is None:
        return distribution
    if not isinstance(distribution, Categorical) or len(distribution.log_probs) != 1:
        raise ValueError("only Discrete actions can be illegal")
    log_prob = distribution.log_probs[0]
    log_prob = legal_values(log_prob, legal.expand_as(log_prob))
    return Categorical((log_prob.log_softmax(dim=-1),))


class CategoricalHead(nn.Module):
    """Maps features (..., F) to a categorical policy over discrete or multi-discrete actions."""

    def __init__(self, num_features: int, sizes: tuple[int, ...]):
        super().__init__()
        self.sizes = sizes
        self.logits = orthogonal(nn.Linear(num_features, sum(sizes)), 0.01)

    def forward(self, features: Tensor) -> Categorical:
        logits = self.logits(features).float().split(self.sizes, dim=-1)
        return Categorical(tuple(part.log_softmax(dim=-1) for part in logits))


class GaussianHead(nn.Module):
    """Maps features (..., F) to a normal policy; its deviation does not depend on the state."""

    def __init__(self, num_features: int, dimensions: int):
        super().__init__()
        self.mean = orthogonal(nn.Linear(num_features, dimensions), 0.01)
        self.log_std = nn.Parameter(torch.zeros(dimensions))

    def forward(self, features: Tensor) -> DiagonalGaussian:
        return DiagonalGaussian(self.mean(features).float(), self.log_std)


def make_policy_head(num_features: int, spaces: Spaces) -> CategoricalHead | GaussianHead:
    """Makes the policy head for the spaces' actions."""
    if spaces.continuous:
        return GaussianHead(num_features, len(spaces.action_low))
    return CategoricalHead(num_features, spaces.action_sizes)


def orthogonal(layer: nn.Linear, gain: float) -> nn.Linear:
    """Sets orthogonal weights (Saxe et al. 2014, https://arxiv.org/abs/1312.6120), and bias 0."""
    orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def finite(log_prob: Tensor) -> Tensor:
    """Log probabilities with 0 for an illegal action."""
    return log_prob.masked_fill(log_prob == -torch.inf, 0.0)


def mean_of_legal(log_prob: Tensor) -> Tensor:
    """The mean of the log probabilities (..., A) of legal actions, shape (...)."""
    legal = (log_prob > -torch.inf).sum(dim=-1)
    return finite(log_prob).mean(dim=-1) * (log_prob.shape[-1] / legal)


def sum_of(parts: list[Tensor]) -> Tensor:
    """The sum of tensors; a single tensor is returned without a copy."""
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(dim=0)
