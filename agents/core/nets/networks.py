"""Policy networks: a torso, a core and heads (`agents.core.nets`).

An actor-critic takes sequences (T, B, ...), time first. Without a recurrent core, a sequence has
one step. The networks of value agents are in `agents.core.nets.value_networks`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from agents.core.nets.distributions import Distribution, make_policy_head, masked, orthogonal
from agents.core.nets.normalize import ObservationNormalizer
from agents.core.nets.orthogonal import orthogonal_
from agents.core.nets.previous import NO_PREVIOUS, PreviousInputs
from agents.core.nets.recurrence import make_core, remembered, unrolled
from agents.core.nets.settings import NetworkConfig, PolicyNetworkConfig
from agents.core.nets.spectral import settle
from agents.core.nets.torsos import MLP_WIDTH, dense_layer, make_torso
from agents.core.types.inputs import Inputs
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

    def __init__(
        self,
        config: PolicyNetworkConfig,
        obs_shape: tuple[int, ...],
        previous: PreviousInputs = NO_PREVIOUS,
    ):
        super().__init__()
        self.previous = previous
        self.torso = torso_of(config, obs_shape, mlp_width=config.hidden)
        size = self.torso.num_features + previous.width
        self.hidden = dense_layer(size, config.hidden, config.layer_norm, config.activation)
        self.core = make_core(config.core, config.hidden, config.hidden)
        for module in [*self.torso.modules(), *self.hidden.modules()]:
            if isinstance(module, nn.Linear | nn.Conv2d):
                orthogonal_(module.weight, math.sqrt(2))
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        settle(self.torso)

    def forward(
        self,
        obs_TB: Tensor,
        memory_BS: Tensor,
        start_TB: Tensor,
        previous_TBP: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        previous_NP = None if previous_TBP is None else previous_TBP.flatten(0, 1)
        features = self.features(obs_TB.flatten(0, 1), previous_NP)
        return self.core(features.unflatten(0, obs_TB.shape[:2]), memory_BS, start_TB)

    def features(self, obs_N: Tensor, previous_NP: Tensor | None) -> Tensor:
        """The features (N, F) before the core."""
        return self.hidden(self.previous.beside(self.torso(obs_N), previous_NP))


class ActorCritic(nn.Module):
    """A policy and a value function, with a shared body or a body for each.

    Args:
        config: the settings of a network (`ActorCriticConfig`) and of rewards.

    Attributes:
        memory_size: width S of the memory (B, S) that `forward` takes and returns.
        normalizer: scales vector observations; its statistics are saved with the weights.
        previous: the encoding of the previous action and reward.
    """

    def __init__(self, config: Any, spaces: Spaces):
        super().__init__()
        self.normalizer = make_normalizer(config, spaces)
        self.previous = PreviousInputs.of(spaces, config.previous_inputs, config.clip_reward)
        count = 1 + config.separate_value
        bodies = [Body(config, spaces.obs_shape, self.previous) for _ in range(count)]
        self.bodies = nn.ModuleList(bodies)
        self.memory_size = sum(body.core.memory_size for body in bodies)
        features = bodies[0].core.num_features
        self.policy_head = make_policy_head(features, spaces)
        self.value_head = orthogonal(nn.Linear(features, 1), 1.0)

    def forward(
        self,
        obs_TB: Tensor,
        memory_BS: Tensor,
        start_TB: Tensor,
        previous_TBP: Tensor | None = None,
        legal_TBA: Tensor | None = None,
    ) -> tuple[Distribution, Tensor, Tensor]:
        """Computes the policy (T, B), the float32 values (T, B) and the memory after the last step.

        Args:
            obs_TB: T consecutive observations of B environments, (T, B, ...).
            memory_BS: the memory before the first step.
            start_TB: bool, the step is the first of its episode.
            previous_TBP: previous actions and rewards (`PreviousInputs`); None if the network does
                not see them.
            legal_TBA: bool, the legal actions, outside of which the policy is 0; None if all are.
        """
        obs_TB = self.normalizer(obs_TB)
        memories = memory_BS.chunk(len(self.bodies), dim=1)
        outputs = [
            body(obs_TB, memory, start_TB, previous_TBP)
            for body, memory in zip(self.bodies, memories, strict=True)
        ]
        policy = masked(self.policy_head(outputs[0][0]), legal_TBA)
        value_TB = self.value_head(outputs[-1][0]).squeeze(2).float()
        return policy, value_TB, torch.cat([memory for _, memory in outputs], dim=1)

    def step(
        self, obs_B: Tensor, memory_BS: Tensor, previous_BP: Tensor | None = None
    ) -> tuple[Distribution, Tensor, Tensor]:
        """`forward` for single observations (B, ...), as sequences of one step.

        The caller sets the memory to zero for environments that start an episode.
        """
        start_1B = torch.zeros(1, len(obs_B), dtype=torch.bool, device=obs_B.device)
        previous_1BP = None if previous_BP is None else previous_BP.unsqueeze(0)
        return self(obs_B.unsqueeze(0), memory_BS, start_1B, previous_1BP)


class PolicyNetwork(nn.Module):
    """A policy alone: the parts of an actor-critic without the value.

    Attributes:
        memory_size: width S of the core's memory; 0 without a core.
        normalizer: scales vector observations; its statistics are saved with the weights.
        previous: the encoding of the previous action and reward.
    """

    def __init__(self, config: PolicyNetworkConfig, spaces: Spaces):
        super().__init__()
        self.normalizer = make_normalizer(config, spaces)
        # Demonstrations hold unclipped rewards, of which some games give thousands.
        self.previous = PreviousInputs.of(spaces, config.previous_inputs, clip_reward=True)
        self.body = Body(config, spaces.obs_shape, self.previous)
        self.memory_size = self.body.core.memory_size
        self.policy_head = make_policy_head(self.body.core.num_features, spaces)

    def forward(
        self, inputs: Inputs, kept_NF: Tensor | float = 1.0, legal_NA: Tensor | None = None
    ) -> Distribution:
        """Computes the policy (N,) of each step after the burn-in.

        Args:
            kept_NF: factors of the features, for dropout.
            legal_NA: bool, the legal actions, outside of which the policy is 0; None if all are.
        """
        features_NF, _ = unrolled(self._features, inputs)
        return masked(self.policy_head(features_NF * kept_NF), legal_NA)

    def act(
        self, obs_N: Tensor, previous_NP: Tensor, memory_NS: Tensor
    ) -> tuple[Distribution, Tensor]:
        """The policy of single observations, and the memory (N, S) after them."""
        inputs = Inputs.of(obs_N, previous_NP, memory_NS)
        features_NF, memory_NS = unrolled(self._features, inputs)
        return self.policy_head(features_NF), memory_NS

    def _features(self, inputs: Inputs, memory_BS: Tensor) -> tuple[Tensor, Tensor]:
        """The features (B, L, F) of each step, and the memory after the last one."""
        obs_N = self.normalizer(inputs.obs_BL.flatten(0, 1))
        features_NF = self.body.features(obs_N, inputs.previous_BLP.flatten(0, 1))
        return remembered(self.body.core, features_NF, inputs, memory_BS)


def make_normalizer(config: PolicyNetworkConfig, spaces: Spaces) -> ObservationNormalizer:
    """Makes the normalizer of observations; it is disabled for images or if the config says so."""
    wanted = config.normalize_observations and spaces.obs_dtype != torch.uint8
    return ObservationNormalizer(spaces.obs_shape, wanted)
