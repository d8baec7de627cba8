"""Algorithms: what improves a policy. They own learners and buffers; their policy acts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from agents.core.optimize.learner import Learner, Part, WeightAverage
from agents.core.policies.policy import Policy
from agents.core.system.codec import all_like
from agents.core.types.step import Step


class Algorithm(ABC):
    """Improves a policy.

    Args:
        config: the algorithm's own.
        policy: the policy to improve, on its device.

    Attributes:
        policy: acts in training; `learner` changes its network.
        learner: trains the part "policy", and what other parts an algorithm adds.
        horizon_steps: steps between two calls of `update`: of each environment, or demonstrated.
    """

    horizon_steps: int

    def __init__(self, config: Any, policy: Policy):
        self.config = config
        self.policy = policy
        self._averaged_policy = policy.copy() if config.ema_updates else policy
        self._average = None
        if config.ema_updates:
            averaged = self._averaged_policy.network
            self._average = WeightAverage(policy.network, averaged, config.ema_updates)
        part = Part(policy.network, config, self._average)
        self.learner = Learner(policy.compute, {"policy": part})

    @property
    def eval_policy(self) -> Policy:
        """The policy that is evaluated and saved: `policy`, or a running mean of its weights."""
        if self._average is not None:
            self._average.copy_buffers()
        return self._averaged_policy

    def exploration(self, step: int) -> float:
        """The ε or temperature of training at a step; the temperature is 1."""
        return 1.0

    @abstractmethod
    def update(self) -> dict[str, Tensor]:
        """Learn from what there is; returns metrics to average, {} when it is not time."""

    @abstractmethod
    def state_dict(self, store: Any) -> dict[str, Any]:
        """Everything but the policy's weights that an exact resume needs.

        Args:
            store: takes the frames of a replay (`agents.core.data.replay_store.ChunkStore`).
        """

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any], store: Any) -> None:
        """Take up from `state_dict`, after the weights.

        Raises:
            ValueError: it is the state of another algorithm or config.
        """

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Act with these weights, and learn on from them.

        Raises:
            ValueError: they are of another network, or not finite; then nothing is loaded.
        """
        fitting = all_like(weights, self._averaged_policy.weights(), "weights")
        self.policy.load_weights(fitting)
        self._averaged_policy.load_weights(fitting)


class OnlineAlgorithm(Algorithm):
    """An algorithm that learns from what its policy does.

    Attributes:
        can_overlap: whether `update` may run before the last step was observed.
    """

    can_overlap = False

    @abstractmethod
    def observe(self, step: Step) -> None:
        """Take in one step of some environments."""

    @abstractmethod
    def end_episodes(self) -> None:
        """All episodes under way are over, although their ends were not seen."""


class OfflineAlgorithm(Algorithm):
    """An algorithm that learns from demonstrations.

    Its config has `validate_every_steps` and `patience`.

    Attributes:
        reference_scores: mean returns of random play and of the demonstrator.
    """

    reference_scores: tuple[float, float]

    @abstractmethod
    def validate(self) -> dict[str, Tensor]:
        """ "validation/loss" and more of held-out steps; {} where nothing is held out."""
