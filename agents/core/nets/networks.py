"""Policy networks: a torso, a core and heads (`agents.core.nets`).

An actor-critic takes sequences (T, B, ...), time first. Without a recurrent core, a sequence has
one step. The networks of value agents are in `agents.core.nets.value_networks`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from agents.core.nets.distributions import Distribution, make_policy_head, orthogonal
from agents.core.nets.normalize import ObservationNormalizer
from agents.core.nets.orthogonal import orthogonal_
from agents.core.nets.recurrence import make_core
from agents.core.nets.settings import ActorCriticConfig, NetworkConfig, PolicyNetworkConfig
from agents.core.nets.torsos import MLP_WIDTH, dense_layer, make_torso
from agents.core.types.spaces import Spaces


def torso_of(config: NetworkConfig, obs_shape: tuple[int, ...], mlp_width: int = MLP_WIDTH) -> Any:
    """Makes the torso of a config for observations of a shape."""
    return make_torso(
        config.torso,
        obs_shape,
        config.torso_width,
        config.torso_norm,
        config.activation,
        mlp_width,
    )


class Body(nn.Module):
    """A torso, a hidden layer and a core, whose features feed the policy or value head.

    Hidden layers are orthogonal with gain √2 (detail 2 of "The 37 implementation details of
    PPO", Huang et al. 2022, https://iclr-blog-track.github.io/2022/03/25/ppo-implementation-details/).
    """

    def __init__(self, config: PolicyNetworkConfig, obs_shape: tuple[int, ...]):
        super().__init__()
        self.torso = torso_of(config, obs_shape, mlp_width=config.hidden)
        self.hidden = dense_layer(
            self.torso.num_features, config.hidden, config.layer_norm, config.activation
        )
        self.core = make_core(config.core, config.hidden, config.hidden)
        for module in [*self.torso.modules(), *self.hidden.modules()]:
            if isinstance(module, nn.Linear | nn.Conv2d):
                orthogonal_(module.weight, math.sqrt(2))
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, obs_TB: Tensor, memory_BS: Tensor, start_TB: Tensor) -> tuple[Tensor, Tensor]:
        features = self.hidden(self.torso(obs_TB.flatten(0, 1)))
        return self.core(features.unflatten(0, obs_TB.shape[:2]), memory_BS, start_TB)


class ActorCritic(nn.Module):
    """A policy and a value function, with a shared body or a body for each.

    Attributes:
        memory_size: width S of the memory (B, S) that `forward` takes and returns.
        normalizer: scales vector observations; its statistics are saved with the weights.
    """

    def __init__(self, config: ActorCriticConfig, spaces: Spaces):
        super().__init__()
        self.normalizer = make_normalizer(config, spaces)
        bodies = [Body(config, spaces.obs_shape) for _ in range(1 + config.separate_value)]
        self.bodies = nn.ModuleList(bodies)
        self.memory_size = sum(body.core.memory_size for body in bodies)
        features = bodies[0].core.num_features
        self.policy_head = make_policy_head(features, spaces)
        self.value_head = orthogonal(nn.Linear(features, 1), 1.0)

    def forward(
        self, obs_TB: Tensor, memory_BS: Tensor, start_TB: Tensor
    ) -> tuple[Distribution, Tensor, Tensor]:
        """Computes the policy (T, B), the float32 values (T, B) and the memory after the last step.

        Args:
            obs_TB: T consecutive observations of B environments, (T, B, ...).
            memory_BS: the memory before the first step.
            start_TB: bool, the step is the first of its episode.
        """
        obs_TB = self.normalizer(obs_TB)
        memories = memory_BS.chunk(len(self.bodies), dim=1)
        outputs = [
            body(obs_TB, memory, start_TB)
            for body, memory in zip(self.bodies, memories, strict=True)
        ]
        policy = self.policy_head(outputs[0][0])
        value_TB = self.value_head(outputs[-1][0]).squeeze(2).float()
        return policy, value_TB, torch.cat([memory for _, memory in outputs], dim=1)

    def step(self, obs_B: Tensor, memory_BS: Tensor) -> tuple[Distribution, Tensor, Tensor]:
        """`forward` for single observations (B, ...), as sequences of one step.

        The caller sets the memory to zero for environments that start an episode.
        """
        start_1B = torch.zeros(1, len(obs_B), dtype=torch.bool, device=obs_B.device)
        return self(obs_B.unsqueeze(0), memory_BS, start_1B)


class PolicyNetwork(nn.Module):
    """A policy for single observations: the parts of an actor-critic without the value."""

    def __init__(self, config: PolicyNetworkConfig, spaces: Spaces):
        super().__init__()
        self.normalizer = make_normalizer(config, spaces)
        self.body = Body(config, spaces.obs_shape)
        self.policy_head = make_policy_head(config.hidden, spaces)

    def forward(self, obs_B: Tensor, kept_BF: Tensor | float = 1.0) -> Distribution:
        """Computes the policy (B,); `kept_BF` multiplies the features, for dropout."""
        features_BF = self.body.hidden(self.body.torso(self.normalizer(obs_B)))
        return self.policy_head(features_BF * kept_BF)


def make_normalizer(config: PolicyNetworkConfig, spaces: Spaces) -> ObservationNormalizer:
    """Makes the normalizer of observations; it is disabled for images or if the config says so."""
    wanted = config.normalize_observations and spaces.obs_dtype != torch.uint8
    return ObservationNormalizer(spaces.obs_shape, wanted)
