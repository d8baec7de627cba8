"""Builds a policy, after a check that its network fits into memory."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch

import envs
from agents.core.policies.policy import Policy
from agents.core.system.device import reserve
from agents.core.types.spaces import Spaces
from envs import EnvSpec

TO_TRAIN = 4
"""Numbers for each parameter in training: its value, its gradient and Adam's two moments."""


def build_policy(
    module: ModuleType, config: Any, spaces: Spaces, device: torch.device, copies: int = 1
) -> Policy:
    """Builds the policy of an algorithm, with initial weights.

    Args:
        module: the algorithm's module, `agents.<algo>`.
        copies: numbers stored for each parameter: 1 to play, `TO_TRAIN` to learn.

    Raises:
        UserError: the network does not fit into the device's memory, or the algorithm does not
            support the spaces.
    """
    count = num_parameters(module, config, spaces)
    what = f"a network of {count:,} parameters"
    reserve(what, 4 * copies * count, device, lambda share: "lower --hidden or --torso-width")
    return module.make_policy(config, spaces, device)


def num_parameters(module: ModuleType, config: Any, spaces: Spaces) -> int:
    """The number of parameters of the policy's network; allocates nothing, draws nothing."""
    device = torch.device("meta")
    threads = torch.get_num_threads()
    try:
        with device:
            policy = module.make_policy(config, spaces, device)
    finally:
        # `Compute.of` sets the threads for its network, and initial weights depend on them.
        torch.set_num_threads(threads)
    return sum(parameter.numel() for parameter in policy.network.parameters())


def spaces_of(spec: EnvSpec, num_envs: int = 1) -> Spaces:
    """The spaces of `num_envs` environments."""
    return Spaces.of(spec, num_envs, *envs.spaces_and_masks_of(spec))
