"""The ε-greedy policy of a value network."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from agents.core.nets.previous import PreviousInputs
from agents.core.policies.policy import Policy, begun
from agents.core.system.compute import Compute
from agents.core.system.device import to_device
from agents.core.types.env_rng import EnvRng
from agents.core.types.spaces import Spaces
from agents.core.types.step import ActOutput, Obs, PolicyInputs, State


class EpsilonGreedyPolicy(Policy):
    """Chooses the action of the highest value, or a random action with probability ε.

    The network is a `agents.core.nets.value_networks.ValueNetwork`. If it has noisy layers, the
    policy of `exploring` adds noise to them. The extras are the obs, the action as the number of a
    combination, the q_values, and the memory before the step if the network has one.
    """

    explores_by = "epsilon"
    most_exploration = 1.0

    def __init__(
        self, network: nn.Module, spaces: Spaces, compute: Compute, eval_exploration: float
    ):
        super().__init__(network, spaces, compute, eval_exploration)
        self.adds_noise = False

    @property
    def memory_size(self) -> int:
        return self.network.memory_size

    @property
    def previous(self) -> PreviousInputs:
        return self.network.previous

    def exploring(self) -> EpsilonGreedyPolicy:
        other = copy.copy(self)
        other.adds_noise = self.network.num_noise > 0
        return other

    def initial_state(self, num_envs: int) -> State:
        if not self.memory_size:
            return {}
        return {"memory": torch.zeros(num_envs, self.memory_size, device=self.device)}

    @torch.no_grad()
    def act(self, inputs: PolicyInputs, state: State, rng: EnvRng, exploration: float) -> ActOutput:
        state = begun(state, inputs.is_first_N)
        obs_N = to_device(inputs.obs, self.device)
        num_noise = self.network.num_noise if self.adds_noise else 0
        noise_NE = to_device(rng.normal(num_noise), self.device)
        q_NA, next_state = self._step(obs_N, self._previous(inputs), state, noise_NE)
        explore_N, which_N = rng.uniform(2).unbind(dim=1)
        if inputs.legal_NA is None:
            random_N = (which_N * q_NA.shape[1]).long()
        else:
            legal_NA = inputs.legal_NA.to(q_NA.device)
            q_NA = q_NA.masked_fill(~legal_NA, -torch.inf)
            random_N = random_legal(which_N, inputs.legal_NA.cpu())
        index_N = torch.where(explore_N < exploration, random_N, q_NA.argmax(dim=1).cpu())
        extras = {"obs": obs_N, "action": index_N, "q_values": q_NA, **state}
        return ActOutput(self.spaces.playable_combination(index_N.numpy()), next_state, extras)

    @torch.no_grad()
    def values(self, obs: Obs, state: State, previous: Tensor | None = None) -> Tensor:
        """Values (N, A) of observations, given the policy's state; without noise."""
        obs_N = to_device(obs, self.device)
        absent_N0 = torch.empty(len(obs_N), 0, device=self.device)
        if previous is None:
            previous = absent_N0.new_zeros(len(obs_N), self.previous.width)
        return self._step(obs_N, previous, state, absent_N0)[0]

    @torch.no_grad()
    def diagnostics(self, obs: Obs, state: State) -> dict[str, Tensor]:
        return {"q_values": self.values(obs, state)}

    def _previous(self, inputs: PolicyInputs) -> Tensor:
        """The encoded previous action and reward (N, P)."""
        encoding = self.previous
        if not encoding.enabled:
            return torch.empty(len(inputs.reward_N), 0, device=self.device)
        assert inputs.action_N is not None
        action_N1 = to_device(inputs.action_N, self.device).view(-1, 1)
        reward_N = to_device(inputs.reward_N, self.device)
        return encoding.encode(action_N1, reward_N, to_device(inputs.is_first_N, self.device))

    def _step(
        self, obs_N: Tensor, previous_NP: Tensor, state: State, noise_NE: Tensor
    ) -> tuple[Tensor, State]:
        """The network's values (N, A) and the next state."""
        absent_N0 = torch.empty(len(obs_N), 0, device=self.device)
        memory_NS = state.get("memory", absent_N0)
        given = (obs_N, previous_NP, memory_NS, noise_NE)
        values, memories = zip(*self.compute.infer(self.network.act, *given), strict=True)
        return torch.cat(values), {"memory": torch.cat(memories)} if state else {}


def random_legal(uniform_N: Tensor, legal_NA: Tensor) -> Tensor:
    """Chooses a legal action for each uniform number in [0, 1); returns int64 (N,).

    All legal actions are equally likely.
    """
    chosen_N = (uniform_N * legal_NA.sum(dim=1)).long()
    return (legal_NA.cumsum(dim=1) > chosen_N.unsqueeze(1)).int().argmax(dim=1)
