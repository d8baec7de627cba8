"""DAgger: clones an expert in the states that the learner itself visits.

A Reduction of Imitation Learning and Structured Prediction to No-Regret Online Learning, Ross et
al. 2011, https://arxiv.org/abs/1011.0686, algorithm 3.1. In round i the learner π̂_i plays with the
expert π*:
  π_i = β_i π* + (1 - β_i) π̂_i,   D ← D ∪ {(s, π*(s)) : s visited by π_i}
  L(θ) = E_D[ -log π(π*(s)|s; θ) ]
It differs from BC by the states. With `--coach takeover` the expert plays and labels only where the
learner errs: HG-DAgger, Kelly et al. 2019, https://arxiv.org/abs/1810.02890.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from agents.core.data.aggregate import Aggregate
from agents.core.data.demonstrations import Demonstrations
from agents.core.math.schedules import Linear, constant
from agents.core.nets.settings import PolicyNetworkConfig
from agents.core.optimize.learner import LossOutput
from agents.core.policies.stochastic import ClonePolicy, make_clone
from agents.core.training.algorithm import Algorithm
from agents.core.training.config import BaseConfig
from agents.core.training.launch import main
from agents.core.types.batches import DemoBatch
from agents.core.types.settings import Episodes, Samples, Steps
from demos import Episode
from demos.frames import decode
from envs import UserError, schema
from envs.command_line import Unit

STATISTICS_STEPS = 50_000
"""Most steps of a round, equally spaced, whose statistics scale vector observations."""


@dataclass(frozen=True, kw_only=True)
class Config(PolicyNetworkConfig, BaseConfig):
    title = "DAgger"
    weight_decay: float = 1e-4
    expert: str = ""  # The expert: a run's directory, sb3:FILE.zip or script:module:function.
    expert_exploration: float | None = None
    """The expert's ε or temperature; None takes its own of evaluations."""
    beta: Linear = Linear(1.0, 0.0, 0, 1)  # The expert plays this share of a round.
    coach: Literal["mixture", "takeover"] = "mixture"
    """The expert labels all steps and plays β of them; or takes over, and labels what it plays."""
    patience_steps: Steps = 4
    """The expert takes over when the learner's errors outnumber its other steps by this number."""
    games_per_round: Episodes = 8  # A round has this many whole games, which run together.
    batch_size: Samples = 256  # A minibatch has this many steps.
    samples_per_step: Annotated[float, Unit("SAMPLES")] = 16.0
    """Updates use this many labeled steps for each step played."""
    eval_temperature: float = 0.0  # Evaluations draw from π^(1/temperature); 0 is the mode.

    def validate(self) -> None:
        super().validate()
        self.at_least(1, "batch_size", "patience_steps", "games_per_round")
        self.at_least(0, "eval_temperature")
        self.above_zero("samples_per_step")
        self.within_unit("beta")


TRAINER = "rounds"

PRESETS = {
    "atari": Config(
        learning_rate=constant(5e-4),
        total_steps=100_000,
        games_per_round=4,
        eval_every_steps=20_000,
        layer_norm=True,
    ),
    "control": Config(
        env_id="CartPole-v1",
        learning_rate=constant(1e-3),
        total_steps=20_000,
        batch_size=64,
        activation="tanh",
        hidden=64,
        eval_every_steps=5_000,
    ),
}
PRESETS["continuous"] = replace(PRESETS["control"], normalize_observations=True)


make_policy = make_clone


def make_algorithm(config: Config, policy: ClonePolicy) -> DAgger:
    return DAgger(config, policy)


class DAgger(Algorithm):
    """Fits a policy to an expert's labels of all rounds.

    Attributes:
        steps: steps of all rounds so far.
        beta: the expert's share of a round that begins at a step.
    """

    policy: ClonePolicy

    def __init__(self, config: Config, policy: ClonePolicy):
        super().__init__(config, policy)
        self.data = Aggregate(config.batch_size, config.seed, policy.previous)
        self.beta = config.beta.until(config.total_steps)
        self.horizon_steps = max(1, round(config.batch_size / config.samples_per_step))
        self.updates_due = 0.0
        self.digest = hashlib.blake2b(digest_size=8)
        self.expected_digest = ""

    @property
    def steps(self) -> int:
        return self.data.size

    def add(self, episodes: list[Episode], goes_on: bool = False) -> None:
        """Adds the labeled episodes of a round.

        Args:
            goes_on: the episodes were added before the checkpoint from which the run goes on.
        """
        frames = decode(episodes, episodes[0].spec)
        recording = Demonstrations(frames, episodes, self.policy.spaces, self.policy.device)
        self.data.add(recording)
        normalizer = self.policy.network.normalizer
        if normalizer.enabled and not goes_on:
            every_M = torch.arange(recording.size)
            seen = recording.observations(every_M[:: 1 + recording.size // STATISTICS_STEPS])
            normalizer.update(seen.unsqueeze(0))
        for episode in episodes:
            self.digest.update(episode.digests[-1].tobytes())

    def update(self) -> dict[str, Tensor]:
        config = self.config
        metrics: dict[str, Tensor] = {}
        self.updates_due += self.horizon_steps * config.samples_per_step / config.batch_size
        while self.updates_due >= 1 and self.data.ready:
            metrics = self.learner.update(self.loss, self.data.draw()).metrics
            self.updates_due -= 1
        return metrics

    def loss(self, batch: DemoBatch) -> LossOutput:
        distribution = self.policy.network(*batch.inputs)
        loss_N = -distribution.log_prob(batch.action_NK)
        metrics = {"losses/bc_loss": loss_N, "losses/entropy": distribution.entropy()}
        return LossOutput(loss_N, metrics)

    def state_dict(self, store: Any) -> dict[str, Any]:
        return {
            "learner": self.learner.state_dict(),
            "drawn": self.data.drawn,
            "updates_due": self.updates_due,
            "demos": self.digest.hexdigest(),
        }

    def load_state_dict(self, state: dict[str, Any], store: Any) -> None:
        self.learner.load_state_dict(state["learner"])
        self.data.drawn = schema.natural(state["drawn"], "drawn")
        self.updates_due = schema.convert(state["updates_due"], float, "updates_due")
        self.expected_digest = schema.convert(state["demos"], str, "demos")

    def require_same(self) -> None:
        """Raises a UserError unless the episodes are the ones of the checkpoint."""
        if self.digest.hexdigest() != self.expected_digest:
            raise UserError("the run's demos are not the episodes that it played")


if __name__ == "__main__":
    main("dagger")
