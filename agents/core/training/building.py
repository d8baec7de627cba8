"""An agent is built where its network fits into memory, which is known before it is made."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch

from agents.core.system.device import reserve
from agents.core.types.spaces import Spaces

TO_TRAIN = 4
"""Numbers that training keeps of each parameter: itself, its gradient and Adam's two moments."""


def build(
    module: ModuleType, config: Any, spaces: Spaces, device: torch.device, copies: int = 1
) -> Any:
    """The agent of an algorithm, `agents.core.training.agent.Agent`.

    Args:
        module: the algorithm's, `agents.<algo>`.
        copies: numbers that are kept of each parameter: 1 to play, `TO_TRAIN` to learn.

    Raises:
        UserError: the network would not fit into the device's memory, or the algorithm does not
            take the spaces.
    """
    count = num_parameters(module, config, spaces)
    what = f"a network of {count:,} parameters"
    reserve(what, 4 * copies * count, device, lambda share: "lower --hidden or --torso-width")
    return module.build(config, spaces, device)


def num_parameters(module: ModuleType, config: Any, spaces: Spaces) -> int:
    """How many parameters the agent's network will have; nothing is allocated or drawn."""
    device = torch.device("meta")
    threads = torch.get_num_threads()
    try:
        with device:
            agent = module.build(config, spaces, device)
    finally:
        # A learner sets them for its network, and initial weights depend on them.
        torch.set_num_threads(threads)
    return sum(parameter.numel() for parameter in agent.learner.parameters)
