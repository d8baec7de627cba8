"""The ε-greedy policy of a value network."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from agents.core.math.losses import legal_values
from agents.core.nets.value_networks import QNetwork
from agents.core.policies.policy import ValuePolicy, begun
from agents.core.system.compute import Compute
from agents.core.system.device import to_device
from agents.core.types.env_rng import EnvRng
from agents.core.types.spaces import Spaces
from agents.core.types.step import ActOutput, Obs, PolicyInputs, State


class EpsilonGreedyPolicy(ValuePolicy):
    """Chooses the action of the highest value, or a random action with probability ε.

    The network is a `agents.core.nets.value_networks.ValueNetwork`. If it has noisy layers, the
    policy of `exploring` adds noise to them. The extras are the obs, the encoded previous action
    and reward (previous), the memory before the step, the action as the number of a combination,
    the q_values, and the highest of them (value). Illegal actions have the value -inf.
    """

    explores_by = "epsilon"
    most_exploration = 1.0

    def __init__(
        self, network: nn.Module, spaces: Spaces, compute: Compute, eval_exploration: float
    ):
        super().__init__(network, spaces, compute, eval_exploration)
        self.adds_noise = False

    def exploring(self) -> EpsilonGreedyPolicy:
        if not self.network.num_noise:
            return self
        other = copy.copy(self)
        other.adds_noise = True
        return other

    @torch.no_grad()
    def act(self, inputs: PolicyInputs, state: State, rng: EnvRng, exploration: float) -> ActOutput:
        num_noise = self.network.num_noise if self.adds_noise else 0
        noise_NE = to_device(rng.normal(num_noise), self.device)
        given = self.given(inputs, begun(state, inputs.is_first_N))
        q_NA, next_state = self._step(*given, noise_NE)
        q_NA = legal_values(q_NA, self.legal(inputs))
        value_N, best_N = q_NA.max(dim=1)
        explore_N, which_N = rng.uniform(2).unbind(dim=1)
        if inputs.legal_NA is None:
            random_N = (which_N * q_NA.shape[1]).long()
        else:
            random_N = random_legal(which_N, inputs.legal_NA.cpu())
        index_N = torch.where(explore_N < exploration, random_N, best_N.cpu())
        seen = dict(zip(("obs", "previous", "memory"), given, strict=True))
        extras = {**seen, "action": index_N, "q_values": q_NA, "value": value_N}
        return ActOutput(self.spaces.playable_combination(index_N.numpy()), next_state, extras)

    @torch.no_grad()
    def state_values(self, inputs: PolicyInputs, state: State) -> Tensor:
        return self.values(inputs, state).amax(dim=1)

    @torch.no_grad()
    def diagnostics(self, obs: Obs, state: State) -> dict[str, Tensor]:
        size = len(obs)
        nothing = (np.zeros(size, np.float32), np.ones(size, bool), None)
        inputs = PolicyInputs(obs, *nothing, self.spaces.remembered_none(size))
        return {"q_values": self.values(inputs, state)}

    def values(self, inputs: PolicyInputs, state: State) -> Tensor:
        """Values (N, A), given the policy's state; -inf for illegal actions; without noise."""
        given = self.given(inputs, state)
        absent_N0 = torch.empty(len(given[0]), 0, device=self.device)
        q_NA, _ = self._step(*given, absent_N0)
        return legal_values(q_NA, self.legal(inputs))

    def _parts(self, remembered_N: np.ndarray) -> np.ndarray:
        # The network numbers combinations of parts.
        return remembered_N.reshape(-1, 1)

    def _step(self, *given: Tensor) -> tuple[Tensor, State]:
        """The network's values (N, A) and the next state.

        Args:
            given: observations, previous actions and rewards, memory, and noise.
        """
        values, memories = zip(*self.compute.infer(self.network.act, *given), strict=True)
        return torch.cat(values), self.state_of(torch.cat(memories))


def random_legal(uniform_N: Tensor, legal_NA: Tensor) -> Tensor:
    """Chooses a legal action for each uniform number in [0, 1); returns int64 (N,).

    All legal actions are equally likely.
    """
    chosen_N = (uniform_N * legal_NA.sum(dim=1)).long()
    return (legal_NA.cumsum(dim=1) > chosen_N.unsqueeze(1)).int().argmax(dim=1)


def make_epsilon_greedy(config: Any, spaces: Spaces, device: torch.device) -> EpsilonGreedyPolicy:
    """Makes the ε-greedy policy of a Q-network, with initial weights.

    Args:
        config: settings of the network and the machine, and `eval_epsilon`.
        spaces: the policy's observations and actions.
        device: the device of the network.
    """
    network = QNetwork(config, spaces)
    compute = Compute.of(network, config, device)
    return EpsilonGreedyPolicy(network, spaces, compute, config.eval_epsilon)
