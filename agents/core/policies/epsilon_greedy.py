"""The ε-greedy policy of a Q-network."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.core.policies.policy import Policy
from agents.core.system.device import to_device
from agents.core.types.env_rng import EnvRng
from agents.core.types.step import ActOutput, Obs, PolicyInputs, State


class EpsilonGreedyPolicy(Policy):
    """Chooses the action of the highest value, or a random action with probability ε.

    The network's method `q_values` maps observations (N, ...) to values (N, A). A counts the
    combinations of an action's parts.
    """

    explores_by = "epsilon"
    most_exploration = 1.0

    @torch.no_grad()
    def act(self, inputs: PolicyInputs, state: State, rng: EnvRng, exploration: float) -> ActOutput:
        q_NA = self._q_values(inputs.obs)
        explore_N, which_N = rng.uniform(2).unbind(dim=1)
        if inputs.legal_NA is None:
            random_N = (which_N * q_NA.shape[1]).long()
        else:
            legal_NA = inputs.legal_NA.to(q_NA.device)
            q_NA = q_NA.masked_fill(~legal_NA, -torch.inf)
            random_N = random_legal(which_N, inputs.legal_NA.cpu())
        index_N = torch.where(explore_N < exploration, random_N, q_NA.argmax(dim=1).cpu())
        return ActOutput(self.spaces.playable_combination(index_N.numpy()), state)

    @torch.no_grad()
    def diagnostics(self, obs: Obs, state: State) -> dict[str, Tensor]:
        return {"q_values": self._q_values(obs)}

    def _q_values(self, obs: Obs) -> Tensor:
        obs_N = to_device(obs, self.device)
        return torch.cat(self.compute.infer(self.network.q_values, obs_N))


def random_legal(uniform_N: Tensor, legal_NA: Tensor) -> Tensor:
    """Chooses a legal action for each uniform number in [0, 1); returns int64 (N,).

    All legal actions are equally likely.
    """
    chosen_N = (uniform_N * legal_NA.sum(dim=1)).long()
    return (legal_NA.cumsum(dim=1) > chosen_N.unsqueeze(1)).int().argmax(dim=1)
