"""Images moved at random, so that a network does not learn one picture by heart."""

from __future__ import annotations

import torch
from torch import Tensor

SHIFTS = 16
"""Different shifts in a batch: its samples are in random order, so sharing them changes nothing."""


def random_shift(images: Tensor, most_pixels: int, generator: torch.Generator) -> Tensor:
    """Images (B, C, H, W), each moved evenly by up to so many pixels both ways; zeros come in.

    "Reinforcement learning with augmented data", Laskin et al. 2020,
    https://arxiv.org/abs/2004.14990, random translation.
    """
    if most_pixels == 0:
        return images
    parts = images.tensor_split(min(SHIFTS, len(images)))
    shifts = torch.randint(-most_pixels, most_pixels + 1, (len(parts), 2), generator=generator)
    return torch.cat([shift(p, *by) for p, by in zip(parts, shifts.tolist(), strict=True)])


def shift(images: Tensor, down: int, right: int) -> Tensor:
    """Images (..., H, W) moved by so many pixels, up and left where negative; zeros come in."""
    moved = torch.zeros_like(images)
    from_rows, to_rows = _overlap(down, images.shape[-2])
    from_columns, to_columns = _overlap(right, images.shape[-1])
    moved[..., to_rows, to_columns] = images[..., from_rows, from_columns]
    return moved


def _overlap(by: int, size: int) -> tuple[slice, slice]:
    """What stays in sight of `size` rows, where it was and where it comes to be."""
    return slice(max(0, -by), size - max(0, by)), slice(max(0, by), size - max(0, -by))
