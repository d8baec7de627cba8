"""Heads of value networks: they map features (..., F) to outputs (..., A, Z) of each action.

Z is 1 for a value, or the number of atoms or quantiles of a distribution.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from agents.core.nets.noisy import NoisyLinear, num_noise
from agents.core.nets.settings import QNetworkConfig
from agents.core.nets.torsos import Activation, dense_layer

MakeLinear = Callable[[int, int], nn.Linear]


class Stream(nn.Sequential):
    """A hidden layer and an output layer, both noisy or both not.

    Attributes:
        num_noise: number of normal numbers that the noisy layers take; 0 without noise.
    """

    def __init__(
        self,
        num_features: int,
        num_outputs: int,
        width: int,
        layer_norm: bool,
        activation: Activation,
        linear: MakeLinear = nn.Linear,
    ):
        hidden = dense_layer(num_features, width, layer_norm, activation, linear)
        super().__init__(hidden, linear(width, num_outputs))
        self.num_noise = num_noise(self)
        self.sizes = [num_noise(hidden), num_noise(self[1])]

    def forward(self, input: Tensor, noise: Tensor | None = None) -> Tensor:
        """Maps features (..., F) to outputs (..., O); `noise` is (..., E), or None for none."""
        if noise is None or not self.num_noise:
            return super().forward(input)
        hidden: Any = self[0]
        noise_hidden, noise_output = noise.split(self.sizes, dim=-1)
        linear, norm, activation = hidden
        return self[1](activation(norm(linear(input, noise_hidden))), noise_output)


class QHead(nn.Module):
    """One hidden layer, and outputs for each action."""

    def __init__(
        self,
        num_features: int,
        num_actions: int,
        width: int,
        layer_norm: bool,
        activation: Activation = "relu",
        num_outputs: int = 1,
        linear: MakeLinear = nn.Linear,
    ):
        super().__init__()
        sizes = (num_features, num_actions * num_outputs, width)
        self.values = Stream(*sizes, layer_norm, activation, linear)
        self.shape = (num_actions, num_outputs)

    def forward(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        return self.values(features, noise).unflatten(-1, self.shape)


class DuelingHead(nn.Module):
    """Q = V + A - mean A (Wang et al. 2016, https://arxiv.org/abs/1511.06581, eq. 9).

    With several outputs for each action, the equation holds for each output (Hessel et al. 2018,
    https://arxiv.org/abs/1710.02298).
    """

    def __init__(
        self,
        num_features: int,
        num_actions: int,
        width: int,
        layer_norm: bool,
        activation: Activation = "relu",
        num_outputs: int = 1,
        linear: MakeLinear = nn.Linear,
    ):
        super().__init__()
        shared = (width, layer_norm, activation, linear)
        self.value = Stream(num_features, num_outputs, *shared)
        self.advantage = Stream(num_features, num_actions * num_outputs, *shared)
        self.shape = (num_actions, num_outputs)

    def forward(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        noise_value = noise_advantage = None
        if noise is not None:
            sizes = [self.value.num_noise, self.advantage.num_noise]
            noise_value, noise_advantage = noise.split(sizes, dim=-1)
        value = self.value(features, noise_value).unsqueeze(-2)
        advantage = self.advantage(features, noise_advantage).unflatten(-1, self.shape)
        return value + advantage - advantage.mean(dim=-2, keepdim=True)


def make_head(
    config: QNetworkConfig, num_features: int, num_actions: int, num_outputs: int
) -> QHead | DuelingHead:
    """Makes the head of a config."""
    head = DuelingHead if config.dueling else QHead
    linear = partial(NoisyLinear, deviation=config.noise_deviation) if config.noisy else nn.Linear
    return head(
        num_features,
        num_actions,
        config.hidden,
        config.layer_norm,
        config.activation,
        num_outputs,
        linear,
    )
