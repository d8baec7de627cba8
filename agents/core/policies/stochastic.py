"""Policies that draw actions from a distribution: for actor-critics and behavior cloning."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.core.nets.distributions import Distribution, join, masked
from agents.core.nets.networks import ActorCritic, PolicyNetwork
from agents.core.policies.policy import NetworkPolicy, ValuePolicy, begun
from agents.core.system.compute import Compute
from agents.core.types.env_rng import EnvRng
from agents.core.types.spaces import Spaces
from agents.core.types.step import ActOutput, Obs, PolicyInputs, State


class ActorCriticPolicy(ValuePolicy):
    """Draws from the policy head of an actor-critic (`agents.core.nets.networks.ActorCritic`).

    Its extras are the fields that a rollout stores: obs, memory, previous, action, log_prob and
    value, and legal if some actions are illegal.
    """

    explores_by = "temperature"
    most_exploration = float("inf")

    @torch.no_grad()
    def act(self, inputs: PolicyInputs, state: State, rng: EnvRng, exploration: float) -> ActOutput:
        given = self.given(inputs, begun(state, inputs.is_first_N))
        obs_N, previous_NP, memory_NS = given
        distribution, value_1N, next_memory_NS = self._step(*given)
        legal_NA = self.legal(inputs)
        distribution = masked(distribution, legal_NA)
        action_1NK = distribution.sample(rng, exploration)
        extras = {
            "obs": obs_N,
            "memory": memory_NS,
            "previous": previous_NP,
            "action": action_1NK[0],
            "log_prob": distribution.log_prob(action_1NK)[0],
            "value": value_1N[0],
        }
        if legal_NA is not None:
            extras["legal"] = legal_NA
        action_N = self.spaces.playable(action_1NK[0].cpu().numpy())
        return ActOutput(action_N, self.state_of(next_memory_NS), extras)

    @torch.no_grad()
    def state_values(self, inputs: PolicyInputs, state: State) -> Tensor:
        return self._step(*self.given(inputs, state))[1][0]

    def observed(self, obs_TN: Tensor) -> None:
        self.network.normalizer.update(obs_TN)

    @torch.no_grad()
    def diagnostics(self, obs: Obs, state: State) -> dict[str, Tensor]:
        distribution, value_1N, _ = self._step(*self.given_alone(obs, state))
        return {"values": value_1N[0], **describe(distribution)}

    def _step(
        self, obs_N: Tensor, previous_NP: Tensor, memory_NS: Tensor
    ) -> tuple[Distribution, Tensor, Tensor]:
        """The network's distribution, values and next memory for observations, as one step."""
        parts = self.compute.infer(self.network.step, obs_N, memory_NS, previous_NP)
        distributions, values, memories = zip(*parts, strict=True)
        return join(distributions), torch.cat(values, dim=1), torch.cat(memories)


def make_actor_critic(config: Any, spaces: Spaces, device: torch.device) -> ActorCriticPolicy:
    """Makes the policy of an actor-critic, with initial weights.

    Args:
        config: settings of the network and the machine, and `eval_temperature`.
        spaces: the policy's observations and actions.
        device: the device of the network.
    """
    network = ActorCritic(config, spaces)
    compute = Compute.of(network, config, device)
    return ActorCriticPolicy(network, spaces, compute, config.eval_temperature)


class ClonePolicy(NetworkPolicy):
    """Draws from a policy network (`agents.core.nets.networks.PolicyNetwork`)."""

    explores_by = "temperature"
    most_exploration = float("inf")

    @torch.no_grad()
    def act(self, inputs: PolicyInputs, state: State, rng: EnvRng, exploration: float) -> ActOutput:
        given = self.given(inputs, begun(state, inputs.is_first_N))
        distribution, next_memory_NS = self._step(*given)
        distribution = masked(distribution, self.legal(inputs))
        action_N = self._playable(distribution.sample(rng, exploration))
        return ActOutput(action_N, self.state_of(next_memory_NS))

    def _playable(self, action_NK: Tensor) -> np.ndarray:
        """Converts the distribution's actions to the environment's."""
        return self.spaces.playable(action_NK.cpu().numpy())

    @torch.no_grad()
    def diagnostics(self, obs: Obs, state: State) -> dict[str, Tensor]:
        distribution, _ = self._step(*self.given_alone(obs, state))
        return describe(distribution)

    def _step(self, *given: Tensor) -> tuple[Distribution, Tensor]:
        """The network's distribution for observations, and the memory after them.

        Args:
            given: observations, previous actions and rewards, and memory.
        """
        parts = self.compute.infer(self.network.act, *given)
        distributions, memories = zip(*parts, strict=True)
        return join(distributions), torch.cat(memories)


def make_clone(config: Any, spaces: Spaces, device: torch.device) -> ClonePolicy:
    """Makes the policy of a policy network, with initial weights.

    Args:
        config: settings of the network and the machine, and `eval_temperature`.
        spaces: the policy's observations and actions.
        device: the device of the network.
    """
    network = PolicyNetwork(config, spaces)
    compute = Compute.of(network, config, device)
    return ClonePolicy(network, spaces, compute, config.eval_temperature)


def describe(distribution: Distribution) -> dict[str, Tensor]:
    """Statistics of a distribution for each observation, each (N,)."""
    log_prob = distribution.log_prob(distribution.mode())
    return {
        "log_probs_of_mode": log_prob.flatten(),
        "entropy": distribution.entropy().flatten(),
    }
