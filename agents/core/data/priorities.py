"""Sampling in proportion to a weight for each slot; slots of weight 0 are never drawn."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from agents.core.system.codec import like

IMPORTANCE_EXPONENT = 0.5
"""β of prioritized replay, constant as in Dopamine's Rainbow (https://arxiv.org/abs/1812.06110)."""


class Priorities:
    """Non-negative weights with O(∛n) update and stratified sampling, on any device.

    A three-level sum takes the place of a binary tree: a chunk has ∛n slots, and a group has as
    many chunks. Sums are recomputed, never adjusted, so they do not drift. Sampling takes three
    cumulative sums instead of log n dependent steps. With every weight 1, sampling is uniform.
    """

    def __init__(self, size: int, device: torch.device | str = "cpu"):
        # Checkpoints have this shape, in which earlier versions computed.
        columns = math.isqrt(size - 1) + 1
        self._saved_shape = (-(-size // columns), columns)
        self.chunk = math.ceil(size ** (1 / 3))
        slots = math.prod(self._saved_shape)
        groups = math.ceil(slots / self.chunk**2)
        self._chunk_weight = torch.zeros(groups * self.chunk, self.chunk, device=device)
        sums = torch.zeros(groups, self.chunk, dtype=torch.float64, device=device)
        self._chunk_sum = sums
        self._group_sum = sums.sum(dim=1)

    def __getitem__(self, slot_B: Tensor) -> Tensor:
        return self._chunk_weight.view(-1)[slot_B]

    def set(self, slot_B: Tensor, weight_B: Tensor) -> None:
        """Sets the weight of each slot; a slot that occurs twice gets one of its weights."""
        self._chunk_weight.view(-1)[slot_B] = weight_B
        chunk_B = slot_B // self.chunk
        sum_B = self._chunk_weight[chunk_B].sum(dim=1, dtype=torch.float64)
        self._chunk_sum.view(-1)[chunk_B] = sum_B
        group_B = chunk_B // self.chunk
        self._group_sum[group_B] = self._chunk_sum[group_B].sum(dim=1)

    def total(self) -> Tensor:
        """The sum of all weights, float64."""
        return self._group_sum.sum()

    def sample(self, uniform_B: Tensor) -> Tensor:
        """Draws B slots, one from each of B equal shares of the total weight.

        No slot of weight 0 is drawn if the total is positive.

        Args:
            uniform_B: random numbers in [0, 1), float64.
        """
        batch = uniform_B.shape[0]
        strata_B = torch.arange(batch, dtype=torch.float64, device=uniform_B.device)
        cumulative = self._group_sum.cumsum(0)
        mass_B = (strata_B + uniform_B) / batch * cumulative[-1]
        group_B, mass_B = _fallen(cumulative, mass_B)
        within_B, mass_B = _fallen(self._chunk_sum[group_B].cumsum(1), mass_B)
        chunk_B = group_B * self.chunk + within_B
        weight_BK = self._chunk_weight[chunk_B].cumsum(1, dtype=torch.float64)
        within_B, _ = _fallen(weight_BK, mass_B)
        return chunk_B * self.chunk + within_B

    def state_dict(self) -> dict[str, Tensor]:
        return {"weight": self._saved.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        saved = self._saved
        weight = like(state["weight"].to(saved.device), saved, "priorities")
        if (weight < 0).any():
            raise ValueError("a priority is negative")
        saved.copy_(weight)
        sums = self._chunk_weight.sum(dim=1, dtype=torch.float64)
        self._chunk_sum.copy_(sums.view_as(self._chunk_sum))
        self._group_sum.copy_(self._chunk_sum.sum(dim=1))

    @property
    def _saved(self) -> Tensor:
        """All weights in the shape of checkpoints, as a view."""
        rows, columns = self._saved_shape
        return self._chunk_weight.view(-1)[: rows * columns].view(rows, columns)


def importance(weight_B: Tensor) -> Tensor:
    """Importance weights of draws, scaled by the largest (Schaul et al. 2016, eq. 3.4).

    Args:
        weight_B: the weights with which the rows were drawn.
    """
    importance_B = weight_B.clamp_min(1e-12) ** -IMPORTANCE_EXPONENT
    return importance_B / importance_B.max()


def drawing_weight(priority_B: Tensor, exponent: float, greatest: Tensor) -> Tensor:
    """The weights of later draws, priority**α (Schaul et al. 2016, eq. 1).

    A priority that is not finite becomes the largest so far; the training loop reports the
    divergence.

    Args:
        priority_B: priorities, such as |TD error|.
        exponent: α.
        greatest: the largest weight so far, (); it is brought up to date in place.
    """
    weight_B = (priority_B + 1e-3) ** exponent
    weight_B = torch.where(weight_B.isfinite(), weight_B, greatest)
    greatest.copy_(torch.maximum(greatest, weight_B.max()))
    return weight_B


def _fallen(cumulative: Tensor, mass_B: Tensor) -> tuple[Tensor, Tensor]:
    """The part into which each mass falls, and the mass that is left within the part.

    Args:
        cumulative: cumulative sums of parts, (K,) or (B, K).
    """
    # Rounding may raise the mass to the total. The largest value below the total still falls on
    # the last positive weight.
    total = cumulative[..., -1]
    mass_B = torch.minimum(mass_B, torch.nextafter(total, torch.zeros_like(total)))
    if cumulative.ndim == 1:
        part_B = torch.searchsorted(cumulative, mass_B, right=True)
        rows_BK = cumulative.expand(len(mass_B), -1)
    else:
        part_B = torch.searchsorted(cumulative, mass_B.unsqueeze(1), right=True).squeeze(1)
        rows_BK = cumulative
    before_B = rows_BK.gather(1, (part_B - 1).clamp_min(0).unsqueeze(1)).squeeze(1)
    before_B = before_B * (part_B > 0)
    return part_B, (mass_B - before_B).clamp_min(0.0)
