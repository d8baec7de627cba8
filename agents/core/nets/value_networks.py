"""Value networks: a torso, an optional core, and a head with outputs for each action.

All value agents share the class `ValueNetwork`. Its subclasses differ in the meaning of the
outputs: a value, the probabilities of returns, or quantiles of the return.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from agents.core.nets.heads import make_head
from agents.core.nets.networks import torso_of
from agents.core.nets.noisy import num_noise
from agents.core.nets.previous import PreviousInputs
from agents.core.nets.recurrence import make_core, remembered, unrolled
from agents.core.nets.torsos import dense_layer
from agents.core.types.inputs import Inputs
from agents.core.types.spaces import Spaces


class ValueNetwork(nn.Module, ABC):
    """Maps inputs to outputs for each combination of an action's parts.

    Without a core, the head's hidden layer follows the torso. With a core, a hidden layer and the
    core are between them (Kapturowski et al. 2019, https://openreview.net/forum?id=r1lyTjAqYX).

    Args:
        config: the settings of a network (`QNetworkConfig`) and of rewards.
        num_outputs: outputs for each action, Z.

    Attributes:
        memory_size: width S of the core's memory; 0 without a core.
        num_noise: normal numbers E that a forward pass takes; 0 without noisy layers.
        previous: the encoding of the previous action and reward.

    Raises:
        UserError: actions are continuous, or have too many combinations.
    """

    def __init__(self, config: Any, spaces: Spaces, num_outputs: int = 1):
        super().__init__()
        spaces.require_few_combinations()
        self.previous = PreviousInputs.of_combinations(
            spaces, config.previous_inputs, config.clip_reward
        )
        self.torso = torso_of(config, spaces.obs_shape)
        size = self.torso.num_features + self.previous.width
        self.recurrent = config.core != "none"
        if self.recurrent:
            self.hidden = dense_layer(size, config.hidden, config.layer_norm, config.activation)
            size = config.hidden
        self.core = make_core(config.core, size, config.hidden)
        self.num_features = self.core.num_features
        self.memory_size = self.core.memory_size
        self.head = make_head(config, self.num_features, spaces.combinations, num_outputs)
        self.num_noise = num_noise(self)

    @abstractmethod
    def outputs(self, features_NF: Tensor, noise: Tensor | None) -> Tensor:
        """The float32 outputs (N, A, ...) of features; `noise` is (N, E) or (1, E) or None."""

    @abstractmethod
    def mean(self, outputs: Tensor) -> Tensor:
        """The values (N, A) of outputs."""

    def forward(self, inputs: Inputs) -> Tensor:
        """The outputs of each step, or of the steps that the inputs name: (N, A, ...)."""
        features_NF, _ = self.features(inputs)
        return self.outputs(features_NF, inputs.noise_BE)

    def q_values(self, inputs: Inputs) -> Tensor:
        """Float32 values (N, A)."""
        return self.mean(self(inputs))

    def act(
        self, obs_N: Tensor, previous_NP: Tensor, memory_NS: Tensor, noise_NE: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The values (N, A) of single observations, and the memory (N, S) after them.

        Args:
            noise_NE: noise of width 0 stands for the mean weights.
        """
        noise = noise_NE if noise_NE.shape[1] else None
        features_NF, memory_NS = self.features(Inputs.of(obs_N, previous_NP, memory_NS))
        return self.mean(self.outputs(features_NF, noise)), memory_NS

    def features(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """The features (N, F) before the head, and the memory (B, S) after the last step."""
        return unrolled(self._features, inputs)

    def _features(self, inputs: Inputs, memory_BS: Tensor) -> tuple[Tensor, Tensor]:
        """The features (B, L, F) of each step, and the memory after the last one."""
        features_NF = self.torso(inputs.obs_BL.flatten(0, 1))
        features_NF = self.previous.beside(features_NF, inputs.previous_BLP.flatten(0, 1))
        if self.recurrent:
            features_NF = self.hidden(features_NF)
        return remembered(self.core, features_NF, inputs, memory_BS)


class QNetwork(ValueNetwork):
    """The outputs are float32 values Q (N, A)."""

    def outputs(self, features_NF: Tensor, noise: Tensor | None) -> Tensor:
        return self.head(features_NF, noise).squeeze(2).float()

    def mean(self, outputs: Tensor) -> Tensor:
        return outputs


class QuantileNetwork(ValueNetwork):
    """The outputs are float32 quantiles (N, A, I) of each action's return.

    Dabney et al. 2018, https://arxiv.org/abs/1710.10044.
    """

    def outputs(self, features_NF: Tensor, noise: Tensor | None) -> Tensor:
        return self.head(features_NF, noise).float()

    def mean(self, outputs: Tensor) -> Tensor:
        return outputs.mean(dim=2)


class CategoricalNetwork(ValueNetwork):
    """The outputs are float32 log probabilities (N, A, Z) of returns on a support of Z atoms.

    Bellemare et al. 2017, https://arxiv.org/abs/1707.06887.

    Args:
        support_Z: the returns of the atoms, in order.
    """

    support_Z: Tensor

    def __init__(self, config: Any, spaces: Spaces, support_Z: Tensor):
        super().__init__(config, spaces, len(support_Z))
        # The config gives the support, so that no checkpoint saves it.
        self.register_buffer("support_Z", support_Z, persistent=False)

    def outputs(self, features_NF: Tensor, noise: Tensor | None) -> Tensor:
        return self.head(features_NF, noise).float().log_softmax(dim=2)

    def mean(self, outputs: Tensor) -> Tensor:
        return (outputs.exp() * self.support_Z).sum(dim=2)


class ImplicitQuantileNetwork(ValueNetwork):
    """The outputs are float32 quantiles (N, A, I) at any fractions τ of the return.

    The features are multiplied by ReLU(Linear(cos(π i τ))) for i = 0 to n - 1: Dabney et al.
    2018, https://arxiv.org/abs/1806.06923, eq. 4.

    Args:
        num_cosines: n.
        acting_fractions: number of midpoints at which the network is read when no fractions are
            given.
    """

    pi_C: Tensor
    midpoint_K: Tensor

    def __init__(self, config: Any, spaces: Spaces, num_cosines: int, acting_fractions: int):
        super().__init__(config, spaces)
        self.embedding = nn.Sequential(nn.Linear(num_cosines, self.num_features), nn.ReLU())
        self.register_buffer("pi_C", math.pi * torch.arange(num_cosines), persistent=False)
        midpoint_K = (torch.arange(acting_fractions) + 0.5) / acting_fractions
        self.register_buffer("midpoint_K", midpoint_K, persistent=False)

    def outputs(
        self, features_NF: Tensor, noise: Tensor | None, fraction_NI: Tensor | None = None
    ) -> Tensor:
        if fraction_NI is None:
            fraction_NI = self.midpoint_K.expand(len(features_NF), -1)
        embedded_NIF = self.embedding((fraction_NI.unsqueeze(2) * self.pi_C).cos())
        mixed_NIF = features_NF.unsqueeze(1) * embedded_NIF
        noise = noise.unsqueeze(1) if noise is not None else None
        return self.head(mixed_NIF, noise).squeeze(3).float().transpose(1, 2)

    def at(self, inputs: Inputs, fraction_NI: Tensor) -> Tensor:
        """The quantiles (N, A, I) at fractions of each row."""
        features_NF, _ = self.features(inputs)
        return self.outputs(features_NF, inputs.noise_BE, fraction_NI)

    def mean(self, outputs: Tensor) -> Tensor:
        return outputs.mean(dim=2)
