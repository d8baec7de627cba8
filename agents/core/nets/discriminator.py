"""Discriminators: networks that tell an expert's actions from an agent's.

Generative Adversarial Nets, Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, for states and
actions: Ho and Ermon 2016, https://arxiv.org/abs/1606.03476.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from agents.core.nets.critics import Flat, encoder, hidden_layers
from agents.core.nets.pixels import Pixels
from agents.core.nets.squashed import ActionScale
from agents.core.nets.torsos import scaled
from agents.core.types.spaces import Spaces


class ActionCode(nn.Module):
    """Encodes actions as float32 (B, K): the number of a combination one-hot, a Box in [-1, 1]."""

    def __init__(self, spaces: Spaces):
        super().__init__()
        self.scale = ActionScale(spaces) if spaces.continuous else None
        self.width = spaces.action_parts if spaces.continuous else spaces.combinations

    def forward(self, action: Tensor) -> Tensor:
        if self.scale is not None:
            return self.scale.to_unit(action)
        # `nn.functional.one_hot` waits for the device.
        numbers_A = torch.arange(self.width, device=action.device)
        return (action.unsqueeze(1) == numbers_A).float()


class Discriminator(nn.Module):
    """Maps seen states and actions to logits f(s, a): above 0 if the expert is likelier.

    A state is seen through the torso of another network, or through a torso of its own. The logits
    are differentiable by what is seen, so that their gradient can have a penalty.

    Args:
        config: the settings of the network.
        shared: the other network's torso, which the discriminator never trains; None makes an own
            torso.
    """

    def __init__(self, config: Any, spaces: Spaces, shared: Any = None):
        super().__init__()
        # A tuple hides the module, so that its weights are not this network's.
        self._shared = (shared,)
        self.torso = encoder(config, spaces) if shared is None else Flat((shared.num_features,))
        self.action = ActionCode(spaces)
        width = self.torso.num_features + self.action.width
        self.layers = nn.Sequential(*hidden_layers(config, width), nn.Linear(config.hidden, 1))

    @torch.no_grad()
    def seen(self, obs: Tensor) -> Tensor:
        """The float32 numbers that stand for observations (B, ...), without a gradient."""
        (shared,) = self._shared
        if shared is not None:
            features_BF = shared(obs).float()
            return nn.functional.layer_norm(features_BF, features_BF.shape[1:])
        pixels = next((each for each in self.torso.modules() if isinstance(each, Pixels)), None)
        return scaled(obs) if pixels is None else pixels(obs)

    def forward(self, seen: Tensor, action_B: Tensor) -> Tensor:
        """The float32 logits (B,).

        Args:
            seen: the result of `seen`.
            action_B: actions, int64 numbers of combinations (B,) or float32 (B, K).
        """
        features_BF = self.torso(seen)
        inputs_BF = torch.cat([features_BF, self.action(action_B).to(features_BF.dtype)], dim=1)
        return self.layers(inputs_BF).squeeze(1).float()
