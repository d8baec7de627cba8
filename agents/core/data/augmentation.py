"""Shifts images at random, so that a network does not memorize single pictures."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SHIFTS = 16
"""Different shifts in a batch. Samples share them: their order is random, so no bias results."""


def random_shift(images: Tensor, most_pixels: int, generator: torch.Generator) -> Tensor:
    """Shifts images (B, C, H, W) by up to `most_pixels` in both directions; zeros fill the rest.

    All shifts are equally likely: random translation in "Reinforcement learning with augmented
    data", Laskin et al. 2020, https://arxiv.org/abs/2004.14990.
    """
    if most_pixels == 0:
        return images
    parts = images.tensor_split(min(SHIFTS, len(images)))
    shifts = torch.randint(-most_pixels, most_pixels + 1, (len(parts), 2), generator=generator)
    return torch.cat([shift(p, *by) for p, by in zip(parts, shifts.tolist(), strict=True)])


def shift(images: Tensor, down: int, right: int) -> Tensor:
    """Shifts images (..., H, W) by pixels, up and left if negative; zeros fill the rest."""
    moved = torch.zeros_like(images)
    from_rows, to_rows = _overlap(down, images.shape[-2])
    from_columns, to_columns = _overlap(right, images.shape[-1])
    moved[..., to_rows, to_columns] = images[..., from_rows, from_columns]
    return moved


def shifted(images: Tensor, uniform_B2: Tensor, most_pixels: int) -> Tensor:
    """Shifts each image (B, C, H, W) by up to `most_pixels` both ways; zeros fill the rest.

    All shifts are equally likely. Nothing waits for the device.

    Args:
        uniform_B2: uniform random numbers in [0, 1), for the rows and the columns.
    """
    if most_pixels == 0:
        return images
    height, width = images.shape[2:]
    padded = nn.functional.pad(images, (most_pixels,) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    down_B, right_B = (uniform_B2 * (2 * most_pixels + 1)).long().unbind(dim=1)
    return windows[torch.arange(len(images), device=images.device), :, down_B, right_B]


def _overlap(by: int, size: int) -> tuple[slice, slice]:
    """The rows of `size` that stay visible after a shift: their old and their new place."""
    return slice(max(0, -by), size - max(0, by)), slice(max(0, by), size - max(0, -by))
