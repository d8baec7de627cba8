"""Adversarial imitation: losses of a discriminator, and the rewards that it gives.

A discriminator's logit f(s, a) stands for the probability D = σ(f) that the expert took the step.
Generative Adversarial Imitation Learning, Ho and Ermon 2016, https://arxiv.org/abs/1606.03476, with
the expert's label 1. The rewards are compared in Kostrikov et al. 2019,
https://arxiv.org/abs/1809.02925, section 4.1.

Shape suffixes: B batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def balance(is_expert_B: Tensor, share: float) -> Tensor:
    """Weights (B,) of mean 1 by which expert and agent count half each.

    Args:
        share: the share of the expert's steps in minibatches, between 0 and 1.
    """
    return torch.where(is_expert_B, 0.5 / share, 0.5 / (1 - share))


def discriminator(logit_B: Tensor, is_expert_B: Tensor) -> Tensor:
    """-log D for a step of the expert, and -log (1 - D) for a step of the agent, (B,)."""
    return functional.softplus(torch.where(is_expert_B, -logit_B, logit_B))


def is_right(logit_B: Tensor, is_expert_B: Tensor) -> Tensor:
    """1 where the discriminator tells the expert from the agent, else 0, (B,)."""
    return ((logit_B > 0) == is_expert_B).float()


def gradient_penalty(logit_B: Tensor, seen: Tensor) -> Tensor:
    """½ |∇f|² for each step, (B,), differentiable.

    Mescheder et al. 2018, https://arxiv.org/abs/1801.04406, eq. 9 (R₁ and R₂).

    Args:
        logit_B: the logits of what is seen.
        seen: what the discriminator saw (B, ...), which requires a gradient.
    """
    (gradient,) = torch.autograd.grad(logit_B.sum(), seen, create_graph=True)
    return 0.5 * gradient.flatten(1).float().square().sum(dim=1)


def gail(logit_B: Tensor) -> Tensor:
    """-log (1 - D), (B,): never negative, so that it favors long episodes."""
    return functional.softplus(logit_B)


def airl(logit_B: Tensor) -> Tensor:
    """log D - log (1 - D), (B,): negative where the agent is likelier.

    Fu et al. 2018, https://arxiv.org/abs/1710.11248, section 3.
    """
    return logit_B


REWARDS: dict[str, Callable[[Tensor], Tensor]] = {"gail": gail, "airl": airl}
