"""The settings of training, and the file config.json.

The settings of network, optimizer, machine and data are in the file `settings.py` of their room.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro
from tyro.conf import Fixed

from agents.core.data.settings import BaselineConfig, ReplayConfig
from agents.core.math.schedules import ALLOWED, Linear, constant
from agents.core.nets.settings import (
    ActorCriticConfig,
    BurnInConfig,
    NetworkConfig,
    PreviousConfig,
    QNetworkConfig,
)
from agents.core.optimize.settings import OptimizerConfig
from agents.core.runs import earlier_names
from agents.core.runs.run import Run
from agents.core.system.settings import MachineConfig, OverlapConfig
from agents.core.types.settings import (
    Environments,
    Episodes,
    Part,
    Samples,
    SeedConfig,
    Steps,
    Updates,
    names,
    schedules,
)
from agents.core.types.settings import flag as flag
from agents.core.types.settings import require as require
from envs import program, schema
from envs.command_line import Unit
from envs.errors import UserError, did_you_mean
from envs.flags import EnvFlags
from envs.make import MOST_ENVS
from envs.text import plain


@dataclass(frozen=True, kw_only=True)
class EnvConfig(EnvFlags, Part):
    """The environment to train for."""

    title: ClassVar[str] = "Environment"

    num_envs: Fixed[int] = field(default=1, init=False)
    env_splits: Fixed[Literal[1, 2]] = field(default=1, init=False)

    env_id: Annotated[str, tyro.conf.arg(name="env"), Unit("NAME")] = "Pong"
    """The environment is an Atari game (Pong, PongNoFrameskip-v4) or any Gymnasium id."""

    def validate(self) -> None:
        super().validate()
        self.check_kwargs()


@dataclass(frozen=True, kw_only=True)
class CollectConfig(EnvConfig):
    """The environment's settings for an algorithm that acts in it."""

    num_envs: Environments = 8
    """This many environments step together."""
    env_splits: Literal[1, 2] = 1
    """The environments are in 1 or 2 groups: one steps while the other's actions are chosen."""

    def validate(self) -> None:
        super().validate()
        self.at_least(1, "num_envs")
        self.at_most(MOST_ENVS, "num_envs")
        self.multiple_of("env_splits", "num_envs")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(Part):
    """When and how the agent is evaluated."""

    title: ClassVar[str] = "Evaluation"

    eval_every_steps: Steps = 100_000
    """Two evaluations are this many steps apart; 0 evaluates only at the end."""
    eval_episodes: Episodes = 10
    """An evaluation in training plays this many full games."""
    final_eval_episodes: Episodes = 30
    """The evaluation at the end plays this many full games; 0 plays none."""
    eval_most_steps: Steps = 0
    """An evaluated game ends after this many steps; 0 is its own limit, or 27,000 without one."""
    video: bool = True
    """One game of each evaluation is filmed."""

    def validate(self) -> None:
        super().validate()
        self.at_least(1, "eval_episodes")
        self.at_least(0, "eval_every_steps", "final_eval_episodes", "eval_most_steps")


@dataclass(frozen=True, kw_only=True)
class LogConfig(Part):
    """Settings of reports: how often, and where to."""

    title: ClassVar[str] = "Logging"

    log_every_steps: Steps = 5_000
    """Two reports of speed and losses are this many steps apart."""
    wandb: Literal["auto", "online", "offline", "disabled"] = "auto"
    """Weights & Biases gets the run; auto is online when logged in, else offline."""
    group: Annotated[str, Unit("NAME")] = ""
    """The run is in this group of Weights & Biases, or in <algorithm>-<environment>."""
    tags: Annotated[tuple[str, ...], Unit("TAG ...")] = ()
    """Weights & Biases gets these tags too."""

    def validate(self) -> None:
        super().validate()
        self.at_least(1, "log_every_steps")


