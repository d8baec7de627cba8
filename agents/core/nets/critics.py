"""The networks of off-policy actor-critics: an actor, and critics that judge its actions.

Each has a torso and two hidden layers. Vector observations reach the hidden layers unchanged.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from agents.core.nets.networks import torso_of
from agents.core.nets.previous import PreviousInputs
from agents.core.nets.settings import NetworkConfig
from agents.core.nets.squashed import ActionScale
from agents.core.nets.torsos import MlpTorso, dense_layer, scaled
from agents.core.types.spaces import Spaces


class Flat(nn.Module):
    """Flattens observations (B, ...) to features (B, F), as float32."""

    def __init__(self, obs_shape: tuple[int, ...]):
        super().__init__()
        self.num_features = int(torch.Size(obs_shape).numel())

    def forward(self, obs: Tensor) -> Tensor:
        return scaled(obs).flatten(1)


def encoder(config: NetworkConfig, spaces: Spaces) -> Any:
    """Makes the config's torso; in place of `mlp`, observations are only flattened."""
    torso = torso_of(config, spaces.obs_shape)
    return Flat(spaces.obs_shape) if isinstance(torso, MlpTorso) else torso


def previous_of(config: Any, spaces: Spaces) -> PreviousInputs:
    """The encoding of the previous action and reward; a discrete action is a combination."""
    encoding = PreviousInputs.of if spaces.continuous else PreviousInputs.of_combinations
    return encoding(spaces, config.previous_inputs, config.clip_reward)


def hidden_layers(config: NetworkConfig, num_features: int) -> list[nn.Module]:
    """Makes two hidden layers with `config.hidden` features each."""
    options = (config.hidden, config.layer_norm, config.activation)
    return [dense_layer(num_features, *options), dense_layer(config.hidden, *options)]


class Actor(nn.Module):
    """Maps observations (B, ...) to a distribution of actions.

    Args:
        config: the settings of the network (`PreviousConfig`) and of rewards.
        head: maps features (B, `config.hidden`) to the distribution.

    Attributes:
        previous: the encoding of the previous action and reward (B, P), which it may also see.
    """

    memory_size = 0

    def __init__(self, config: Any, spaces: Spaces, head: nn.Module):
        super().__init__()
        self.previous = previous_of(config, spaces)
        self.torso = encoder(config, spaces)
        width = self.torso.num_features + self.previous.width
        self.hidden = nn.Sequential(*hidden_layers(config, width))
        self.head = head

    def forward(self, obs: Tensor, previous_BP: Tensor | None = None) -> Any:
        features = self.previous.beside(self.torso(obs), previous_BP)
        return self.head(self.hidden(features))

    def act(self, obs_N: Tensor, previous_NP: Tensor, memory_NS: Tensor) -> tuple[Any, Tensor]:
        """The distribution for single observations, and the memory (N, 0)."""
        return self(obs_N, previous_NP), memory_NS


class Critics(nn.Module):
    """E critics with a shared torso and separate hidden layers.

    On vector observations they share nothing, because the torso has no weights.

    Args:
        config: the settings of the network (`PreviousConfig`) and of rewards.
        num_inputs: numbers that a critic reads beside the features.
        num_outputs: values that a critic gives.
    """

    def __init__(self, config: Any, spaces: Spaces, num_inputs: int, num_outputs: int, count: int):
        super().__init__()
        self.previous = previous_of(config, spaces)
        self.torso = encoder(config, spaces)
        width = self.torso.num_features + self.previous.width + num_inputs
        self.heads = nn.ModuleList(
            nn.Sequential(*hidden_layers(config, width), nn.Linear(config.hidden, num_outputs))
            for _ in range(count)
        )

    def features(self, obs: Tensor, previous_BP: Tensor | None) -> Tensor:
        """Features (B, F) of observations, with the previous action and reward beside them."""
        return self.previous.beside(self.torso(obs), previous_BP)

    def values(self, features: Tensor) -> Tensor:
        """Float32 values (E, B, outputs) of the inputs of the hidden layers."""
        return torch.stack([head(features) for head in self.heads]).float()


class ActionCritics(Critics):
    """Maps observations (B, ...) and actions of a Box (B, K) to float32 values (E, B)."""

    def __init__(self, config: Any, spaces: Spaces, count: int = 2):
        super().__init__(config, spaces, spaces.action_parts, 1, count)
        self.scale = ActionScale(spaces)

    def forward(self, obs: Tensor, action_BK: Tensor, previous_BP: Tensor | None = None) -> Tensor:
        features = self.features(obs, previous_BP)
        inputs = torch.cat([features, self.scale.to_unit(action_BK)], dim=1)
        return self.values(inputs).squeeze(2)


class ChoiceCritics(Critics):
    """Maps observations (B, ...) to float32 values of each choice (E, B, A)."""

    def __init__(self, config: Any, spaces: Spaces, count: int = 2):
        super().__init__(config, spaces, 0, spaces.combinations, count)

    def forward(self, obs: Tensor, previous_BP: Tensor | None = None) -> Tensor:
        return self.values(self.features(obs, previous_BP))


@torch.no_grad()
def move_toward(target: list[Tensor], source: list[Tensor], share: float) -> None:
    """target ← (1 - share) target + share · source, in place (Polyak averaging)."""
    torch._foreach_lerp_(target, source, share)  # pyright: ignore[reportPrivateImportUsage]
