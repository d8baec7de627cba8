"""Policies that draw actions from a distribution: for actor-critics and behavior cloning."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.core.nets.distributions import Distribution, join, masked
from agents.core.nets.networks import ActorCritic, PolicyNetwork
from agents.core.nets.previous import PreviousInputs
from agents.core.policies.policy import Policy, ValuePolicy, begun
from agents.core.system.compute import Compute
from agents.core.system.device import to_device
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
        obs_N = to_device(inputs.obs, self.device)
        memory_NS = self.memory_in(begun(state, inputs.is_first_N), len(obs_N))
        previous_NP = self.encoded_previous(inputs)
        distribution, value_1N, next_memory_NS = self._step(obs_N, memory_NS, previous_NP)
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
        return ActOutput(action_N, {"memory": next_memory_NS} if state else {}, extras)

    @torch.no_grad()
    def state_values(self, inputs: PolicyInputs, state: State) -> Tensor:
        obs_N = to_device(inputs.obs, self.device)
        memory_NS = self.memory_in(state, len(obs_N))
        return self._step(obs_N, memory_NS, self.encoded_previous(inputs))[1][0]

    def observed(self, obs_TN: Tensor) -> None:
        self.network.normalizer.update(obs_TN)

    @torch.no_grad()
    def diagnostics(self, obs: Obs, state: State) -> dict[str, Tensor]:
        obs_N = to_device(obs, self.device)
        given = self.memory_in(state, len(obs_N)), self._no_previous(len(obs_N))
        distribution, value_1N, _ = self._step(obs_N, *given)
        return {"values": value_1N[0], **describe(distribution)}

    def _no_previous(self, num_envs: int) -> Tensor:
        return torch.zeros(num_envs, self.previous.width, device=self.device)

    def _step(
        self, obs_N: Tensor, memory_NS: Tensor, previous_NP: Tensor
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


class ClonePolicy(Policy):
    """Draws from a policy network (`agents.core.nets.networks.PolicyNetwork`)."""

    explores_by = "temperature"
    most_exploration = float("inf")

    @property
    def previous(self) -> PreviousInputs:
        return self.network.previous

    @torch.no_grad()
    def act(self, inputs: PolicyInputs, state: State, rng: EnvRng, exploration: float) -> ActOutput:
        distribution = self.distribution(inputs.obs, self.encoded_previous(inputs))
        distribution = masked(distribution, self.legal(inputs))
        return ActOutput(self._playable(distribution.sample(rng, exploration)), state)

    def _playable(self, action_NK: Tensor) -> np.ndarray:
        """Converts the distribution's actions to the environment's."""
        return self.spaces.playable(action_NK.cpu().numpy())

    @torch.no_grad()
    def diagnostics(self, obs: Obs, state: State) -> dict[str, Tensor]:
        return describe(self.distribution(obs))

    def distribution(self, obs: Obs, previous_NP: Tensor | None = None) -> Distribution:
        """The distribution of actions for observations (N, ...).

        Args:
            previous_NP: previous actions and rewards, encoded; None stands for an episode's start.
        """
        obs_N = to_device(obs, self.device)
        if not self.previous.enabled:
            return join(self.compute.infer(self.network, obs_N))
        if previous_NP is None:
            previous_NP = torch.zeros(len(obs_N), self.previous.width, device=self.device)
        return join(self.compute.infer(self.network, obs_N, previous_NP))


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
