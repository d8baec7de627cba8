"""The squashed Gaussian: a tanh brings normal numbers into the bounds of a Box.

Haarnoja et al. 2018, https://arxiv.org/abs/1812.05905, appendix C. Outputs are float32, whatever
the dtype of the features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from agents.core.types.env_rng import EnvRng
from agents.core.types.spaces import Spaces
from envs.errors import UserError

LOG_STD = (-20.0, 2.0)
"""The log of the deviation is clipped to these bounds, as in the authors' code."""

INSIDE = 1 - 1e-6
"""Scaled actions beyond ± this number count as this number, because the tanh never reaches 1."""

NODES = 32
"""Points at which the entropy's integral is evaluated."""


class ActionScale(nn.Module):
    """Converts actions (..., K) between the bounds of a Box and [-1, 1].

    Raises:
        UserError: a bound is infinite, or the bounds of a dimension are equal.
    """

    center: Tensor
    radius: Tensor

    def __init__(self, spaces: Spaces):
        super().__init__()
        require_bounds(spaces)
        low, high = (torch.tensor(bound) for bound in (spaces.action_low, spaces.action_high))
        self.register_buffer("center", 0.5 * high + 0.5 * low, persistent=False)
        self.register_buffer("radius", 0.5 * high - 0.5 * low, persistent=False)

    def to_box(self, unit: Tensor) -> Tensor:
        """Converts actions in [-1, 1] to the Box."""
        return torch.addcmul(self.center, self.radius, unit)

    def uniform(self, normal: Tensor) -> Tensor:
        """Uniform actions of the Box from normal numbers (..., K)."""
        # The distribution function of a number is uniform.
        return self.to_box(torch.erf(normal * math.sqrt(0.5)))

    def to_unit(self, action: Tensor) -> Tensor:
        """Converts actions of the Box to [-1, 1]."""
        return (action - self.center) / self.radius


def require_bounds(spaces: Spaces) -> None:
    """Raises a UserError unless actions have finite bounds that differ."""
    for low, high in zip(spaces.action_low, spaces.action_high, strict=True):
        for bound in (low, high):
            if not math.isfinite(bound):
                raise UserError(
                    f"{spaces.about}; this agent needs finite bounds, not {bound}: use ppo, or"
                    " gymnasium.wrappers.RescaleAction"
                )
        if low == high:
            raise UserError(f"{spaces.about}; this agent needs bounds that differ, not {low} twice")


@dataclass(frozen=True)
class SquashedGaussian:
    """a = center + radius · tanh(u), where u is normal, independent for each dimension.

    Attributes:
        mean, log_std: mean and log of the deviation of u, (..., K).
        scale: the bounds of the Box.
    """

    mean: Tensor
    log_std: Tensor
    scale: ActionScale

    @staticmethod
    def join(parts: list[SquashedGaussian]) -> SquashedGaussian:
        """Joins distributions along their observations (..., N)."""
        mean = torch.cat([part.mean for part in parts], dim=-2)
        log_std = torch.cat([part.log_std for part in parts], dim=-2)
        return SquashedGaussian(mean, log_std, parts[0].scale)

    def sample(self, rng: EnvRng, temperature: float) -> Tensor:
        """Draws actions (..., N, K) of the Box.

        The temperature multiplies the variance of u. At 0 the result is the mode. At infinity it
        is uniform in the Box, and no weight matters.
        """
        normal = rng.normal(self.mean.shape[-1]).to(self.mean.device, non_blocking=True)
        if math.isinf(temperature):
            return self.scale.uniform(normal)
        u = self.mean + math.sqrt(temperature) * self.log_std.exp() * normal
        return self.scale.to_box(torch.tanh(u))

    def mode(self) -> Tensor:
        """The actions of the mean of u, (..., K); the tanh moves the density's maximum slightly."""
        return self.scale.to_box(torch.tanh(self.mean))

    def draw(self, normal: Tensor) -> tuple[Tensor, Tensor]:
        """Draws actions that carry a gradient, with their log-densities.

        The density belongs to the action scaled to [-1, 1]. So an environment's unit of actions
        does not change it.

        Args:
            normal: normal numbers of mean 0 and deviation 1, (..., K).

        Returns:
            Actions of the Box (..., K), and log π (...).
        """
        u = self.mean + self.log_std.exp() * normal
        log_prob = (log_normal(normal) - self.log_std - log_slope(u)).sum(dim=-1)
        return self.scale.to_box(torch.tanh(u)), log_prob

    def log_prob(self, action: Tensor) -> Tensor:
        """The log-density of actions of the Box, in the Box's own units, shape (...)."""
        unit = self.scale.to_unit(action).clamp(-INSIDE, INSIDE)
        u = torch.atanh(unit)
        normal = (u - self.mean) * (-self.log_std).exp()
        log_scale = self.log_std + log_slope(u) + self.scale.radius.log()
        return (log_normal(normal) - log_scale).sum(dim=-1)

    def entropy(self) -> Tensor:
        """The entropy of actions of the Box, in its own units, shape (...).

        It is the entropy of u plus the mean log-slope of the squashing, which a Gauss-Hermite
        quadrature gives.
        """
        nodes, weights = (each.to(self.mean.device) for each in quadrature())
        u = self.mean.unsqueeze(-1) + self.log_std.exp().unsqueeze(-1) * nodes
        slope = (log_slope(u) * weights).sum(dim=-1) + self.scale.radius.log()
        return (self.log_std + 0.5 + 0.5 * math.log(2 * math.pi) + slope).sum(dim=-1)


def log_normal(normal: Tensor) -> Tensor:
    """The log-density of standard normal numbers."""
    return -0.5 * normal.square() - 0.5 * math.log(2 * math.pi)


def log_slope(u: Tensor) -> Tensor:
    """log(1 - tanh²(u)) in a form that neither overflows nor cancels for a large |u|."""
    return 2 * (math.log(2) - u - functional.softplus(-2 * u))


@cache
def quadrature() -> tuple[Tensor, Tensor]:
    """Nodes and weights (NODES,) for means over a standard normal distribution."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    return torch.tensor(nodes).float(), torch.tensor(weights / weights.sum()).float()


class SquashedGaussianHead(nn.Module):
    """Maps features (..., F) to a squashed Gaussian; its deviation depends on the state."""

    def __init__(self, num_features: int, spaces: Spaces):
        super().__init__()
        self.scale = ActionScale(spaces)
        self.moments = nn.Linear(num_features, 2 * spaces.action_parts)

    def forward(self, features: Tensor) -> SquashedGaussian:
        mean, log_std = self.moments(features).float().chunk(2, dim=-1)
        return SquashedGaussian(mean, log_std.clamp(*LOG_STD), self.scale)
