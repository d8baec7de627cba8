"""The optimisation step: number format, gradient clipping, fused optimiser, target copies."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from agents.core.device import resolve_precision


def fast_adam(parameters: Any, learning_rate: float, epsilon: float) -> torch.optim.Optimizer:
    """Adam (https://arxiv.org/abs/1412.6980), one kernel for all parameters."""
    return torch.optim.Adam(parameters, lr=learning_rate, eps=epsilon, fused=True)


def nature_rmsprop(parameters: Any, learning_rate: float, epsilon: float) -> torch.optim.Optimizer:
    """Centred RMSProp as in Mnih et al. 2015, extended data table 1."""
    return torch.optim.RMSprop(
        parameters, lr=learning_rate, alpha=0.95, eps=epsilon, centered=True, foreach=True
    )


OPTIMISERS = {"adam": fast_adam, "rmsprop": nature_rmsprop}


class LearnerConfig(Protocol):
    """The settings a learner reads from an algorithm's config."""

    @property
    def optimiser(self) -> str: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def optimiser_epsilon(self) -> float: ...
    @property
    def max_grad_norm(self) -> float: ...
    @property
    def precision(self) -> str: ...


class Learner:
    """Owns a network, its device and number format, and the way it is updated.

    The network is moved to the device with convolutions in channels_last; parameters stay
    float32 in every precision.
    """

    def __init__(self, network: nn.Module, config: LearnerConfig, device: torch.device):
        self.device, self.precision = device, resolve_precision(config.precision, device)
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.parameters = list(self.network.parameters())
        make_optimiser = OPTIMISERS[config.optimiser]
        self.optimiser = make_optimiser(
            self.parameters, config.learning_rate, config.optimiser_epsilon
        )
        self.max_grad_norm = config.max_grad_norm or float("inf")

    def autocast(self) -> AbstractContextManager[Any]:
        """Inside it, matrix products run in the learner's precision."""
        return torch.autocast(
            self.device.type, self.precision, enabled=self.precision != torch.float32
        )

    def target_copy(self) -> nn.Module:
        """A copy of the network that takes no gradient: a target network."""
        return copy.deepcopy(self.network).requires_grad_(False)

    def update(self, loss_B: Tensor, weight_B: Tensor) -> dict[str, Tensor]:
        """One step down the weighted mean of the losses; returns detached metrics."""
        loss = (loss_B * weight_B).mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm, foreach=True)
        self.optimiser.step()
        return {"losses/td_loss": loss.detach(), "losses/grad_norm": norm.detach()}

    @torch.no_grad()
    def epsilon_greedy(
        self, obs: np.ndarray, epsilon: float, generator: torch.Generator
    ) -> np.ndarray:
        """For each observation the action of highest value, or with probability ε any (int64).

        The draws are made whatever ε is, so that a run's randomness does not depend on it.
        """
        with self.autocast():
            q_BA = self.network(torch.from_numpy(obs).to(self.device, non_blocking=True))
        batch, num_actions = q_BA.shape
        explore_B = torch.rand(batch, generator=generator) < epsilon
        random_B = torch.randint(num_actions, (batch,), generator=generator)
        return torch.where(explore_B, random_B, q_BA.argmax(dim=1).cpu()).numpy()

    def weights(self) -> dict[str, Tensor]:
        """The network's tensors: what acting needs."""
        return dict(self.network.state_dict())

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        self.network.load_state_dict(weights)

    def state_dict(self) -> dict[str, Any]:
        """The optimiser's state; the weights are saved apart."""
        moments = self.optimiser.state_dict()["state"]
        return {str(index): moment for index, moment in moments.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        moments = {int(index): moment for index, moment in state.items()}
        self.optimiser.load_state_dict(self.optimiser.state_dict() | {"state": moments})
        # Fused kernels pair elements by their place in memory, and checkpoints are contiguous.
        for parameter, moment in self.optimiser.state.items():
            for name, value in moment.items():
                if value.shape == parameter.shape:
                    moment[name] = torch.empty_like(parameter).copy_(value)


def copy_parameters(source: nn.Module, target: nn.Module) -> None:
    """Make `target` equal to `source`, in place."""
    with torch.no_grad():
        for old, new in zip(target.parameters(), source.parameters(), strict=True):
            old.copy_(new)
