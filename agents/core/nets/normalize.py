"""Running statistics that bring observations and rewards to a common scale.

The statistics of observations change only after the update on a rollout. Thus the same function
gives all probabilities and values of the rollout. The scale of rewards changes before the update,
so that the first rollout is scaled too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from agents.core.system import distributed
from agents.core.system.codec import like

MOST = 10.0
"""Normalized observations and rewards are clipped to ± this number.

They are details 7 and 9 for control in "The 37 implementation details of PPO" (Huang et al. 2022).
"""


Sums = tuple[Tensor, Tensor, Tensor]
"""The number of samples, their sum and the sum of their squares, float64."""


def sums_of(samples_BD: Tensor) -> Sums:
    """The sums of samples along the first dimension, for `Moments.add`."""
    wide_BD = samples_BD.double()
    size = wide_BD.new_tensor(float(len(wide_BD)))
    return size, wide_BD.sum(dim=0), wide_BD.square().sum(dim=0)


class Moments:
    """Running mean and variance of samples, merged as in Chan et al. 1983.

    https://doi.org/10.1080/00031305.1983.10483115
    """

    def __init__(self, mean: Tensor, variance: Tensor, count: Tensor):
        self.mean = mean
        self.variance = variance
        self.count = count

    def add(self, sums: Sums) -> None:
        """Adds samples, given their sums, in place."""
        size, total, squares = sums
        mean = total / size
        delta = mean - self.mean
        whole = self.count + size
        spread = self.variance * self.count + squares - size * mean.square()
        spread += delta.square() * self.count * size / whole
        self.mean += delta * size / whole
        self.variance.copy_((spread / whole).clamp_min(0))
        self.count.copy_(whole)


class ObservationNormalizer(nn.Module):
    """Subtracts the mean of past observations and divides by their deviation.

    The statistics are buffers, so they are saved with the weights. Only `update` changes them.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, obs_shape: tuple[int, ...], enabled: bool):
        super().__init__()
        self.enabled = enabled
        if enabled:
            self.register_buffer("mean", torch.zeros(obs_shape, dtype=torch.float64))
            self.register_buffer("variance", torch.ones(obs_shape, dtype=torch.float64))
            self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def forward(self, obs: Tensor) -> Tensor:
        if not self.enabled:
            return obs
        scale = (self.variance + 1e-8).rsqrt().float()
        return ((obs - self.mean.float()) * scale).clamp(-MOST, MOST)

    @torch.no_grad()
    def update(self, obs_TN: Tensor) -> None:
        """Adds the observations of a rollout, (T, N, ...), to the statistics."""
        if self.enabled:
            sums = sums_of(obs_TN.flatten(0, 1))
            distributed.sum_(list(sums))
            Moments(self.mean, self.variance, self.count).add(sums)


class RewardScaler:
    """Divides rewards by the deviation of their discounted sums (detail 8 for control)."""

    def __init__(self, num_envs: int, gamma: float, enabled: bool):
        self.enabled = enabled
        self.gamma = gamma
        self.running_N = torch.zeros(num_envs, dtype=torch.float64)
        self.moments = Moments(*torch.tensor([[0.0], [1.0], [0.0]], dtype=torch.float64))

    def __call__(self, reward_TN: Tensor, ended_TN: Tensor) -> Tensor:
        """Updates the scale with a rollout's rewards, then returns them scaled.

        Args:
            reward_TN: rewards of the environments of all ranks.
            ended_TN: bool, the episode ended with this step.
        """
        if not self.enabled:
            return reward_TN
        sums = []
        for reward_N, ended_N in zip(reward_TN.cpu().double(), ended_TN.cpu(), strict=True):
            self.running_N = self.running_N * self.gamma + reward_N
            sums.append(self.running_N)
            self.running_N = self.running_N * ~ended_N
        self.moments.add(sums_of(torch.stack(sums).reshape(-1, 1)))
        scale = (self.moments.variance + 1e-8).rsqrt().item()
        return (reward_TN * scale).clamp(-MOST, MOST)

    def state_dict(self) -> dict[str, Any]:
        moments = [self.moments.mean, self.moments.variance, self.moments.count]
        return {"running": self.running_N, "moments": torch.stack(moments)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        own = self.state_dict()
        running_N = like(state["running"], own["running"], "the rewards' running sums")
        moments = like(state["moments"], own["moments"], "the rewards' moments")
        if (moments[1:] < 0).any():
            raise ValueError("the rewards' variance or count is negative")
        self.running_N = running_N.clone()
        self.moments = Moments(*moments.clone())
