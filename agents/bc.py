"""Behavior cloning: fits a policy to a demonstrator's actions, as a classifier is fitted.

Efficient training of artificial neural networks for autonomous navigation, Pomerleau 1991,
https://doi.org/10.1162/neco.1991.3.1.88.
  L(θ) = E_demonstrations[ -log π(a|s; θ) ]
The policy learns nothing from the environment, which only scores it. `--demos auto` takes the
shipped demonstrations. Each demonstrated step in a minibatch counts as a step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from agents.core.data import demonstrations as imitation
from agents.core.data.demonstrations import DemoLoader, Demonstrations, DemoSplit
from agents.core.data.settings import ValidatedDemoConfig
from agents.core.math.schedules import constant
from agents.core.nets.distributions import Distribution, join, masked
from agents.core.nets.settings import PolicyNetworkConfig
from agents.core.optimize.learner import LossOutput
from agents.core.policies.stochastic import ClonePolicy, make_clone
from agents.core.training.algorithm import OfflineAlgorithm
from agents.core.training.config import BaseConfig
from agents.core.training.launch import main
from agents.core.types.batches import DemoBatch
from agents.core.types.settings import Pixels, Samples, Steps, require
from agents.core.types.spaces import Spaces
from envs import schema

VALIDATION_STEPS = 8192
"""Most held-out steps of a validation, equally spaced among all."""

STATISTICS_STEPS = 50_000
"""Most steps, equally spaced, whose statistics scale vector observations."""


@dataclass(frozen=True, kw_only=True)
class Config(PolicyNetworkConfig, ValidatedDemoConfig, BaseConfig):
    title = "BC"
    weight_decay: float = 1e-4
    validate_every_steps: Steps = 50_000
    """Two validations are this many steps apart; 0 never validates."""
    patience: int = 0  # This many validations without a smaller loss end the run; 0 never does.
    batch_size: Samples = 256  # A minibatch has this many steps.
    label_smoothing: float = 0.0  # This share of the target is spread over all actions.
    class_weights: bool = False  # Rare actions count as much as common ones.
    shift_pixels: Pixels = 0  # Images shift by up to this many pixels; 4 is usual, Pong needs 0.
    dropout: float = 0.0  # This share of the hidden layer's features is left out.
    eval_temperature: float = 0.0  # Evaluations draw from π^(1/temperature); 0 is the mode.

    def validate(self) -> None:
        super().validate()
        self.at_least(1, "batch_size")
        self.at_least(0, "validate_every_steps", "patience", "shift_pixels", "eval_temperature")
        for name in ("dropout", "label_smoothing"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "from 0 to below 1")


TRAINER = "offline"

PRESETS = {
    "atari": Config(
        learning_rate=constant(5e-4), total_steps=400_000, eval_every_steps=200_000, layer_norm=True
    ),
    "control": Config(
        env_id="CartPole-v1",
        learning_rate=constant(1e-3),
        total_steps=400_000,
        batch_size=64,
        activation="tanh",
        hidden=64,
        eval_every_steps=100_000,
    ),
}
PRESETS["continuous"] = replace(PRESETS["control"], normalize_observations=True)


def make_policy(config: Config, spaces: Spaces, device: torch.device) -> ClonePolicy:
    smoothing = config.label_smoothing
    most = 0 if spaces.continuous else 1
    require(smoothing <= most, "label_smoothing", smoothing, "0 if actions are continuous")
    return make_clone(config, spaces, device)


def make_algorithm(config: Config, policy: ClonePolicy) -> BC:
    spec = config.spec_of(config.env_id)
    demos = imitation.load(config, spec, policy.spaces, policy.device)
    return BC(config, policy, demos)


class BC(OfflineAlgorithm):
    """Fits a policy to the demonstrator's actions."""

    policy: ClonePolicy

    def __init__(self, config: Config, policy: ClonePolicy, demos: DemoSplit):
        super().__init__(config, policy)
        self.demos = demos
        self.reference_scores = demos.reference_scores
        self.batches = make_loader(config, policy, demos.training)
        self.horizon_steps = self.batches.batch_size
        normalizer = policy.network.normalizer
        if normalizer.enabled:
            training = demos.training
            seen = training.observations(training.spread(STATISTICS_STEPS))
            normalizer.update(seen.unsqueeze(0))

    def update(self) -> dict[str, Tensor]:
        return self.learner.update(self.loss, self.batches.draw()).metrics

    def loss(self, batch: DemoBatch) -> LossOutput:
        distribution = self.policy.network(*batch.inputs)
        smoothing = self.config.label_smoothing
        loss_B = -distribution.smoothed_log_prob(batch.action_BK, smoothing)
        metrics = {"losses/bc_loss": loss_B, "losses/entropy": distribution.entropy()}
        return LossOutput(loss_B, metrics)

    def validate(self) -> dict[str, Tensor]:
        """The loss on held-out steps, and the agreement of the actions with the demonstrator's."""
        held_out = self.demos.held_out
        if held_out is None:
            return {}
        index_N = held_out.spread(VALIDATION_STEPS)
        parts = index_N.split(self.horizon_steps)
        distribution = join([self._distribution(held_out, part) for part in parts])
        distribution = masked(distribution, held_out.legal(index_N))
        action_NK = held_out.labels(index_N)
        return {
            "validation/loss": -distribution.log_prob(action_NK).mean(),
            "validation/agreement": imitation.agreement(distribution.mode(), action_NK),
        }

    def _distribution(self, source: Demonstrations, index_B: Tensor) -> Distribution:
        """The policy's distribution for steps of demonstrations, with all actions legal."""
        previous_BP = source.previous(index_B, self.policy.previous)
        return self.policy.distribution(source.observations(index_B), previous_BP)

    def state_dict(self, store: Any) -> dict[str, Any]:
        return {
            "learner": self.learner.state_dict(),
            "batches": self.batches.drawn,
            "demos": self.demos.digest,
        }

    def load_state_dict(self, state: dict[str, Any], store: Any) -> None:
        imitation.require_same(self.demos, state["demos"], self.config.demos)
        self.learner.load_state_dict(state["learner"])
        self.batches.drawn = schema.natural(state["batches"], "batches")


def make_loader(config: Config, policy: ClonePolicy, training: Demonstrations) -> DemoLoader:
    """Makes the loader of minibatches, with a config's weights of steps and augmentation."""
    weight_N = torch.ones(training.size)
    if config.class_weights:
        policy.spaces.require_discrete()
        weight_N = training.balancing(policy.spaces.num_actions)
    return DemoLoader(
        training,
        config.batch_size,
        config.seed,
        weight_N,
        config.shift_pixels,
        config.hidden,
        config.dropout,
        policy.previous,
    )


if __name__ == "__main__":
    main("bc")
