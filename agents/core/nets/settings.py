"""The settings of networks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from tyro.conf import Fixed

from agents.core.nets.recurrence import CoreName
from agents.core.nets.torsos import Activation, Norm, TorsoName
from agents.core.types.settings import Part, Steps
from envs.command_line import Unit


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Part):
    """What every network has: a torso and a hidden layer, and no memory."""

    title: ClassVar[str] = "Network"

    core: Fixed[CoreName] = field(default="none", init=False)

    torso: TorsoName = "auto"
    """The torso turns observations into features; auto is data_efficient for images, else mlp."""
    torso_width: Annotated[int, Unit("FACTOR")] = 1
    """This factor multiplies the channels of the torso's convolutions."""
    torso_norm: Norm = "none"
    """The torso normalizes its features like this."""
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
        # Nobody means more: a machine would be out of memory before it could say so.
        self.at_most(16_384, "hidden")
        self.at_most(64, "torso_width")


@dataclass(frozen=True, kw_only=True)
class RecurrenceConfig(NetworkConfig):
    """The same for a network that may remember an episode."""

    core: CoreName = "none"
    """A recurrent core remembers the episode beyond the stacked frames."""
    sequence_steps: Steps = 16
    """Gradients flow back through a recurrent core for this many steps."""

    def validate(self) -> None:
        super().validate()
        self.at_least(1, "sequence_steps")


@dataclass(frozen=True, kw_only=True)
class QNetworkConfig(NetworkConfig):
    """What a Q-network has beside them."""

    dueling: bool = False
    """A value stream and an advantage stream make Q (https://arxiv.org/abs/1511.06581)."""


@dataclass(frozen=True, kw_only=True)
class PolicyNetworkConfig(NetworkConfig):
    """What a policy network has beside them."""

    normalize_observations: bool = False
    """Vector observations are scaled by their running mean and deviation."""


@dataclass(frozen=True, kw_only=True)
class ActorCriticConfig(RecurrenceConfig, PolicyNetworkConfig):
    """What an actor-critic has beside them."""

    separate_value: bool = False
    """The value has a network of its own."""
