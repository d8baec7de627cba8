"""Chooses actions from the outputs of a checkpoint's network: values, logits or means."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from gymnasium import Space, spaces
from torch import Generator, Tensor

from demos.sb3_archive import Archive, usable
from demos.sb3_network import Family, outputs_for
from envs import UserError

Choose = Callable[[Tensor, float, Generator], Tensor]
"""Maps outputs (N, L) and ε or a temperature to actions (N, ...)."""


def choice(archive: Archive, family: Family, space: Space) -> Choose:
    """The function that chooses the actions of a space.

    Raises:
        UserError: the standard deviations do not fit the actions.
    """
    if family.explores_by == "epsilon":
        return epsilon_greedy
    if isinstance(space, spaces.Discrete):
        return drawn
    if isinstance(space, spaces.MultiDiscrete):
        return partial(drawn_each, sizes=space.nvec.tolist())
    if isinstance(space, spaces.MultiBinary):
        return flipped
    if archive.settings.get("use_sde"):
        kwargs = archive.settings.get("policy_kwargs")
        squashes = isinstance(kwargs, dict) and bool(kwargs.get("squash_output"))
        return partial(mean_alone, space=space, squashes=squashes)
    log_std_K = usable(archive.tensors, "log_std")
    count = outputs_for(space)
    if log_std_K.shape != (count,):
        raise UserError(f"has a log_std of shape {list(log_std_K.shape)} for {count} actions")
    return partial(gaussian, log_std_K=log_std_K, space=space)


def explores_unless_told(choose: Choose) -> bool:
    """Whether actions are drawn at random by default, as in training."""
    return choose in (drawn, flipped) or getattr(choose, "func", None) is drawn_each


def epsilon_greedy(q_NA: Tensor, epsilon: float, generator: Generator) -> Tensor:
    """Actions int64 (N,): the highest value, or with probability ε a uniform draw."""
    explore_N = torch.rand(len(q_NA), generator=generator) < epsilon
    random_N = torch.randint(q_NA.shape[1], (len(q_NA),), generator=generator)
    return torch.where(explore_N, random_N, q_NA.argmax(dim=1))


def drawn(logits_NA: Tensor, temperature: float, generator: Generator) -> Tensor:
    """Actions int64 (N,) drawn with probability ∝ p^(1/T), by the Gumbel-max trick."""
    gumbel_NA = -torch.empty_like(logits_NA).exponential_(generator=generator).log()
    return (logits_NA + temperature * gumbel_NA).argmax(dim=1)


def drawn_each(
    logits_NL: Tensor, temperature: float, generator: Generator, *, sizes: list[int]
) -> Tensor:
    """Actions int64 (N, K); the k-th is drawn from the next `sizes[k]` logits."""
    parts = logits_NL.split(sizes, dim=1)
    return torch.stack([drawn(part_NA, temperature, generator) for part_NA in parts], dim=1)


def flipped(logits_NK: Tensor, temperature: float, generator: Generator) -> Tensor:
    """Actions int8 (N, K), each 1 with probability ∝ p^(1/T)."""
    # The difference of two Gumbel variables is a logistic variable.
    uniform_NK = torch.rand(logits_NK.shape, generator=generator, dtype=torch.float64)
    logistic_NK = uniform_NK.logit(eps=1e-12).float()
    return (logits_NK + temperature * logistic_NK > 0).to(torch.int8)


def gaussian(
    mean_NK: Tensor, temperature: float, generator: Generator, *, log_std_K: Tensor, space: Space
) -> Tensor:
    """Actions (N, ...) drawn with density ∝ p^(1/T), clipped to the space's bounds."""
    normal_NK = torch.randn(mean_NK.shape, generator=generator)
    return clipped(mean_NK + math.sqrt(temperature) * log_std_K.exp() * normal_NK, space)


def mean_alone(
    mean_NK: Tensor, temperature: float, generator: Generator, *, space: Space, squashes: bool
) -> Tensor:
    """The mean actions (N, ...) of a policy with gSDE, whose noise is not supported.

    Args:
        squashes: a tanh maps the outputs to [-1, 1], which is scaled to the space's bounds.
    """
    del temperature, generator
    if not squashes:
        return clipped(mean_NK, space)
    assert isinstance(space, spaces.Box)
    low = torch.from_numpy(space.low)
    high = torch.from_numpy(space.high)
    return low + 0.5 * (mean_NK.tanh().view(-1, *space.shape) + 1) * (high - low)


def clipped(action_NK: Tensor, space: Space) -> Tensor:
    """Actions (N, ...), clipped to the space's bounds."""
    assert isinstance(space, spaces.Box)
    low = torch.from_numpy(space.low)
    high = torch.from_numpy(space.high)
    return action_NK.view(-1, *space.shape).clamp(low, high)
