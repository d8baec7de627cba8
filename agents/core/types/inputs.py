"""The inputs of a network: single observations, or sequences of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Inputs:
    """B sequences of L consecutive steps, batch first; L is 1 without a core.

    A tensor of width 0 stands for an input that the network does not have.

    Attributes:
        obs_BL: observations (B, L, ...).
        previous_BLP: previous actions and rewards (`agents.core.nets.previous`).
        memory_BS: the core's memory before the first step.
        start_BL: bool, the step is the first of its episode.
        noise_BE: normal numbers for noisy layers, (B, E) or (1, E); None for the mean weights.
        burn_in: number of first steps that only warm up the memory, without a gradient.
        row_N: indices of the steps to return among all B * L steps; None returns each step after
            the burn-in.
    """

    obs_BL: Tensor
    previous_BLP: Tensor
    memory_BS: Tensor
    start_BL: Tensor
    noise_BE: Tensor | None = None
    burn_in: int = 0
    row_N: Tensor | None = None

    @classmethod
    def of(
        cls,
        obs_B: Tensor,
        previous_BP: Tensor | None = None,
        memory_BS: Tensor | None = None,
        noise_BE: Tensor | None = None,
    ) -> Inputs:
        """The inputs of single observations (B, ...), as sequences of one step."""
        size = len(obs_B)
        device = obs_B.device
        absent_B0 = torch.empty(size, 0, device=device)
        previous_BP = absent_B0 if previous_BP is None else previous_BP
        return cls(
            obs_BL=obs_B.unsqueeze(1),
            previous_BLP=previous_BP.unsqueeze(1),
            memory_BS=absent_B0 if memory_BS is None else memory_BS,
            start_BL=torch.zeros(size, 1, dtype=torch.bool, device=device),
            noise_BE=noise_BE,
        )

    def cut(self, steps: int) -> tuple[Inputs, Inputs]:
        """The first steps, and the other steps; the second part's memory is not known."""
        first = Inputs(
            self.obs_BL[:, :steps],
            self.previous_BLP[:, :steps],
            self.memory_BS,
            self.start_BL[:, :steps],
            self.noise_BE,
        )
        others = Inputs(
            self.obs_BL[:, steps:],
            self.previous_BLP[:, steps:],
            self.memory_BS,
            self.start_BL[:, steps:],
            self.noise_BE,
            row_N=self.row_N,
        )
        return first, others
