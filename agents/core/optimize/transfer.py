"""Initializes a network with the weights of another run: `--init-from runs/<run>`."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from agents.core.policies.policy import Policy
from agents.core.runs.run import Run
from agents.core.system.codec import require_finite
from envs import UserError

SAME_PART = ((r"^(body|bodies\.\d)\.", ""), (r"^head\.(values|value|advantage)\.0\.", "hidden."))
"""Patterns for parts with different names in Q-networks and actor-critics, with the shared name."""


def part(name: str) -> str:
    """Translates a tensor's name to the name that Q-networks and actor-critics share."""
    for pattern, plain in SAME_PART:
        name = re.sub(pattern, plain, name)
    return name


def kind(tensor: Tensor) -> tuple[torch.dtype, torch.Size]:
    """The dtype and shape of a tensor; a replacement must have the same."""
    return tensor.dtype, tensor.shape


def initialize(policy: Policy, run: Run) -> str:
    """Copies the run's best weights into the policy's network, in all parts that both have.

    If the policy has two bodies and the run has one, both take its weights. The same holds for the
    two streams of a dueling head.

    Returns:
        A line that says how many tensors were copied, and from where.

    Raises:
        UserError: the run has no intact weights, or no weights that fit.
    """
    weights, step = run.weights("best", require_finite)
    theirs: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        theirs.setdefault(part(name), tensor)
    ours = policy.weights()
    fitting = {
        name: theirs[part(name)]
        for name, tensor in ours.items()
        if part(name) in theirs and kind(theirs[part(name)]) == kind(tensor)
    }
    if not fitting:
        raise UserError(f"--init-from {run.path}: no part of its network has the shape of ours")
    policy.load_weights({**ours, **fitting})
    return f"{len(fitting)} of {len(ours)} tensors come from {run.path}, step {step:,}"