@dataclass(frozen=True, kw_only=True)
class RunConfig(EnvConfig, EvaluationConfig, MachineConfig, LogConfig, SeedConfig):
    """The settings of every run."""

    title: ClassVar[str] = "Run"

    preset: Annotated[str, Unit("NAME")] = "auto"
    """The other settings have the values of this preset as defaults."""
    total_steps: Steps = 1_000_000
    """Training ends after this many steps, over all environments; an Atari step is 4 frames."""
    init_from: Annotated[str, Unit("RUN")] = ""
    """Training begins with this run's best weights, in all parts that both networks have."""
    checkpoint_every_steps: Steps = 50_000
    """Two checkpoints are this many steps apart."""
    runs_dir: Annotated[Path, Unit("FOLDER")] = Path("runs")
    """The run's directory is made in this folder."""

    def validate(self) -> None:
        super().validate()
        self.at_least(1, "total_steps", "checkpoint_every_steps")
        for name in schedules(type(self)):
            self.check_steps(name, getattr(self, name))

    def check_steps(self, name: str, value: Linear) -> None:
        """Raises a UserError for a schedule that does not end after it begins."""
        for step in (value.first_step, value.last_step):
            require(0 <= step < 2**63, name, value, "a line between two steps from 0 to 2**63")
        last = value.until(self.total_steps).last_step
        begins_first = not value.moves or value.first_step < last
        require(begins_first, name, value, f"a line that begins before step {last}, where it ends")


@dataclass(frozen=True, kw_only=True)
class BaseConfig(RunConfig, NetworkConfig, OptimizerConfig):
    """The settings of every algorithm; an algorithm's Config adds parts and settings to them."""


@dataclass(frozen=True, kw_only=True)
class MinibatchConfig(CollectConfig, OverlapConfig, ReplayConfig, BaseConfig):
    """The settings of every algorithm that learns from minibatches of a replay."""

    title: ClassVar[str] = "Learning"

    batch_size: Samples = 64
    """A minibatch has this many transitions."""
    samples_per_step: Annotated[float, Unit("SAMPLES")] = 2.0
    """Updates use this many transitions for each step; 32 every 8 steps is 4."""
    learning_starts_steps: Steps = 4_000
    """The first update comes after this many steps."""

    @property
    def draws_sequences(self) -> bool:
        """Whether minibatches hold sequences of `sequence_steps` steps."""
        return False

    def validate(self) -> None:
        super().validate()
        self.above_zero("samples_per_step")
        self.at_least(1, "batch_size")
        self.at_least(0, "learning_starts_steps")
        self.at_most_as("buffer_size", "batch_size", "learning_starts_steps")


@dataclass(frozen=True, kw_only=True)
class EpsilonConfig(Part):
    """How many actions are random."""

    title: ClassVar[str] = "Learning"

    epsilon: Linear = Linear(1.0, 0.01, 0, 25_000)
    """This share of actions is random in training."""
    eval_epsilon: float = 0.001
    """This share of actions is random in evaluations."""

    def validate(self) -> None:
        super().validate()
        self.within_unit("epsilon", "eval_epsilon")


@dataclass(frozen=True, kw_only=True)
class TargetNetworkConfig(EpsilonConfig, QNetworkConfig, MinibatchConfig):
    """The settings of every agent that learns values from a replay with a target network."""

    title: ClassVar[str] = "Learning"

    # With these values DQN learns Pong soonest on two CPU cores.
    max_grad_norm: float = 10.0
    learning_rate: Linear = constant(7e-4)
    gamma: float = 0.98
    n_step: Linear = constant(20)
    layer_norm: bool = True

    target_every_updates: Updates = 125
    """Two renewals of the target network are this many updates apart."""

    @property
    def draws_sequences(self) -> bool:
        return self.core != "none"

    def validate(self) -> None:
        super().validate()
        self.at_least(1, "target_every_updates")


@dataclass(frozen=True, kw_only=True)
class ValueConfig(TargetNetworkConfig, BurnInConfig):
    """The settings of every agent that learns the values of actions from bootstrapped returns."""

    title: ClassVar[str] = "Learning"

    double: bool = False
    """θ chooses the next action, and θ⁻ values it (https://arxiv.org/abs/1509.06461)."""
    rescale_values: bool = False
    """Values have a smaller scale, h(Q), for large rewards (https://arxiv.org/abs/1805.11593)."""

    def validate(self) -> None:
        super().validate()
        if self.draws_sequences:
            self.multiple_of("sequence_steps", "batch_size")


