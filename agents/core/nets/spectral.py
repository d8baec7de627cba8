"""Convolutions with spectral normalization: their weights have the spectral norm 1.

Miyato et al. 2018, https://arxiv.org/abs/1802.05957; in Q-networks: Gogianu et al. 2021,
https://arxiv.org/abs/2105.05246.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

FIRST_ITERATIONS = 15
"""Power iterations for weights that did not come from an optimization step, as in torch."""


class SpectralConv2d(nn.Conv2d):
    """A convolution with the weights W / σ(W), where σ(W) = uᵀ W v is their largest singular value.

    W is the weight as a matrix (out, in * kernel area). The power iteration that follows u and v
    runs after each optimization step, where torch's own module runs it in each forward pass.
    Therefore threads may share the module in forward passes, and evaluations change nothing.

    Attributes:
        u_O, v_I: the approximate singular vectors; they are saved with the weights.
    """

    u_O: Tensor
    v_I: Tensor

    def __init__(self, *sizes: Any, **options: Any):
        super().__init__(*sizes, **options)
        weight_OI = self.weight.detach().flatten(1)
        for name, size in zip(("u_O", "v_I"), weight_OI.shape, strict=True):
            self.register_buffer(
                name, nn.functional.normalize(weight_OI.new_empty(size).normal_(), dim=0)
            )
        self.settle()

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.normalized(), self.bias)

    def normalized(self) -> Tensor:
        """The weight divided by its spectral norm; u and v are constants of the gradient."""
        # A product of elements stays float32 under autocast.
        norm = (self.weight.flatten(1) * torch.outer(self.u_O, self.v_I)).sum()
        return self.weight / norm

    def after_step(self) -> None:
        """Follows the weights of an optimization step by one power iteration, in place."""
        self.iterate(1)

    def settle(self) -> None:
        """Follows weights that changed in another way."""
        self.iterate(FIRST_ITERATIONS)

    @torch.no_grad()
    def iterate(self, iterations: int) -> None:
        """Takes power iterations: u ← W v / |W v|, then v ← Wᵀ u / |Wᵀ u|."""
        weight_OI = self.weight.flatten(1)
        for _ in range(iterations):
            self.u_O.copy_(nn.functional.normalize(weight_OI @ self.v_I, dim=0))
            self.v_I.copy_(nn.functional.normalize(self.u_O @ weight_OI, dim=0))


def settle(network: nn.Module) -> None:
    """Makes the spectral norms of a network fit weights that were set."""
    for module in network.modules():
        if isinstance(module, SpectralConv2d):
            module.settle()
