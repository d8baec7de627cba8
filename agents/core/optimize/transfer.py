"""A network that begins where another one ended: `--init-from runs/<run>`."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from agents.core.policies.policy import Policy
from agents.core.runs.run import Run
from agents.core.system.codec import require_finite
from envs import UserError

SAME_PART = ((r"^(body|bodies\.\d)\.", ""), (r"^head\.(values|value|advantage)\.0\.", "hidden."))
"""Parts that are called differently in a Q-network and in the bodies of an actor-critic."""


def part(name: str) -> str:
    """Translate a tensor's name to the name that Q-networks and actor-critics share."""
    for pattern, plain in SAME_PART:
        name = re.sub(pattern, plain, name)
    return name


def kind(tensor: Tensor) -> tuple[torch.dtype, torch.Size]:
    """What must be equal where a tensor takes the place of another one."""
    return tensor.dtype, tensor.shape


def initialize(policy: Policy, run: Run) -> str:
    """Give the policy's network the run's best weights, of all parts that both have.

    Two bodies, or the streams of a dueling head, both take the one that there is.
    Returns what was taken, in words.

    Raises:
        UserError: the run has no whole weights, or none that fit.
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
