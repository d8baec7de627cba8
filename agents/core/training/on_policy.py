"""On-policy algorithms: they learn from rollouts of the present policy, then discard them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from agents.core.data.rollouts import Rollout
from agents.core.optimize.learner import Learner, LossOutput
from agents.core.policies.stochastic import ActorCriticPolicy
from agents.core.training.algorithm import OnlineAlgorithm
from agents.core.types.batches import Sequences
from agents.core.types.step import Step
from envs import schema


class Method(Protocol):
    """The mathematics of an on-policy algorithm."""

    def improve(self, rollout: Rollout, step: int) -> dict[str, Tensor]:
        """Updates the network on a rollout; returns metrics to log.

        Args:
            step: step of the run at which the rollout begins.
        """
        ...

    def loss(self, batch: Sequences) -> LossOutput:
        """The loss and metrics of each step of a minibatch."""
        ...


class OnPolicyAlgorithm(OnlineAlgorithm):
    """Collects rollouts of an actor-critic; a method improves the policy on each rollout.

    Args:
        method: makes the algorithm's `Method` from its config, the network and the learner.
    """

    policy: ActorCriticPolicy

    def __init__(
        self,
        config: Any,
        policy: ActorCriticPolicy,
        method: Callable[[Any, Any, Learner], Method],
    ):
        super().__init__(config, policy)
        self.rollout = Rollout(config, policy.spaces, policy.device, policy.memory_size)
        self.method = method(config, policy.network, self.learner)
        self.loss = self.method.loss
        self.horizon_steps = config.horizon_steps
        self.steps = 0

    def observe(self, step: Step) -> None:
        beyond = self.rollout.add(step)
        if beyond is not None:
            self.rollout.complete(beyond, self.policy.values(beyond.obs_B, beyond.state))

    def end_episodes(self) -> None:
        self.rollout.end_episodes()

    def update(self) -> dict[str, Tensor]:
        """Improves the policy on the rollout, then clears it; returns the method's metrics."""
        metrics = self.method.improve(self.rollout, self.steps)
        self.steps += self.rollout.size
        # Only now: the updates must normalize observations as the policy did when it acted.
        self.policy.network.normalizer.update(self.rollout.kept["obs"])
        self.rollout.clear()
        return metrics

    def state_dict(self, store: Any) -> dict[str, Any]:
        return {
            "learner": self.learner.state_dict(),
            "rollout": self.rollout.state_dict(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any], store: Any) -> None:
        self.learner.load_state_dict(state["learner"])
        self.rollout.load_state_dict(state["rollout"])
        self.steps = schema.natural(state["steps"], "steps")
