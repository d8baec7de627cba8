"""Initializes a network with the weights of another run: `--init-from runs/<run>`."""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from torch import Tensor

from agents.core.nets.spectral import settle
from agents.core.policies.policy import Policy
from agents.core.runs.run import Run
from agents.core.system.codec import require_finite
from envs import UserError

Tensors = dict[str, tuple[str, Tensor]]
"""The tensors of a block by their shared name, each with its own name."""

BODY = r"^(body|bodies\.\d)\."
"""Pattern of the prefix of an actor-critic's torso, hidden layer and core."""

HEAD = r"^head\.(values|value|advantage)\.0\."
"""Pattern of the prefix of a hidden layer in the head of a value network."""

BLOCK = r"^((?:.*\.)?hidden)\.|^(.*)\.[^.]+$"
"""Pattern of a block's tensor: a hidden layer with its normalization, or any other module."""


def part(name: str) -> str:
    """Translates a tensor's name to the name that value networks and actor-critics share."""
    return re.sub(HEAD, "hidden.", re.sub(BODY, "", name))


def shared_names(names: Iterable[str]) -> dict[str, str]:
    """The shared name of each tensor of a network.

    A value network with a core has a hidden layer before the core and another one in its head.
    Only the first is the hidden layer that networks share.
    """
    bare = {name: re.sub(BODY, "", name) for name in names}
    twice = any(name.startswith("hidden.") for name in bare.values())
    of_head = "head.hidden." if twice else "hidden."
    return {name: re.sub(HEAD, of_head, each) for name, each in bare.items()}


def blocks(weights: dict[str, Tensor]) -> dict[str, Tensors]:
    """The tensors of each block by the block's name.

    Two streams of a head, or two bodies, are blocks of their own.
    """
    found: dict[str, Tensors] = {}
    shared = shared_names(weights)
    for name, tensor in weights.items():
        within = re.sub(HEAD, lambda match: match[0][:-2] + "hidden.", name)
        match = re.match(BLOCK, within)
        block = name if match is None else match[1] or match[2]
        found.setdefault(block, {})[shared[name]] = name, tensor
    return found


def kind(tensor: Tensor) -> tuple[torch.dtype, torch.Size]:
    """The dtype and shape of a tensor; a replacement must have the same."""
    return tensor.dtype, tensor.shape


def fits(ours: Tensors, theirs: Tensors) -> bool:
    """Whether two blocks have tensors in common, and each of those has the same shape."""
    both = ours.keys() & theirs.keys()
    return bool(both) and all(kind(ours[name][1]) == kind(theirs[name][1]) for name in both)


def source_of(block: str, ours: Tensors, theirs: dict[str, Tensors]) -> Tensors:
    """The run's block that fits ours; {} if none does.

    The block of the same name comes first, because it has the same place in its network.
    """
    own = [theirs[block]] if block in theirs else []
    return next((each for each in [*own, *theirs.values()] if fits(ours, each)), {})


def initialize(policy: Policy, run: Run) -> str:
    """Copies the run's best weights into the policy's network, in all blocks that both have.

    A block is a layer: its weight and its bias come from one layer of the run. If the policy has
    two bodies and the run has one, both take its weights. The same holds for the two streams of a
    dueling head.

    Returns:
        A line that says how many tensors were copied, and from where.

    Raises:
        UserError: the run has no intact weights, or no weights that fit.
    """
    weights, step = run.weights("best", require_finite)
    ours = policy.weights()
    theirs = blocks(weights)
    fitting: dict[str, Tensor] = {}
    for block, tensors in blocks(ours).items():
        source = source_of(block, tensors, theirs)
        for name in tensors.keys() & source.keys():
            own_name, _ = tensors[name]
            fitting[own_name] = source[name][1]
    if not fitting:
        raise UserError(f"--init-from {run.path}: no part of its network has the shape of ours")
    policy.load_weights({**ours, **fitting})
    settle(policy.network)
    return f"{len(fitting)} of {len(ours)} tensors come from {run.path}, step {step:,}"