@dataclass(frozen=True, kw_only=True)
class OffPolicyActorConfig(PreviousConfig, MinibatchConfig):
    """The settings of every algorithm that learns an actor and critics from a replay."""

    title: ClassVar[str] = "Learning"

    # The values of the paper of SAC (https://arxiv.org/abs/1812.05905), table 1.
    learning_rate: Linear = constant(3e-4)
    optimizer_epsilon: float = 1e-8
    max_grad_norm: float = 0.0
    buffer_size: Samples = 1_000_000
    priority_exponent: float = 0.0
    batch_size: Samples = 256
    samples_per_step: Annotated[float, Unit("SAMPLES")] = 256.0
    learning_starts_steps: Steps = 1_000
    """The first update comes after this many steps; until then, actions are uniformly random."""

    target_every_updates: Updates = 1
    """Two renewals of the target critics are this many updates apart."""
    target_share: float = 0.005
    """A renewal moves the target critics toward the critics by this share, τ; 1 copies them."""
    eval_temperature: float = 0.0
    """Evaluations multiply the policy's variance by this; 0 is the mode."""

    def validate(self) -> None:
        super().validate()
        self.at_least(1, "target_every_updates")
        self.at_least(0, "eval_temperature")
        self.above_zero("target_share")
        self.within_unit("target_share")


@dataclass(frozen=True, kw_only=True)
class SoftValueConfig(ValueConfig):
    """The settings of value agents whose targets may be soft (Munchausen)."""

    munchausen: float = 0.0
    """Rewards have this share α of τ log π as a bonus (https://arxiv.org/abs/2007.14430)."""
    munchausen_temperature: float = 0.03
    """The soft policy of Munchausen has this temperature τ."""
    munchausen_floor: float = -1.0
    """Munchausen's bonus counts τ log π down to this number, l₀."""

    @property
    def is_soft(self) -> bool:
        """Whether V is the value of the soft policy; else it is the best action's."""
        return self.munchausen > 0

    def validate(self) -> None:
        super().validate()
        self.within_unit("munchausen")
        self.above_zero("munchausen_temperature")
        floor = self.munchausen_floor
        require(floor <= 0, "munchausen_floor", floor, "at most 0")
        both = self.is_soft and self.rescale_values
        why = "False with --munchausen" if self.munchausen > 0 else "False, because V is soft"
        require(not both, "rescale_values", self.rescale_values, why)


@dataclass(frozen=True, kw_only=True)
class OnPolicyConfig(CollectConfig, ActorCriticConfig, BaselineConfig, BaseConfig):
    """The settings of every actor-critic that learns from rollouts."""

    title: ClassVar[str] = "Learning"

    value_coefficient: float = 0.5
    """The value's loss has this weight, c₁."""
    eval_temperature: float = 1.0
    """Evaluations draw from π^(1/temperature); 0 is the mode."""

    def validate(self) -> None:
        super().validate()
        self.at_least(0, "value_coefficient", "eval_temperature")


FIRST_VERSION = "0.1"
"""The version of a config.json that names no version."""

MAY_CHANGE_ON_RESUME = {
    *("total_steps", "log_every_steps", "eval_every_steps", "eval_episodes"),
    *("eval_most_steps", "final_eval_episodes", "checkpoint_every_steps", "video", "wandb"),
    *("group", "tags"),
}


def to_json(config: BaseConfig) -> dict[str, Any]:
    """The config as plain JSON values."""
    values = {name: getattr(config, name) for name in names(type(config))}
    for name in schedules(type(config)):
        values[name] = values[name].to_json()
    return values | {"runs_dir": str(config.runs_dir), "tags": list(config.tags)}


def of_run(config_class: type[Any], run: Run) -> Any:
    """Reads and validates the config in a run's config.json; raises as `from_json`."""
    saved = run.config()
    written_by = str(saved.get("version", FIRST_VERSION))
    present = written_by == program.version()
    where = "config.json" if present else f"config.json of Joystick {plain(written_by)}"
    return from_json(config_class, saved["config"], where)


def from_json(config_class: type[Any], values: dict[str, Any], where: str = "config.json") -> Any:
    """Makes a validated config from the values of `to_json`.

    Args:
        where: source of the values; error messages begin with it.

    Raises:
        UserError: a field is unknown, has another type, or has a value that is not allowed.
    """
    known = names(config_class)
    values = earlier_names.without_absent(earlier_names.settings(values), known)
    for name in values:
        if name not in known:
            raise UserError(f"{where} has the unknown field '{name}'" + did_you_mean(name, known))
    for name in schedules(config_class):
        if name in values:
            values[name] = schedule_from(name, values[name], where)
    config = schema.convert(values, config_class, where)
    try:
        config.validate()
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return config


def schedule_from(name: str, value: Any, where: str) -> dict[str, Any]:
    """The fields of a schedule that `to_json` wrote as a number or a text."""
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError(f"{plain(value)}: {ALLOWED}")
        return dataclasses.asdict(Linear.parse(str(value)))
    except ValueError as error:
        raise UserError(f"{where}: {name}: {plain(error)}") from None
