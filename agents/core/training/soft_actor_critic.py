"""Soft actor-critics: a policy of maximum entropy, whose critics an algorithm's own file trains.

Haarnoja et al. 2018, https://arxiv.org/abs/1812.05905. With V(s) = min_e Q_e(s, a) - α log π(a|s)
and a ~ π(s):
  L(π) = E[ -V(s_t; Q) ],   L(α) = E[ log α (-log π(a|s_t) - H̄) ]
For discrete actions, V is a sum over all actions: Christodoulou 2019,
https://arxiv.org/abs/1910.07207.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from agents.core.math import soft_actor_critic as losses
from agents.core.math import targets
from agents.core.nets.critics import ActionCritics, Actor, ChoiceCritics, Critics
from agents.core.nets.distributions import CategoricalHead, masked
from agents.core.nets.squashed import SquashedGaussianHead
from agents.core.optimize.learner import LossOutput, Part, Update
from agents.core.policies.soft import OffPolicyActor
from agents.core.system.compute import Compute
from agents.core.training.config import OffPolicyActorConfig
from agents.core.training.off_policy_actor import NoisyBatch, OffPolicyActorCritic
from agents.core.types.spaces import Spaces


@dataclass(frozen=True, kw_only=True)
class SoftActorConfig(OffPolicyActorConfig):
    """The settings of every agent with a policy of maximum entropy."""

    alpha: float = 1.0
    """The entropy's first weight in the value, α."""
    learn_alpha: bool = True
    """α follows the target entropy H̄; else it stays."""
    entropy_per_dimension: float = -1.0
    """H̄ of a Box is this for each dimension, scaled to [-1, 1]."""
    entropy_share: float = 0.5
    """H̄ of discrete actions is this share of the most, log |A|."""

    def validate(self) -> None:
        super().validate()
        self.above_zero("alpha")
        self.within_unit("entropy_share")


class States(NamedTuple):
    """States of a minibatch, s or s', with what a policy needs there.

    Attributes:
        obs: observations (B, ...).
        previous_BP: previous actions and rewards; None if the networks do not see them.
        legal_BA: bool, the legal actions; None if all are legal.
        normal_BK: normal numbers for actions of a Box.
    """

    obs: Tensor
    previous_BP: Tensor | None
    legal_BA: Tensor | None
    normal_BK: Tensor

    @classmethod
    def before(cls, batch: NoisyBatch) -> States:
        """The states s of a minibatch."""
        return cls(batch.obs, batch.previous_BP, batch.legal_BA, batch.normal_BK)

    @classmethod
    def after(cls, batch: NoisyBatch) -> States:
        """The states s' of a minibatch."""
        normal_BK = batch.next_normal_BK
        return cls(batch.next_obs, batch.next_previous_BP, batch.next_legal_BA, normal_BK)


class SoftPolicy(Protocol):
    """The policy's side of a soft actor-critic, for one kind of actions."""

    target_entropy: float

    def value(self, critics: Any, states: States, alpha: Tensor) -> Tensor:
        """V(s) of the policy under critics, shape (B,)."""
        ...

    def taken(self, critics: Any, batch: NoisyBatch) -> Tensor:
        """The critics' values (E, B) of the actions taken in s."""
        ...

    def loss(self, critics: Any, states: States, alpha: Tensor) -> tuple[Tensor, Tensor]:
        """-V(s), whose gradient improves the policy, and the policy's entropy, each (B,)."""
        ...


class BoxPolicy:
    """Draws the actions of a Box from a squashed Gaussian, through which the gradient flows."""

    def __init__(self, actor: Any, config: SoftActorConfig, spaces: Spaces):
        self.actor = actor
        self.target_entropy = config.entropy_per_dimension * spaces.action_parts

    def value(self, critics: Any, states: States, alpha: Tensor) -> Tensor:
        value_B, _ = self._drawn(critics, states, alpha)
        return value_B

    def taken(self, critics: Any, batch: NoisyBatch) -> Tensor:
        return critics(batch.obs, batch.action_B, batch.previous_BP)

    def loss(self, critics: Any, states: States, alpha: Tensor) -> tuple[Tensor, Tensor]:
        value_B, log_prob_B = self._drawn(critics, states, alpha)
        return -value_B, -log_prob_B.detach()

    def _drawn(self, critics: Any, states: States, alpha: Tensor) -> tuple[Tensor, Tensor]:
        """V(s) by one drawn action, and the action's log π."""
        distribution = self.actor(states.obs, states.previous_BP)
        action_BK, log_prob_B = distribution.draw(states.normal_BK)
        q_EB = critics(states.obs, action_BK, states.previous_BP)
        return losses.soft_value(q_EB, log_prob_B, alpha), log_prob_B


