"""The policy: a network that chooses actions, with its spaces and device."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from agents.core.nets.previous import NO_PREVIOUS, PreviousInputs
from agents.core.system.codec import all_like
from agents.core.system.compute import Compute
from agents.core.system.device import to_device
from agents.core.types.env_rng import EnvRng
from agents.core.types.spaces import Spaces
from agents.core.types.step import ActOutput, Obs, PolicyInputs, State

P = TypeVar("P", bound="Policy")


class Policy(ABC):
    """Chooses actions for N environments at a time.

    A policy can be loaded, evaluated, recorded and exported. It has no learner, no optimizer and
    no buffer.

    Args:
        network: the network; it is moved to the device of `compute`.
        spaces: the policy's observations and actions.
        compute: runs the network.
        eval_exploration: ε or temperature of evaluations.

    Attributes:
        explores_by: the name of the exploration, "epsilon" or "temperature".
        most_exploration: the largest allowed exploration.
    """

    explores_by: ClassVar[str]
    most_exploration: ClassVar[float]

    def __init__(
        self, network: nn.Module, spaces: Spaces, compute: Compute, eval_exploration: float
    ):
        self.network: Any = network.to(compute.device)
        self.spaces = spaces
        self.compute = compute
        self.eval_exploration = eval_exploration

    @property
    def device(self) -> torch.device:
        """The device of the network and the state."""
        return self.compute.device

    @property
    def memory_size(self) -> int:
        """Width S of the memory of an episode in the state; 0 without a memory."""
        return 0

    @property
    def previous(self) -> PreviousInputs:
        """The encoding of the previous action and reward that the network sees."""
        return NO_PREVIOUS

    def exploring(self: P) -> P:
        """The policy to train with: this network, with its own noise if it has any."""
        return self

    def initial_state(self, num_envs: int) -> State:
        """The state at the start of `num_envs` episodes: named tensors (N, ...)."""
        return {}

    @abstractmethod
    def act(self, inputs: PolicyInputs, state: State, rng: EnvRng, exploration: float) -> ActOutput:
        """Chooses an action for each environment.

        Every call draws the same number of random numbers. Therefore a run's later random numbers
        do not depend on the exploration.

        Args:
            inputs: the inputs of N environments.
            state: `initial_state`, or the state that the last call returned.
            rng: the environments' random numbers.
            exploration: ε (a share of random actions), or temperature (0 is the likeliest action).
        """

    @abstractmethod
    def diagnostics(self, obs: Obs, state: State) -> dict[str, Tensor]:
        """Outputs of the network for observations (N, ...), shown as histograms."""

    def copy(self: P) -> P:
        """A copy with a network of its own, which takes no gradient."""
        other = copy.copy(self)
        other.network = frozen_copy(self.network)
        return other

    def encoded_previous(self, inputs: PolicyInputs) -> Tensor:
        """The encoded previous action and reward (N, P); P is 0 if the network sees neither."""
        if not self.previous.enabled:
            return torch.empty(len(inputs.reward_N), 0, device=self.device)
        assert inputs.action_N is not None
        action_NK = to_device(self._parts(inputs.action_N), self.device)
        reward_N = to_device(inputs.reward_N, self.device)
        return self.previous.encode(action_NK, reward_N, to_device(inputs.is_first_N, self.device))

    def legal(self, inputs: PolicyInputs) -> Tensor | None:
        """The legal actions (N, A) on the policy's device; None if all are legal."""
        return None if inputs.legal_NA is None else to_device(inputs.legal_NA, self.device)

    def _parts(self, remembered_N: np.ndarray) -> np.ndarray:
        """Previous actions as the encoding takes them, (N, K)."""
        return self.spaces.remembered_parts(remembered_N)

    def weights(self) -> dict[str, Tensor]:
        """The network's tensors by name."""
        return dict(self.network.state_dict())

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Loads the network's weights.

        Raises:
            ValueError: the weights do not fit the network or are not finite; nothing is loaded.
        """
        self.network.load_state_dict(all_like(weights, self.weights(), "weights"))


class NetworkPolicy(Policy):
    """A policy whose network may have a memory, and may see the previous action and reward.

    Its network has the attributes `memory_size` and `previous`. A state holds the memory of a
    network that has one.
    """

    @property
    def memory_size(self) -> int:
        return self.network.memory_size

    @property
    def previous(self) -> PreviousInputs:
        return self.network.previous

    def initial_state(self, num_envs: int) -> State:
        if not self.memory_size:
            return {}
        return self.state_of(torch.zeros(num_envs, self.memory_size, device=self.device))

    def memory_in(self, state: State, num_envs: int) -> Tensor:
        """The memory (N, S) in a state; S is 0 without a memory."""
        return state["memory"] if state else torch.zeros(num_envs, 0, device=self.device)

    def state_of(self, memory_NS: Tensor) -> State:
        """The state that holds a memory; {} without a memory."""
        return {"memory": memory_NS} if self.memory_size else {}

    def given(self, inputs: PolicyInputs, state: State) -> tuple[Tensor, Tensor, Tensor]:
        """The observations, the previous actions and rewards (N, P), and the memory (N, S)."""
        obs_N = to_device(inputs.obs, self.device)
        return obs_N, self.encoded_previous(inputs), self.memory_in(state, len(obs_N))

    def given_alone(self, obs: Obs, state: State) -> tuple[Tensor, Tensor, Tensor]:
        """As `given`, for observations without a previous action and reward."""
        obs_N = to_device(obs, self.device)
        size = len(obs_N)
        no_previous_NP = torch.zeros(size, self.previous.width, device=self.device)
        return obs_N, no_previous_NP, self.memory_in(state, size)


class ValuePolicy(NetworkPolicy):
    """A policy that also values states, for algorithms that learn from rollouts.

    Its extras are the fields that a rollout stores: the obs, the value, and others.
    """

    @abstractmethod
    def state_values(self, inputs: PolicyInputs, state: State) -> Tensor:
        """Values (N,) of N states, given the policy's state."""

    def observed(self, obs_TN: Tensor) -> None:
        """Adds a rollout's observations (T, N, ...) to the statistics that scale observations."""


def frozen_copy(network: nn.Module) -> nn.Module:
    """A copy of a network that takes no gradient and shares no tensor with the original."""
    return copy.deepcopy(network).requires_grad_(False)


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copies the weights and buffers of `source` into `target`, in place."""
    target.load_state_dict(source.state_dict())


def begun(state: State, is_first_N: np.ndarray) -> State:
    """The state with zeros for environments in which an episode begins."""
    if not state or not is_first_N.any():
        return state
    device = next(iter(state.values())).device
    goes_on_N = to_device(~is_first_N, device)
    return {name: each * goes_on_N.view(-1, *[1] * (each.ndim - 1)) for name, each in state.items()}


def joined(states: Sequence[State]) -> State:
    """Joins the states of several groups of environments into one, in order."""
    return {name: torch.cat([each[name] for each in states]) for name in states[0]}
