"""Orthogonal initial weights, even for layers whose QR decomposition would take minutes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MOST_QR = 2**34
"""Most multiplications in a QR decomposition, 4 seconds on a core. All presets need far fewer."""

ROUNDS = 3
"""Rounds of signs and transforms, as in Yu et al. 2016, https://arxiv.org/abs/1610.09072.

A cosine transform replaces their Hadamard transform, because it can have any size.
"""

CHUNK = 2**24
"""Numbers transformed at a time, so that little memory is needed beside the weights."""


def orthogonal_(weight: Tensor, gain: float = 1.0) -> None:
    """Fills a weight (rows, ...) with a matrix (rows, columns) whose shorter side is orthonormal.

    `torch.nn.init.orthogonal_` draws it uniformly from all such matrices. A large matrix is a
    product of random permutations, signs and cosine transforms instead.

    Args:
        weight: a weight on the CPU; on the device meta, nothing is computed.
        gain: factor of the matrix.
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
    """Draws orthonormal rows, float32 (rows, columns); `rows` is at most `columns`."""
    # Imported here, because the import takes 50 ms.
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
