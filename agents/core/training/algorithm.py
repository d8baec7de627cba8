"""Algorithms improve a policy. They own learners and buffers; their policy acts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from agents.core.data.confusion import Confusion
from agents.core.optimize.learner import Learner, Part, WeightAverage
from agents.core.policies.policy import Policy
from agents.core.system.codec import all_like
from agents.core.types.step import Step


class Algorithm(ABC):
    """Improves a policy.

    Args:
        config: the algorithm's own config.
        policy: the policy to improve, on its device.

    Attributes:
        policy: acts in training; `learner` changes its network.
        learner: trains the part "policy", and other parts that an algorithm adds.
        horizon_steps: steps between two calls of `update`, of each environment or of the
            demonstrations.
        reference_scores: mean returns of random play and of the demonstrator; equal if there is no
            demonstrator.
    """

    horizon_steps: int
    reference_scores: tuple[float, float] = (0.0, 0.0)

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
        """The policy to evaluate and save: `policy`, or a running mean of its weights."""
        if self._average is not None:
            self._average.copy_buffers()
        return self._averaged_policy

    def exploration(self, step: int) -> float:
        """The ε or temperature of training at a step; by default 1."""
        return 1.0

    @abstractmethod
    def update(self) -> dict[str, Tensor]:
        """Learns from the stored data; returns metrics to average, or {} if no update is due."""

    @abstractmethod
    def state_dict(self, store: Any) -> dict[str, Any]:
        """The state that an exact resume needs, without the policy's weights.

        Args:
            store: receives the frames of a replay (`agents.core.data.replay_store.ChunkStore`).
        """

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any], store: Any) -> None:
        """Loads a state of `state_dict`; the weights must be loaded before.

        Raises:
            ValueError: the state comes from another algorithm or config.
        """

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Loads weights to act with and to go on learning from.

        Raises:
            ValueError: the weights do not fit the network or are not finite; nothing is loaded.
        """
        fitting = all_like(weights, self._averaged_policy.weights(), "weights")
        self.policy.load_weights(fitting)
        self._averaged_policy.load_weights(fitting)


class OnlineAlgorithm(Algorithm):
    """An algorithm that learns from the steps of its own policy.

    Attributes:
        can_overlap: whether `update` may run before the last step is observed.
    """

    can_overlap = False

    @abstractmethod
    def observe(self, step: Step) -> None:
        """Stores one step of some environments."""

    @abstractmethod
    def end_episodes(self) -> None:
        """Ends all current episodes; their last steps were not observed."""


class OfflineAlgorithm(Algorithm):
    """An algorithm that learns from demonstrations.

    Its config is an `agents.core.data.settings.ValidatedDemoConfig`.

    Attributes:
        confusion: the choices of demonstrator and policy in the last validation; None if they are
            not counted.
    """

    confusion: Confusion | None = None

    @abstractmethod
    def validate(self) -> dict[str, Tensor]:
        """Metrics of the held-out steps, with "validation/loss"; {} if no step is held out."""
