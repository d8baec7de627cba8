"""The settings of an optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from agents.core.math.schedules import Linear, constant
from agents.core.types.settings import Part, Updates

OptimizerName = Literal["adam", "radam", "rmsprop", "nature_rmsprop"]


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Part):
    """How a network is updated."""

    title: ClassVar[str] = "Optimizer"

    learning_rate: Linear = constant(2.5e-4)
    """The optimizer's step size; a number alone is its start, and keeps the default's shape."""
    optimizer: OptimizerName = "adam"
    """The optimizer is (rectified) Adam, or RMSProp, plain or centered as in Mnih et al. 2015."""
    optimizer_epsilon: float = 1e-5
    """This number is added to the optimizer's denominator."""
    weight_decay: float = 0.0
    """Adam decays weights by this (https://arxiv.org/abs/1711.05101); RMSProp adds an L2 term."""
    max_grad_norm: float = 0.5
    """Gradients are clipped to this global norm; 0 clips nothing."""
    ema_updates: Updates = 0
    """Evaluations use weights averaged over about this many updates; 0 averages nothing."""

    def validate(self) -> None:
        super().validate()
        self.above_zero("learning_rate", "optimizer_epsilon")
        self.at_least(0, "learning_rate", "max_grad_norm", "weight_decay", "ema_updates")
