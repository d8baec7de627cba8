"""The settings of networks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from tyro.conf import Fixed

from agents.core.nets.recurrence import CoreName
from agents.core.nets.torsos import Activation, Norm, TorsoName
from agents.core.types.settings import Part, Steps, require
from envs.command_line import Unit


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Part):
    """The settings of every network: a torso and a hidden layer, without a memory."""

    title: ClassVar[str] = "Network"

    core: Fixed[CoreName] = field(default="none", init=False)
    previous_inputs: Fixed[bool] = field(default=False, init=False)

    torso: TorsoName = "auto"
    """The torso turns observations into features; auto is data_efficient for images, else mlp."""
    torso_width: Annotated[int, Unit("FACTOR")] = 1
    """This factor multiplies the channels of the torso's convolutions."""
    torso_norm: Norm = "none"
    """The torso's features have this normalization."""
    standardize_pixels: bool = True
    """1,024 uncounted steps of random play standardize images; else they are scaled to [0, 1]."""
    hidden: Annotated[int, Unit("FEATURES")] = 256
    """The hidden layer after the torso, and the core, have this many features."""
    activation: Activation = "relu"
    """Fully connected layers have this activation; convolutions have ReLU."""
    layer_norm: bool = False
    """The hidden layer is normalized (https://arxiv.org/abs/1607.06450)."""

    def validate(self) -> None:
        super().validate()
        self.at_least(1, "torso_width", "hidden")
        # Larger numbers are mistakes, which would exhaust the memory before any other check.
        self.at_most(16_384, "hidden")
        self.at_most(64, "torso_width")


@dataclass(frozen=True, kw_only=True)
class PreviousConfig(NetworkConfig):
    """The setting of a network that may see more than the observation."""

    previous_inputs: bool = False
    """The network also sees the previous action and the previous reward."""


@dataclass(frozen=True, kw_only=True)
class RecurrenceConfig(PreviousConfig):
    """The settings of a network that may remember an episode."""

    core: CoreName = "none"
    """A recurrent core remembers the episode beyond the stacked frames."""
    sequence_steps: Steps = 16
    """Gradients flow back through a recurrent core for this many steps."""

    def validate(self) -> None:
        super().validate()
        self.at_least(1, "sequence_steps")


@dataclass(frozen=True, kw_only=True)
class BurnInConfig(RecurrenceConfig):
    """The settings of a network that may remember, and learns from sequences of stored steps."""

    burn_in_steps: Steps = 0
    """These many steps before a sequence only warm up a core (R2D2)."""

    def validate(self) -> None:
        super().validate()
        self.at_least(0, "burn_in_steps")
        if self.core == "none":
            steps = self.burn_in_steps
            require(steps == 0, "burn_in_steps", steps, "0 without --core lstm or --core gru")


@dataclass(frozen=True, kw_only=True)
class ValueNetworkConfig(RecurrenceConfig):
    """The further settings of a value network without noise."""

    noisy: Fixed[bool] = field(default=False, init=False)
    noise_deviation: Fixed[float] = field(default=0.5, init=False)

    dueling: bool = False
    """A value stream and an advantage stream make Q (https://arxiv.org/abs/1511.06581)."""


@dataclass(frozen=True, kw_only=True)
class QNetworkConfig(ValueNetworkConfig):
    """The further settings of a Q-network."""

    noisy: bool = False
    """The head's weights have learned noise, which explores (https://arxiv.org/abs/1706.10295)."""
    noise_deviation: float = 0.5
    """Noisy weights begin with this deviation, divided by the root of their layer's inputs."""

    def validate(self) -> None:
        super().validate()
        self.above_zero("noise_deviation")


@dataclass(frozen=True, kw_only=True)
class PolicyNetworkConfig(PreviousConfig):
    """The further settings of a policy network."""

    normalize_observations: bool = False
    """Vector observations are scaled by their running mean and deviation."""


@dataclass(frozen=True, kw_only=True)
class ActorCriticConfig(RecurrenceConfig, PolicyNetworkConfig):
    """The further settings of an actor-critic."""

    separate_value: bool = False
    """The value has a network of its own."""
