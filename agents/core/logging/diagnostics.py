"""What a network is like inside: histograms of weights, gradients and of what it answers."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from torch import Tensor

from agents.core.optimize.learner import Learner
from agents.core.optimize.transfer import part
from agents.core.system.device import to_device
from agents.core.types.step import Obs

Histogram = tuple[np.ndarray, np.ndarray]
"""Counts, and the edges between which they are."""

Seen = list[tuple[Obs, Tensor]]
"""Observations (N, ...) that were acted on, with the memory (N, S) that was acted with."""

BINS = 64


def histograms(learner: Learner, seen: Seen) -> dict[str, Histogram]:
    """Of each part of the network and of its answers; it waits for the device, so only seldom.

    Gradients are those of the last update, clipped. Values that are not finite are left out.
    """
    tensors: dict[str, list[Tensor]] = defaultdict(list)
    for name, parameter in learner.network.named_parameters():
        of = part(name).partition(".")[0]
        tensors[f"weights/{of}"].append(parameter)
        if parameter.grad is not None:
            tensors[f"gradients/{of}"].append(parameter.grad)
    for name, answer in answers(learner, seen).items():
        tensors[name].append(answer)
    values = {name: flat(found) for name, found in tensors.items()}
    return {f"histograms/{n}": np.histogram(v, BINS) for n, v in values.items() if len(v)}


def flat(tensors: list[Tensor]) -> np.ndarray:
    """All their finite values, float64, since float32 may have too few numbers for the bins."""
    values = torch.cat([each.detach().flatten() for each in tensors]).double().cpu().numpy()
    return values[np.isfinite(values)]


def answers(learner: Learner, seen: Seen) -> dict[str, Tensor]:
    """What the network says of observations, where it names what it says (`answers`)."""
    named = getattr(learner.network, "answers", None)
    if named is None or not seen:
        return {}
    obs_N = torch.cat([to_device(obs, learner.device) for obs, _ in seen])
    memory_NS = torch.cat([memory for _, memory in seen])
    parts = learner.infer(named, obs_N, memory_NS)
    return {name: torch.cat([each[name] for each in parts]) for name in parts[0]}


def updates(learner: Learner) -> int:
    """Optimization steps so far, those before a resume included."""
    for moments in learner.optimizer.state.values():
        return int(moments["step"])
    return 0
