"""A deterministic policy for a Box, which explores with noise.

Fujimoto et al. 2018, https://arxiv.org/abs/1802.09477, section 5.2 and algorithm 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from agents.core.nets.squashed import ActionScale, log_normal
from agents.core.types.env_rng import EnvRng
from agents.core.types.spaces import Spaces


@dataclass(frozen=True)
class NoisyAction:
    """a = center + radius · clip(unit + σ ε, -1, 1) with a normal ε, independent in dimensions.

    Attributes:
        unit: the action without noise, scaled to [-1, 1], (..., K).
        deviation: the noise's deviation σ.
        scale: the bounds of the Box.
    """

    unit: Tensor
    deviation: float
    scale: ActionScale

    @staticmethod
    def join(parts: list[NoisyAction]) -> NoisyAction:
        """Joins distributions along their observations (..., N)."""
        unit = torch.cat([part.unit for part in parts], dim=-2)
        return NoisyAction(unit, parts[0].deviation, parts[0].scale)

    def sample(self, rng: EnvRng, temperature: float) -> Tensor:
        """Draws actions (..., N, K) of the Box.

        The temperature multiplies the noise's variance. At 0 there is no noise. At infinity the
        action is uniform in the Box.
        """
        normal = rng.normal(self.unit.shape[-1]).to(self.unit.device, non_blocking=True)
        if math.isinf(temperature):
            return self.scale.uniform(normal)
        return self._beside(math.sqrt(temperature) * self.deviation * normal)

    def mode(self) -> Tensor:
        """The actions without noise, (..., K)."""
        return self.scale.to_box(self.unit)

    def smoothed(self, normal: Tensor, deviation: float, most: float) -> Tensor:
        """Actions of the Box near the mode: its noise is at most `most` (eq. 14).

        Args:
            normal: normal numbers of mean 0 and deviation 1, (..., K).
            deviation: the noise's deviation on the scale of [-1, 1].
        """
        return self._beside((deviation * normal).clamp(-most, most))

    def _beside(self, noise: Tensor) -> Tensor:
        """Actions of the Box with noise on the scale of [-1, 1]."""
        return self.scale.to_box((self.unit + noise).clamp(-1.0, 1.0))

    def log_prob(self, action: Tensor) -> Tensor:
        """The log-density of actions before they are clipped, in the Box's units, shape (...)."""
        normal = (self.scale.to_unit(action) - self.unit) / self.deviation
        return (log_normal(normal) - math.log(self.deviation) - self.scale.radius.log()).sum(dim=-1)

    def entropy(self) -> Tensor:
        """The entropy of actions before they are clipped, in the Box's units, shape (...)."""
        each = 0.5 + 0.5 * math.log(2 * math.pi) + math.log(self.deviation)
        return (each + self.scale.radius.log()).sum().expand(self.unit.shape[:-1])


class DeterministicHead(nn.Module):
    """Maps features (..., F) to an action of a Box, and explores with noise around it."""

    def __init__(self, num_features: int, spaces: Spaces, deviation: float):
        super().__init__()
        self.scale = ActionScale(spaces)
        self.unit = nn.Linear(num_features, spaces.action_parts)
        self.deviation = deviation

    def forward(self, features: Tensor) -> NoisyAction:
        unit = torch.tanh(self.unit(features).float())
        return NoisyAction(unit, self.deviation, self.scale)
