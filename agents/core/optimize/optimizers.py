"""Functions that make optimizers from parameters, a step size, epsilon and weight decay."""

from __future__ import annotations

from typing import Any

import torch

Optimizer = torch.optim.Optimizer


def fast_adam(parameters: Any, rate: float, epsilon: float, decay: float) -> Optimizer:
    """Adam (https://arxiv.org/abs/1412.6980), fused into one kernel for all parameters.

    Its weight decay is decoupled (https://arxiv.org/abs/1711.05101).
    """
    return torch.optim.AdamW(parameters, lr=rate, eps=epsilon, weight_decay=decay, fused=True)


def radam(parameters: Any, rate: float, epsilon: float, decay: float) -> Optimizer:
    """Rectified Adam (https://arxiv.org/abs/1908.03265): it warms up by itself.

    Its weight decay is decoupled, as in Adam here.
    """
    options = {"weight_decay": decay, "decoupled_weight_decay": True, "foreach": True}
    return torch.optim.RAdam(parameters, lr=rate, eps=epsilon, **options)


def nature_rmsprop(parameters: Any, rate: float, epsilon: float, decay: float) -> Optimizer:
    """Centered RMSProp of Mnih et al. 2015, extended data table 1, except for epsilon.

    The paper adds 0.01 to the squared gradient, under the root, and sums gradients over its batch
    of 32. Torch adds epsilon outside the root, and gradients are means here. An epsilon of
    0.1 / 32 gives the same step when the gradient vanishes, which is when epsilon matters.
    """
    options = {"alpha": 0.95, "centered": True, "weight_decay": decay, "foreach": True}
    return torch.optim.RMSprop(parameters, lr=rate, eps=epsilon, **options)


def rmsprop(parameters: Any, rate: float, epsilon: float, decay: float) -> Optimizer:
    """RMSProp of Mnih et al. 2016, section 4.1: not centered, α = 0.99.

    The paper adds epsilon under the root; torch adds it outside.
    """
    options = {"alpha": 0.99, "weight_decay": decay, "foreach": True}
    return torch.optim.RMSprop(parameters, lr=rate, eps=epsilon, **options)


OPTIMIZERS = {
    "adam": fast_adam,
    "radam": radam,
    "rmsprop": rmsprop,
    "nature_rmsprop": nature_rmsprop,
}
