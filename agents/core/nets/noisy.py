"""Noisy layers: weights with learned noise, which explores in place of random actions.

Fortunato et al. 2018, Noisy networks for exploration, https://arxiv.org/abs/1706.10295.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class NoisyLinear(nn.Linear):
    """y = (μʷ + σʷ ⊙ ε_out ε_inᵀ) x + μᵇ + σᵇ ⊙ ε_out, with factorized noise (eq. 9 to 11).

    Noise is an input, so that a run stays reproducible and each row may have its own. The product
    with a row's noise needs no weight matrix of its own:
    σʷ ⊙ ε_out ε_inᵀ x = ε_out ⊙ (σʷ (ε_in ⊙ x)).

    Attributes:
        num_noise: number of normal numbers for a forward pass, in + out.
        weight, bias: μ; `weight_deviation`, `bias_deviation`: σ.
    """

    def __init__(self, in_features: int, out_features: int, deviation: float = 0.5):
        super().__init__(in_features, out_features)
        bound = 1 / math.sqrt(in_features)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)
        start = deviation * bound
        self.weight_deviation = nn.Parameter(torch.full_like(self.weight, start))
        self.bias_deviation = nn.Parameter(torch.full_like(self.bias, start))
        self.num_noise = in_features + out_features

    def forward(self, input: Tensor, noise: Tensor | None = None) -> Tensor:
        """Maps (..., in) to (..., out).

        Args:
            noise: normal numbers (..., in + out) or (1, in + out); None for the mean weights.
        """
        mean = super().forward(input)
        if noise is None:
            return mean
        noise = noise.sign() * noise.abs().sqrt()
        noise_in, noise_out = noise.split([self.in_features, self.out_features], dim=-1)
        spread = nn.functional.linear(input * noise_in, self.weight_deviation, self.bias_deviation)
        return mean + noise_out * spread


def num_noise(module: nn.Module) -> int:
    """Number of normal numbers that all noisy layers of a module take."""
    return sum(each.num_noise for each in module.modules() if isinstance(each, NoisyLinear))
