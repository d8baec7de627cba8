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
from agents.core.data.confusion import Confusion, names_of
from agents.core.data.demonstrations import (
    ONE_STEP,
    DemoLoader,
    Demonstrations,
    DemoSplit,
    Window,
)
from agents.core.data.settings import ValidatedDemoConfig
from agents.core.math.schedules import constant
from agents.core.nets.distributions import Distribution, join
from agents.core.nets.settings import BurnInConfig, PolicyNetworkConfig
from agents.core.optimize.learner import LossOutput
from agents.core.policies.stochastic import ClonePolicy, make_clone
from agents.core.training.algorithm import OfflineAlgorithm
from agents.core.training.config import BaseConfig
from agents.core.training.launch import main
from agents.core.types.batches import DemoBatch
from agents.core.types.settings import Pixels, Samples, require
from agents.core.types.spaces import Spaces
from envs import schema

VALIDATION_STEPS = 8192
"""Most held-out steps of a validation, equally spaced among all."""

STATISTICS_STEPS = 50_000
"""Most steps, equally spaced, whose statistics scale vector observations."""


@dataclass(frozen=True, kw_only=True)
class Config(BurnInConfig, PolicyNetworkConfig, ValidatedDemoConfig, BaseConfig):
    title = "BC"
    weight_decay: float = 1e-4
    batch_size: Samples = 256  # A minibatch has this many steps.
    label_smoothing: float = 0.0  # This share of the target is spread over all actions.
    class_weights: bool = False  # Rare actions count as much as common ones.
    shift_pixels: Pixels = 0  # Images shift by up to this many pixels; 4 is usual, Pong needs 0.
    dropout: float = 0.0  # This share of the hidden layer's features is left out.
    eval_temperature: float = 0.0  # Evaluations draw from π^(1/temperature); 0 is the mode.

    def validate(self) -> None:
        super().validate()
        self.at_least(1, "batch_size")
        self.at_least(0, "shift_pixels", "eval_temperature")
        for name in ("dropout", "label_smoothing"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "from 0 to below 1")
        if self.core != "none":
            self.multiple_of("sequence_steps", "batch_size")


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
    return BC(config, policy, demos, names_of(spec, policy.spaces))


class BC(OfflineAlgorithm):
    """Fits a policy to the demonstrator's actions.

    Args:
        action_names: the names of the actions, whose agreement is measured; () for none.
    """

    policy: ClonePolicy

    def __init__(
        self,
        config: Config,
        policy: ClonePolicy,
        demos: DemoSplit,
        action_names: tuple[str, ...] = (),
    ):
        super().__init__(config, policy)
        self.demos = demos
        self.action_names = action_names
        self.reference_scores = demos.reference_scores
        self.window = window_of(config, policy, demos.training)
        self.batches = make_loader(config, policy, demos.training, self.window)
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
        loss_N = -distribution.smoothed_log_prob(batch.action_NK, smoothing)
        metrics = {"losses/bc_loss": loss_N, "losses/entropy": distribution.entropy()}
        return LossOutput(loss_N, metrics)

    def validate(self) -> dict[str, Tensor]:
        """The loss on held-out steps, and the agreement of the actions with the demonstrator's."""
        held_out = self.demos.held_out
        if held_out is None or len(held_out.taught_M) == 0:
            return {}
        window = replace(self.window, steps=min(self.window.steps, held_out.size))
        first_M = held_out.spread_windows(VALIDATION_STEPS, window)
        parts = [
            self.judge(held_out.minibatch(first_B, self.policy.previous, window))
            for first_B in first_M.split(self.batches.rows)
        ]
        log_prob_N, chosen_NK, action_NK = (torch.cat(each) for each in zip(*parts, strict=True))
        if len(log_prob_N) == 0:
            return {}
        metrics = {
            "validation/loss": -log_prob_N.mean(),
            "validation/agreement": imitation.agreement(chosen_NK, action_NK),
        }
        if self.action_names:
            self.confusion = Confusion.of(action_NK, chosen_NK, self.action_names)
            metrics |= self.confusion.metrics()
        return metrics

    @torch.no_grad()
    def judge(self, batch: DemoBatch) -> tuple[Tensor, Tensor, Tensor]:
        """The log-probabilities, the policy's actions and the demonstrator's, where it has some."""
        compute = self.policy.compute
        shards = [(shard,) for shard in batch.split(compute.shards)]
        distribution = join(compute.shared(self._distribution, shards))
        action_NK = batch.action_NK
        labeled_N = batch.weight > 0
        log_prob_N = distribution.log_prob(action_NK)
        return log_prob_N[labeled_N], distribution.mode()[labeled_N], action_NK[labeled_N]

    def _distribution(self, batch: DemoBatch) -> Distribution:
        # Both settings apply only to the present thread.
        with torch.no_grad(), self.policy.compute.autocast():
            return self.policy.network(*batch.inputs)

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


def window_of(config: Config, policy: ClonePolicy, training: Demonstrations) -> Window:
    """The steps of a row of a minibatch: one without a core, and no more than there are."""
    if not policy.memory_size:
        return ONE_STEP
    steps = min(config.sequence_steps, training.size)
    return Window(steps, config.burn_in_steps, policy.memory_size)


def make_loader(
    config: Config, policy: ClonePolicy, training: Demonstrations, window: Window
) -> DemoLoader:
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
        window,
    )


if __name__ == "__main__":
    main("bc")