class ChoicePolicy:
    """Sums over all discrete actions in place of drawing some."""

    def __init__(self, actor: Any, config: SoftActorConfig, spaces: Spaces):
        self.actor = actor
        self.target_entropy = config.entropy_share * math.log(spaces.combinations)

    def value(self, critics: Any, states: States, alpha: Tensor) -> Tensor:
        log_prob_BA = self._log_probs(states)
        q_EBA = critics(states.obs, states.previous_BP)
        return losses.expected_soft_value(q_EBA, log_prob_BA, alpha)

    def taken(self, critics: Any, batch: NoisyBatch) -> Tensor:
        q_EBA = critics(batch.obs, batch.previous_BP)
        return targets.taken(q_EBA, batch.action_B.expand(len(q_EBA), -1))

    def loss(self, critics: Any, states: States, alpha: Tensor) -> tuple[Tensor, Tensor]:
        log_prob_BA = self._log_probs(states)
        with torch.no_grad():
            q_EBA = critics(states.obs, states.previous_BP)
        value_B = losses.expected_soft_value(q_EBA, log_prob_BA, alpha)
        return -value_B, losses.entropy(log_prob_BA).detach()

    def _log_probs(self, states: States) -> Tensor:
        """log π(·|s), shape (B, A); -inf for illegal actions."""
        policy: Any = masked(self.actor(states.obs, states.previous_BP), states.legal_BA)
        return policy.log_probs[0]


class Temperature(nn.Module):
    """The weight α of the entropy, as its log."""

    def __init__(self, alpha: float):
        super().__init__()
        self.log_alpha = nn.Parameter(torch.tensor(math.log(alpha)))


class SoftActorCritic(OffPolicyActorCritic):
    """Trains a policy to maximize critics and its entropy; a subclass trains the critics.

    Attributes:
        soft: the policy's side, for the kind of actions.
    """

    config: Any

    def __init__(self, config: SoftActorConfig, policy: OffPolicyActor, **options: Any):
        super().__init__(config, policy, make_critics(config, policy.spaces), **options)
        kind = BoxPolicy if policy.spaces.continuous else ChoicePolicy
        self.soft: SoftPolicy = kind(self.actor, config, policy.spaces)
        temperature = Temperature(config.alpha).to(policy.device)
        self.log_alpha = temperature.log_alpha
        self.learner.parts["temperature"] = Part(temperature, config, in_policy=False)
        self.actor_parts = ("policy", "temperature") if config.learn_alpha else ("policy",)

    @abstractmethod
    def critic_loss(self, batch: NoisyBatch) -> LossOutput:
        """The critics' loss, priority and metrics of each transition."""

    def improve(self, batch: NoisyBatch) -> Update:
        critic = self.learner.update(self.critic_loss, batch, ("critic",))
        actor = self.learner.update(self.actor_loss, batch, self.actor_parts)
        return Update({**actor.metrics, **critic.metrics}, critic.priority_B)

    @property
    def alpha(self) -> Tensor:
        return self.log_alpha.detach().exp()

    def actor_loss(self, batch: NoisyBatch) -> LossOutput:
        policy_B, entropy_B = self.soft.loss(self.critic, States.before(batch), self.alpha)
        alpha_B = losses.temperature(self.log_alpha, entropy_B, self.soft.target_entropy)
        metrics = {
            "losses/actor_loss": policy_B,
            "losses/alpha_loss": alpha_B,
            "losses/alpha": self.alpha.expand(batch.size),
            "losses/entropy": entropy_B,
        }
        return LossOutput(policy_B + alpha_B, metrics)


def make_critics(config: SoftActorConfig, spaces: Spaces) -> Critics:
    """Makes two critics: of actions of a Box, or of all choices."""
    return ActionCritics(config, spaces) if spaces.continuous else ChoiceCritics(config, spaces)


def make_soft_actor(config: Any, spaces: Spaces, device: torch.device) -> OffPolicyActor:
    """Makes a policy of maximum entropy, with initial weights.

    Args:
        config: the settings (`SoftActorConfig`).
        spaces: the policy's observations and actions.
        device: the device of the network.

    Raises:
        UserError: the actions of a Box have no bounds, or discrete ones have too many combinations.
    """
    if spaces.continuous:
        head: nn.Module = SquashedGaussianHead(config.hidden, spaces)
    else:
        spaces.require_few_combinations()
        head = CategoricalHead(config.hidden, (spaces.combinations,))
    network = Actor(config, spaces, head)
    compute = Compute.of(network, config, device)
    return OffPolicyActor(network, spaces, compute, config.eval_temperature)
