"""The policy: a network that chooses actions, and all that is needed to load and play it."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from agents.core.system.codec import all_like
from agents.core.system.compute import Compute
from agents.core.system.device import to_device
from agents.core.types.env_rng import EnvRng
from agents.core.types.spaces import Spaces
from agents.core.types.step import ActOutput, Obs, PolicyInputs, State

P = TypeVar("P", bound="Policy")


class Policy(ABC):
    """Chooses actions for N environments at a time.

    It is what is loaded, evaluated, recorded with and exported. It has no learner, no optimizer
    and no buffer.

    Args:
        network: is moved to the device of `compute`.
        spaces: the observations it takes and the actions it chooses.
        compute: how the network runs.
        eval_exploration: ε or temperature of evaluations.

    Attributes:
        explores_by: the name of its exploration, "epsilon" or "temperature".
        most_exploration: the largest value that makes sense.
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
        """Where the network and the state are."""
        return self.compute.device

    def initial_state(self, num_envs: int) -> State:
        """What it remembers of `num_envs` episodes that begin: named tensors (N, ...)."""
        return {}

    @abstractmethod
    def act(self, inputs: PolicyInputs, state: State, rng: EnvRng, exploration: float) -> ActOutput:
        """Choose an action for each environment.

        Random numbers are drawn whatever the exploration is, so that a run's randomness does not
        depend on it.

        Args:
            inputs: of N environments.
            state: `initial_state`, or the state that the last call returned.
            rng: the environments' random numbers.
            exploration: ε (a share of random actions), or temperature (0 is the likeliest action).
        """

    @abstractmethod
    def diagnostics(self, obs: Obs, state: State) -> dict[str, Tensor]:
        """Outputs of the network for observations (N, ...), to be shown as histograms."""

    def copy(self: P) -> P:
        """A policy with a network of its own, which takes no gradient."""
        other = copy.copy(self)
        other.network = frozen_copy(self.network)
        return other

    def weights(self) -> dict[str, Tensor]:
        """The network's tensors by name."""
        return dict(self.network.state_dict())

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Act with these weights from now on.

        Raises:
            ValueError: they are of another network, or not finite; then nothing is loaded.
        """
        self.network.load_state_dict(all_like(weights, self.weights(), "weights"))


def frozen_copy(network: nn.Module) -> nn.Module:
    """A copy of a network that takes no gradient and shares no tensor with it."""
    return copy.deepcopy(network).requires_grad_(False)


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Make `target` equal to `source`, its buffers too, in place."""
    target.load_state_dict(source.state_dict())


def begun(state: State, is_first_N: np.ndarray) -> State:
    """The state with zeros for environments in which an episode begins."""
    if not state or not is_first_N.any():
        return state
    device = next(iter(state.values())).device
    goes_on_N = to_device(~is_first_N, device)
    return {name: each * goes_on_N.view(-1, *[1] * (each.ndim - 1)) for name, each in state.items()}


def joined(states: Sequence[State]) -> State:
    """The states of several groups of environments as one, in order."""
    return {name: torch.cat([each[name] for each in states]) for name in states[0]}
