"""A network that begins where another one ended: `--init-from runs/<run>`."""

from __future__ import annotations

import re

from torch import Tensor

from agents.core.learner import Learner
from agents.core.run import Run
from envs import UserError

SAME_PART = ((r"^(body|bodies\.\d)\.", ""), (r"^head\.(values|value|advantage)\.0\.", "hidden."))
"""Parts that are called differently in a Q-network and in the bodies of an actor-critic."""


def part(name: str) -> str:
    """What a tensor of a network is, whoever's network it is."""
    for pattern, plain in SAME_PART:
        name = re.sub(pattern, plain, name)
    return name


def initialise(learner: Learner, run: Run) -> str:
    """Give the learner's network the run's best weights, of all parts that both have.

    Two bodies, or the streams of a dueling head, both take the one that there is.
    Returns what was taken, in words.

    Raises:
        UserError: the run has no whole weights, or none that fit.
    """
    weights, step = run.weights("best")
    theirs: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        theirs.setdefault(part(name), tensor)
    ours = learner.weights()
    fitting = {
        name: theirs[part(name)]
        for name, tensor in ours.items()
        if part(name) in theirs and theirs[part(name)].shape == tensor.shape
    }
    if not fitting:
        raise UserError(f"--init-from {run.path}: no part of its network has the shape of ours")
    learner.load_weights({**ours, **fitting})
    return f"{len(fitting)} of {len(ours)} tensors are those of {run.path}, step {step:,}"
