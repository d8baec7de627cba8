"""Sampling in proportion to a weight for each slot; slots of weight 0 are never drawn."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from agents.core.system.codec import like


class Priorities:
    """Non-negative weights with O(√n) update and stratified sampling, on any device.

    A two-level sum takes the place of a binary tree. Block sums are recomputed, never adjusted, so
    they do not drift. Sampling takes two cumulative sums instead of log n dependent steps. With
    every weight 1, sampling is uniform.
    """

    def __init__(self, size: int, device: torch.device | str = "cpu"):
        self.block = max(1, math.isqrt(size - 1) + 1)
        blocks = -(-size // self.block)
        self._weight = torch.zeros(blocks, self.block, device=device)
        self._block_sum = torch.zeros(blocks, dtype=torch.float64, device=device)

    def __getitem__(self, slot_B: Tensor) -> Tensor:
        return self._weight.view(-1)[slot_B]

    def set(self, slot_B: Tensor, weight_B: Tensor) -> None:
        """Sets the weight of each slot; a slot that occurs twice gets one of its weights."""
        self._weight.view(-1)[slot_B] = weight_B
        block_B = slot_B // self.block
        self._block_sum[block_B] = self._weight[block_B].sum(dim=1, dtype=torch.float64)

    def total(self) -> Tensor:
        """The sum of all weights, float64."""
        return self._block_sum.sum()

    def sample(self, uniform_B: Tensor) -> Tensor:
        """Draws B slots, one from each of B equal shares of the total weight.

        No slot of weight 0 is drawn if the total is positive.

        Args:
            uniform_B: random numbers in [0, 1), float64.
        """
        batch = uniform_B.shape[0]
        strata_B = torch.arange(batch, dtype=torch.float64, device=uniform_B.device)
        cumulative = self._block_sum.cumsum(0)
        mass_B = (strata_B + uniform_B) / batch * cumulative[-1]
        block_B = self._first_beyond(cumulative.expand(batch, -1), mass_B)
        before_B = cumulative[block_B] - self._block_sum[block_B]
        inside_BK = self._weight[block_B].cumsum(1, dtype=torch.float64)
        inside_B = (mass_B - before_B).clamp_min(0.0)  # `before` may be rounded past the mass.
        return block_B * self.block + self._first_beyond(inside_BK, inside_B)

    @staticmethod
    def _first_beyond(cumulative_BK: Tensor, mass_B: Tensor) -> Tensor:
        # Rounding may raise the mass to the total. The largest value below the total still
        # falls on the last positive weight.
        below_B = torch.nextafter(cumulative_BK[:, -1], torch.zeros_like(mass_B))
        mass_B = torch.minimum(mass_B, below_B).unsqueeze(1)
        return torch.searchsorted(cumulative_BK.contiguous(), mass_B, right=True).squeeze(1)

    def state_dict(self) -> dict[str, Tensor]:
        return {"weight": self._weight.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        weight = like(state["weight"].to(self._weight.device), self._weight, "priorities")
        if (weight < 0).any():
            raise ValueError("a priority is negative")
        self._weight.copy_(weight)
        self._block_sum.copy_(self._weight.sum(dim=1, dtype=torch.float64))
