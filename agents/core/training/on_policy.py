"""On-policy algorithms: they learn from rollouts of the present policy, then discard them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from agents.core.data.rollouts import Rollout
from agents.core.data.targets import AdvantageTargets, Targets
from agents.core.math.schedules import constant
from agents.core.optimize.learner import Learner, LossOutput
from agents.core.policies.policy import ValuePolicy
from agents.core.policies.stochastic import ActorCriticPolicy
from agents.core.training.algorithm import OnlineAlgorithm
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

    def loss(self, batch: Any) -> LossOutput:
        """The loss and metrics of each step of a minibatch."""
        ...


class RolloutAlgorithm(OnlineAlgorithm):
    """Collects rollouts; a method improves the policy on each rollout.

    Args:
        policy: its extras are the fields that a rollout stores.
        method: makes the algorithm's `Method` from its config, the network and the learner.
        targets: says what a rollout stores, and makes the targets and the minibatches.
        exploration: the ε or temperature of training at a step.
    """

    policy: ValuePolicy

    def __init__(
        self,
        config: Any,
        policy: ValuePolicy,
        method: Callable[[Any, Any, Learner], Method],
        targets: Targets,
        exploration: Callable[[int], float] = constant(1.0),
    ):
        super().__init__(config, policy)
        given = (policy.spaces, policy.device, policy.memory_size)
        self.rollout = Rollout(config, *given, targets)
        self.method = method(config, policy.network, self.learner)
        self.loss = self.method.loss
        self.exploration_at = exploration
        self.horizon_steps = config.horizon_steps
        self.steps = 0

    def exploration(self, step: int) -> float:
        return self.exploration_at(step)

    def observe(self, step: Step) -> None:
        beyond = self.rollout.add(step)
        if beyond is not None:
            value_B = self.policy.state_values(beyond.inputs, beyond.state)
            self.rollout.complete(beyond, value_B)

    def end_episodes(self) -> None:
        self.rollout.end_episodes()

    def update(self) -> dict[str, Tensor]:
        """Improves the policy on the rollout, then clears it; returns the method's metrics."""
        metrics = self.method.improve(self.rollout, self.steps)
        self.steps += self.rollout.size
        # Only now: the updates must normalize observations as the policy did when it acted.
        self.policy.observed(self.rollout.kept["obs"])
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


class OnPolicyAlgorithm(RolloutAlgorithm):
    """Improves an actor-critic by the advantages of its rollouts.

    Args:
        method: makes the algorithm's `Method` from its config, the network and the learner.
    """

    def __init__(
        self,
        config: Any,
        policy: ActorCriticPolicy,
        method: Callable[[Any, Any, Learner], Method],
    ):
        super().__init__(config, policy, method, AdvantageTargets(config, policy.previous))
