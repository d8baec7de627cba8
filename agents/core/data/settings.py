"""The settings of an algorithm's data: a replay, rollouts or demonstrations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from tyro.conf import Fixed

from agents.core.math.schedules import Linear, constant
from agents.core.nets.settings import RecurrenceConfig
from agents.core.types.settings import Episodes, Part, Samples, SeedConfig, Steps, require


@dataclass(frozen=True, kw_only=True)
class RewardConfig(Part):
    """How rewards are changed before learning."""

    title: ClassVar[str] = "Rewards"

    gamma: float = 0.99
    """The discount multiplies a reward once for each step until it comes."""
    clip_reward: bool = True
    """Atari agents learn from the reward's sign; scores are never clipped."""
    life_loss_ends_return: bool = True
    """A lost life ends the return, and the game goes on."""

    def validate(self) -> None:
        super().validate()
        self.within_unit("gamma")


@dataclass(frozen=True, kw_only=True)
class ReplayConfig(RewardConfig, SeedConfig):
    """How much a replay stores, and how minibatches are drawn from it."""

    title: ClassVar[str] = "Replay"

    buffer_size: Samples = 300_000
    """The replay holds this many transitions; on Atari each takes 7.06 kB."""
    n_step: Linear = constant(1)
    """Returns sum this many rewards before they bootstrap."""
    priority_exponent: float = 0.5
    """Draws prefer large errors by this α (https://arxiv.org/abs/1511.05952); 0 is uniform."""

    def validate(self) -> None:
        super().validate()
        self.within_unit("priority_exponent")
        self.at_least(1, "n_step")
        self.whole("n_step")


@dataclass(frozen=True, kw_only=True)
class RolloutConfig(SeedConfig, RewardConfig, RecurrenceConfig):
    """How long a rollout is."""

    title: ClassVar[str] = "Rollout"

    horizon_steps: Steps = 128
    """A rollout has this many steps of each environment."""
    normalize_rewards: bool = False
    """Rewards are scaled by the deviation of their discounted sum."""

    def validate(self) -> None:
        super().validate()
        self.at_least(1, "horizon_steps")


@dataclass(frozen=True, kw_only=True)
class BaselineConfig(RolloutConfig):
    """A rollout whose advantages are its returns minus a baseline."""

    gae_lambda: Fixed[float] = field(default=1.0, init=False)

    normalize_advantages: bool = False
    """Advantages have mean 0 and deviation 1 in each minibatch."""


@dataclass(frozen=True, kw_only=True)
class AdvantageConfig(BaselineConfig):
    """A rollout whose advantages may mix estimates of several lengths (GAE)."""

    gae_lambda: float = 0.95
    """Advantages mix n-step returns by this λ (https://arxiv.org/abs/1506.02438)."""

    def validate(self) -> None:
        super().validate()
        self.within_unit("gae_lambda")


@dataclass(frozen=True, kw_only=True)
class DemoConfig(SeedConfig):
    """The demonstrations to learn from."""

    title: ClassVar[str] = "Demonstrations"

    validation_share: Fixed[float] = field(default=0.0, init=False)

    demos: str = "auto"
    """The dataset: a directory, a shipped one's name, or auto for the environment's own."""
    fraction: float = 1.0
    """The agent learns from this share of the training episodes."""
    num_demos: Episodes = 0
    """The agent learns from this many of these episodes; 0 takes all of them."""

    def validate(self) -> None:
        super().validate()
        require(0 < self.fraction <= 1, "fraction", self.fraction, "above 0 and at most 1")
        self.at_least(0, "num_demos")


@dataclass(frozen=True, kw_only=True)
class ValidatedDemoConfig(DemoConfig):
    """Demonstrations of which some are held out, and when training on the others ends early."""

    validation_share: float = 0.2
    """This share of the episodes is held out for validation."""
    validate_every_steps: Steps = 50_000
    """Two validations are this many steps apart; 0 never validates."""
    patience: int = 0
    """This many measurements in a row without a better one end the run; 0 never does."""
    stop_by: Literal["loss", "return"] = "loss"
    """Patience counts validations, by their loss; or evaluations, by their mean return."""

    def validate(self) -> None:
        super().validate()
        share = self.validation_share
        require(0 <= share < 1, "validation_share", share, "from 0 to below 1")
        self.at_least(0, "validate_every_steps", "patience")
        # Every config with this part has evaluations.
        measured = "validate_every_steps" if self.stop_by == "loss" else "eval_every_steps"
        every = getattr(self, measured)
        why = f"above 0 with --patience {self.patience} and --stop-by {self.stop_by}"
        require(every > 0 or self.patience == 0, measured, every, why)
