"""Orthogonal initial weights, also of layers for which a QR decomposition would take minutes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MOST_QR = 2**34
"""Multiplications of a decomposition at most: 4 seconds on a core. All presets are far below."""

ROUNDS = 3
"""After Yu et al. 2016, https://arxiv.org/abs/1610.09072, with a cosine transform for Hadamard's:
it has any size."""

CHUNK = 2**24
"""Numbers that are transformed at a time: what is beside the weights stays small."""


def orthogonal_(weight: Tensor, gain: float = 1.0) -> None:
    """Fill a weight (rows, ...) with a matrix (rows, columns) whose shorter side is orthonormal.

    It is drawn evenly from all such matrices, by `torch.nn.init.orthogonal_`. A large one is a
    product of random permutations, signs and cosine transforms instead.

    Args:
        weight: on the CPU; on the device meta nothing is computed.
        gain: what the matrix is multiplied by.
    """
    rows = len(weight)
    columns = weight[0].numel()
    if weight.is_meta:
        return
    if rows * columns * min(rows, columns) <= MOST_QR:
        nn.init.orthogonal_(weight, gain)
        return
    drawn = mixed(min(rows, columns), max(rows, columns)).mul_(gain)
    with torch.no_grad():
        weight.copy_((drawn if rows <= columns else drawn.T).reshape(weight.shape))


def mixed(rows: int, columns: int) -> Tensor:
    """Random orthonormal rows, float32 (rows, columns), of no more rows than columns."""
    # Only here: the import takes 50 ms.
    from scipy.fft import dct

    signs = [2.0 * torch.randint(2, (columns,)) - 1 for _ in range(ROUNDS)]
    orders = [torch.randperm(columns) for _ in range(ROUNDS)]
    drawn = torch.zeros(rows, columns)
    drawn.fill_diagonal_(1)
    for part in drawn.split(max(1, CHUNK // columns)):
        for sign, order in zip(signs, orders, strict=True):
            turned = (part[:, order] * sign).numpy()
            part.copy_(torch.from_numpy(dct(turned, norm="ortho", overwrite_x=True)))
    return drawn
