"""Learners and algorithms as tests need them, small and without a run."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import nn

from agents.core.optimize.learner import Learner, Part, WeightAverage
from agents.core.policies.policy import frozen_copy
from agents.core.system.compute import Compute
from agents.core.types.spaces import Spaces
from support.devices import CPU


def make_learner(network: nn.Module, config: Any, device: torch.device = CPU) -> Learner:
    """A learner of the part "policy", with a running mean where the config wants one."""
    compute = Compute.of(network, config, device)
    network.to(device)
    average = None
    if config.ema_updates:
        average = WeightAverage(network, frozen_copy(network), config.ema_updates)
    return Learner(compute, {"policy": Part(network, config, average)})


def make_algorithm(
    module: ModuleType, config: Any, spaces: Spaces, device: torch.device = CPU
) -> Any:
    """The algorithm of `agents.<algo>` with a new policy."""
    return module.make_algorithm(config, module.make_policy(config, spaces, device))
