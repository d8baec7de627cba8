"""Histograms of a network's weights, gradients and outputs."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from torch import Tensor

from agents.core.optimize.transfer import part
from agents.core.policies.policy import Policy, joined
from agents.core.system.device import to_device
from agents.core.types.step import Obs, State

Histogram = tuple[np.ndarray, np.ndarray]
"""Counts (BINS,) and the edges of their bins (BINS + 1,)."""

Sample = tuple[Obs, State]
"""Observations (N, ...), with the policy's state when it acted on them."""

BINS = 64


def histograms(policy: Policy, samples: list[Sample]) -> dict[str, Histogram]:
    """Computes histograms of each part of a network, and of its outputs for samples.

    The function waits for the device, so call it seldom. Gradients come from the last update, after
    clipping. Values that are not finite are left out.
    """
    tensors: dict[str, list[Tensor]] = defaultdict(list)
    for name, parameter in policy.network.named_parameters():
        of = part(name).partition(".")[0]
        tensors[f"weights/{of}"].append(parameter)
        if parameter.grad is not None:
            tensors[f"gradients/{of}"].append(parameter.grad)
    for name, output in outputs(policy, samples).items():
        tensors[name].append(output)
    values = {name: flat(found) for name, found in tensors.items()}
    return {f"histograms/{n}": np.histogram(v, BINS) for n, v in values.items() if len(v)}


def flat(tensors: list[Tensor]) -> np.ndarray:
    """All finite values as float64, because float32 may have too few numbers for the bins."""
    values = torch.cat([each.detach().flatten() for each in tensors]).double().cpu().numpy()
    return values[np.isfinite(values)]


def outputs(policy: Policy, samples: list[Sample]) -> dict[str, Tensor]:
    """The policy's diagnostics (`Policy.diagnostics`) for all samples; {} without samples."""
    if not samples:
        return {}
    obs_N = torch.cat([to_device(obs, policy.device) for obs, _ in samples])
    state_N = joined([state for _, state in samples])
    return policy.diagnostics(obs_N, state_N)
