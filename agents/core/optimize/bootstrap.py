"""Bootstrap targets that value agents share: hard or double, soft (Munchausen), rescaled."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from agents.core.math import losses, munchausen, targets
from agents.core.types.batches import SequenceBatch, Transitions


class Bootstrap:
    """The targets R_n + γⁿ V(s') of a value agent; all of it without a gradient.

    V(s') is the target network's value of the best action: the target network's own, or the
    online network's with `double`. With `is_soft`, V(s') is the soft policy's value. With
    `munchausen`, R_n has a bonus too.

    Args:
        config: the agent's settings (`agents.core.training.config.SoftValueConfig`).
        network: the network in training.
        target: the target network.
    """

    def __init__(self, config: Any, network: Any, target: Any):
        self.config = config
        self.network = network
        self.target = target

    def targets(self, batch: Transitions, next_values: Tensor, q_next_BA: Tensor) -> Tensor:
        """The targets (B,), or (B, J) for J quantiles.

        Args:
            next_values: the target network's values (B, A) in s', or quantiles (B, A, J).
            q_next_BA: the target network's values in s'.
        """
        config = self.config
        reward_B = batch.reward_B
        if config.munchausen > 0:
            reward_B = reward_B + self._bonus(batch)
        if config.is_soft:
            policy_BA = self.select(batch, q_next_BA)
            temperature = config.munchausen_temperature
            legal_BA = batch.next_legal_BA
            next_value = munchausen.soft_value(next_values, policy_BA, temperature, legal_BA)
        else:
            next_value = targets.taken(next_values, self.next_action(batch, q_next_BA))
        return targets.bootstrapped(
            reward_B, batch.discount_B, next_value, config.rescale_values
        ).detach()

    def traced(self, batch: SequenceBatch, q_next_NA: Tensor) -> Tensor:
        """The targets (N,) of sequences, which mix returns of all lengths.

        Args:
            q_next_NA: the target network's values in each step's s'.
        """
        shape = batch.action_BT.shape
        next_action_N = self.next_action(batch, q_next_NA)
        return targets.traced(
            batch.reward_BT,
            batch.discount_BT,
            q_next_NA.unflatten(0, shape),
            next_action_N.view(shape),
            batch.action_BT,
            batch.ended_BT,
            self.config.trace_lambda,
            corrects=self.config.traces == "retrace",
        ).flatten()

    def next_action(self, batch: Transitions, q_next_BA: Tensor) -> Tensor:
        """The action (B,) in s' for the target."""
        return losses.greedy(self.select(batch, q_next_BA), batch.next_legal_BA)

    def select(self, batch: Transitions, q_next_BA: Tensor) -> Tensor:
        """The values (B, A) that prefer actions in s': the network's with `double`."""
        if self.config.double:
            return self.network.q_values(batch.selection_inputs)
        return q_next_BA

    def _bonus(self, batch: Transitions) -> Tensor:
        """Munchausen's bonus (B,) of the action in s.

        Returns of several steps have the bonus of their first step only, as in Beyond The Rainbow
        (https://arxiv.org/abs/2411.03820).
        """
        config = self.config
        return munchausen.bonus(
            self.target.q_values(batch.inputs),
            batch.action_B,
            config.munchausen_temperature,
            config.munchausen,
            config.munchausen_floor,
            batch.legal_BA,
        )
