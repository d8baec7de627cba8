"""Behavior cloning: a policy fitted to what a demonstrator did, as any classifier is.

Efficient training of artificial neural networks for autonomous navigation, Pomerleau 1991,
https://doi.org/10.1162/neco.1991.3.1.88.
  L(θ) = E_demonstrations[ -log π(a|s; θ) ]
Nothing is learned from the environment; it only scores the clone. `--demos auto` takes the shipped
demonstrations, and a step is a demonstrated step that was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from agents.core.data import demonstrations as imitation
from agents.core.data.demonstrations import DemoLoader
from agents.core.data.settings import DemoConfig
from agents.core.math.schedules import constant
from agents.core.nets.distributions import join
from agents.core.nets.networks import PolicyNetwork
from agents.core.nets.settings import PolicyNetworkConfig
from agents.core.optimize.acting import imitate, policy_of
from agents.core.optimize.learner import Learner
from agents.core.training.config import BaseConfig
from agents.core.training.launch import main
from agents.core.types.batches import DemoBatch
from agents.core.types.env_rng import EnvRng
from agents.core.types.settings import Pixels, Samples, Steps, require
from agents.core.types.spaces import Spaces
from agents.core.types.step import ActOutput, Obs
from envs import UserError, schema

VALIDATION_STEPS = 8192
"""Held-out steps of a validation at most, of all of them at equal distances."""

STATISTICS_STEPS = 50_000
"""Steps, chosen so, that vector observations are scaled by."""


@dataclass(frozen=True, kw_only=True)
class Config(PolicyNetworkConfig, DemoConfig, BaseConfig):
    title = "BC"
    weight_decay: float = 1e-4
    validate_every_steps: Steps = 50_000  # Two validations are this far apart; 0 never validates.
    patience: int = 0  # This many validations without a smaller loss end the run; 0 never does.
    batch_size: Samples = 256  # A minibatch has this many steps.
    label_smoothing: float = 0.0  # This share of the target is spread over all actions.
    class_weights: bool = False  # Rare actions count as much as common ones.
    shift_pixels: Pixels = 0  # Images move by up to this, each way; 4 is usual, Pong wants 0.
    dropout: float = 0.0  # This share of the hidden layer's features is left out.
    eval_temperature: float = 0.0  # Evaluations draw from π^(1/temperature); 0 is the mode.

    def validate(self) -> None:
        super().validate()
        self.at_least(1, "batch_size")
        self.at_least(0, "validate_every_steps", "patience", "shift_pixels", "eval_temperature")
        for name in ("dropout", "label_smoothing"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "from 0 to below 1")


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


def build(config: Config, spaces: Spaces, device: torch.device) -> BC:
    smoothing, most = config.label_smoothing, 0 if spaces.continuous else 1
    require(smoothing <= most, "label_smoothing", smoothing, "0 where actions are continuous")
    return BC(config, spaces, PolicyNetwork(config, spaces), device)


class BC:
    """Does what the demonstrator would, as far as it was seen."""

    explores_by, memory_size = "temperature", 0

    def __init__(
        self, config: Config, spaces: Spaces, network: PolicyNetwork, device: torch.device
    ):
        self.config, self.spaces, self.network = config, spaces, network
        self.learner = Learner(network, config, device)
        self.horizon_steps, self.exploration = config.batch_size, constant(1.0)

    def prepare(self) -> None:
        config, network = self.config, self.network
        spec = config.spec_of(config.env_id)
        self.lesson = imitation.load(config, spec, self.spaces, self.learner.device)
        self.reference_scores, training = self.lesson.reference_scores, self.lesson.training
        weight_N = torch.ones(training.size)
        if config.class_weights:
            self.spaces.require_discrete()
            weight_N = training.balancing(self.spaces.num_actions)
        augmented = (config.shift_pixels, config.hidden, config.dropout)
        self.batches = DemoLoader(training, config.batch_size, config.seed, weight_N, *augmented)
        self.horizon_steps = self.batches.batch_size
        if network.normalizer.enabled:
            seen = training.observations(training.spread(STATISTICS_STEPS))
            network.normalizer.update(seen.unsqueeze(0))

    def act(self, obs: Obs, memory_NS: Tensor, rng: EnvRng, exploration: float) -> ActOutput:
        return ActOutput(imitate(self.learner, self.spaces, obs, rng, exploration), memory_NS)

    def learn(self) -> dict[str, Tensor]:
        return self.learner.update(self.loss, self.batches.draw())[0]

    def loss(self, batch: DemoBatch) -> tuple[Tensor, dict[str, Tensor]]:
        policy = self.learner.network(batch.obs, batch.kept_BF)
        loss_B = -policy.smoothed_log_prob(batch.action_BK, self.config.label_smoothing)
        return loss_B, {"losses/bc_loss": loss_B, "losses/entropy": policy.entropy()}

    def validate(self) -> dict[str, Tensor]:
        """Of held-out steps: how unlikely the demonstrator's actions are, and which are equal."""
        if (held_out := self.lesson.held_out) is None:
            return {}
        index_N = held_out.spread(VALIDATION_STEPS)
        parts = index_N.split(self.horizon_steps)
        policies = [policy_of(self.learner, held_out.observations(part)) for part in parts]
        policy, action_NK = join(policies), held_out.actions(index_N)
        return {
            "validation/loss": -policy.log_prob(action_NK).mean(),
            "validation/agreement": imitation.agreement(policy.mode(), action_NK),
        }

    def state_dict(self, store: Any) -> dict[str, Any]:
        batches, digest = self.batches.drawn, self.lesson.digest
        return {"learner": self.learner.state_dict(), "batches": batches, "demos": digest}

    def load_state_dict(self, state: dict[str, Any], store: Any) -> None:
        if state["demos"] != self.lesson.digest:
            raise UserError(f"--demos {self.config.demos}: not the episodes the run began with")
        self.learner.load_state_dict(state["learner"])
        self.batches.drawn = schema.natural(state["batches"], "batches")


if __name__ == "__main__":
    main("bc")
