"""The settings every agent shares, and the checks of values a person typed."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from agents.core.math.schedules import ALLOWED, Linear, constant
from agents.core.nets.recurrence import CoreName
from agents.core.nets.torsos import Activation, Norm, TorsoName
from agents.core.runs import earlier_names
from agents.core.runs.run import Run
from envs import command_line, program, schema
from envs.errors import UserError, did_you_mean
from envs.flags import EnvFlags
from envs.make import MOST_ENVS
from envs.text import plain

command_line.reads(Linear, "SCHEDULE", Linear.parse)


@dataclass(frozen=True, kw_only=True)
class BaseConfig(EnvFlags):
    """What every agent needs to run; an algorithm's Config adds its own.

    A number that is given for a schedule is that constant.
    """

    env_id: Annotated[str, tyro.conf.arg(name="env")] = "Pong"
    """Environment: an Atari game (Pong, PongNoFrameskip-v4) or any Gymnasium id."""
    preset: str = "auto"
    """Where the other settings' defaults come from."""
    seed: int = 1
    """Seed of everything random in the run."""
    total_steps: int = 1_000_000
    """Environment steps to train for, over all environments (an Atari step is 4 frames)."""
    num_envs: int = 8
    """Environments stepped together."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks and replay live."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of matrix products; auto is bf16 for convolutions, on CPUs that gain by it."""
    num_threads: int = 0
    """CPU threads for the network and for the emulator; 0 is one per core."""
    overlap_learning: bool = False
    """Half of a CPU's cores learn while the others act and emulate; else all do each in turn."""
    env_splits: Literal[1, 2] = 1
    """Groups of environments: with two, one steps while actions are chosen for the other."""
    init_from: str = ""
    """A run whose best weights are the first ones, of all parts that both networks have."""
    learning_rate: Linear = constant(2.5e-4)
    """Step size of the optimizer; a number alone keeps the preset's shape."""
    optimizer: Literal["adam", "rmsprop", "nature_rmsprop"] = "adam"
    """Adam, plain RMSProp, or the centered one of Mnih et al. 2015."""
    optimizer_epsilon: float = 1e-5
    """Added to the optimizer's denominator."""
    weight_decay: float = 0.0
    """Decoupled weight decay of Adam (https://arxiv.org/abs/1711.05101); in RMSProp an L2 term."""
    max_grad_norm: float = 0.5
    """Global gradient norm to clip at; 0 does not clip."""
    ema_updates: int = 0
    """Updates whose weights are averaged for evaluation, the last the most; 0 does not."""
    torso: TorsoName = "auto"
    """Network body: auto is data_efficient for images and mlp for the rest."""
    torso_width: int = 1
    """Multiplies the channels of the body's convolutions."""
    standardize_pixels: bool = True
    """Standardize images by 1,024 steps of random play, not counted; else scale to [0, 1]."""
    torso_norm: Norm = "none"
    """Normalization within the body."""
    hidden: int = 256
    """Width of the hidden layer after the body, and of the core."""
    activation: Activation = "relu"
    """Of fully connected layers; convolutions use ReLU."""
    layer_norm: bool = False
    """Normalize the hidden layer (https://arxiv.org/abs/1607.06450)."""
    core: CoreName = "none"
    """What remembers an episode: a recurrent core sees beyond the stacked frames."""
    log_every_steps: int = 5_000
    """Steps between two reports of speed and losses."""
    eval_every_steps: int = 100_000
    """Steps between two evaluations; 0 evaluates only at the end."""
    eval_episodes: int = 10
    """Full games of an evaluation during training."""
    final_eval_episodes: int = 30
    """Full games of the evaluation at the end; 0 for none."""
    eval_most_steps: int = 0
    """Steps of an evaluated game at most; 0 is its own limit, 27,000 where it has none."""
    checkpoint_every_steps: int = 50_000
    """Steps between two checkpoints."""
    video: bool = True
    """Film one game of each evaluation."""
    wandb: Literal["auto", "online", "offline", "disabled"] = "auto"
    """Weights & Biases: auto is online when logged in, else offline."""
    group: str = ""
    """Group in Weights & Biases; by default <algorithm>-<environment>, whatever the seed."""
    tags: tuple[str, ...] = ()
    """Extra tags for Weights & Biases."""
    runs_dir: Path = Path("runs")
    """Where run directories go."""

    def __post_init__(self) -> None:
        for name in schedules(type(self)):
            value = getattr(self, name)
            if isinstance(value, int | float):
                object.__setattr__(self, name, constant(value))

    def validate(self) -> None:
        """Raise a UserError for the first value that cannot work."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Linear):
                require(all(map(math.isfinite, ends(value))), field.name, value, "a finite number")
            elif isinstance(value, float):
                require(math.isfinite(value), field.name, value, "a finite number")
            elif isinstance(value, int):
                require(abs(value) < 2**63, field.name, value, "a whole number below 2**63")
        self.check_kwargs()
        self.at_least(1, "total_steps", "num_envs", "log_every_steps", "checkpoint_every_steps")
        self.at_least(1, "eval_episodes", "torso_width", "hidden")
        for name in schedules(type(self)):
            self.check_steps(name, getattr(self, name))
        self.above_zero("learning_rate", "optimizer_epsilon")
        self.at_least(0, "learning_rate", "max_grad_norm", "weight_decay", "ema_updates")
        self.multiple_of("env_splits", "num_envs")
        for name, most in MOST.items():
            require(getattr(self, name) <= most, name, getattr(self, name), f"at most {most}")
        self.at_least(0, "seed", "num_threads", "eval_every_steps", "final_eval_episodes")
        self.at_least(0, "eval_most_steps")

    def check_steps(self, name: str, value: Linear) -> None:
        """Raise a UserError for a schedule that does not end after it begins."""
        for step in (value.first_step, value.last_step):
            require(0 <= step < 2**63, name, value, "a line between two steps from 0 to 2**63")
        last = value.until(self.total_steps).last_step
        begins_first = not value.moves or value.first_step < last
        require(begins_first, name, value, f"a line that begins before step {last}, where it ends")

    def whole(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            require(all(each == round(each) for each in ends(value)), name, value, "whole numbers")

    def at_least(self, least: float, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            require(min(ends(value)) >= least, name, value, f"at least {least}")

    def at_most(self, bound: str, *names: str) -> None:
        most = getattr(self, bound)
        for name in names:
            require(
                getattr(self, name) <= most, name, getattr(self, name), f"at most {bound} {most}"
            )

    def multiple_of(self, divisor: str, *names: str) -> None:
        unit = getattr(self, divisor)
        for name in names:
            value = getattr(self, name)
            require(value % unit == 0, name, value, f"a multiple of {divisor} {unit}")

    def above_zero(self, *names: str) -> None:
        """A schedule starts above 0, and may end there."""
        for name in names:
            value = getattr(self, name)
            require(ends(value)[0] > 0, name, value, "above 0")

    def within_unit(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            lowest, highest = min(ends(value)), max(ends(value))
            require(lowest >= 0 and highest <= 1, name, value, "between 0 and 1")


def ends(value: float | Linear) -> tuple[float, float]:
    """The first and the last value of a schedule; of a number, the number."""
    return (value.start, value.end) if isinstance(value, Linear) else (value, value)


def schedules(config_class: type[Any]) -> list[str]:
    """The names of the settings that are schedules."""
    fields = dataclasses.fields(config_class)
    return [field.name for field in fields if isinstance(field.default, Linear)]


MOST = {"num_envs": MOST_ENVS, "num_threads": 1_024, "hidden": 16_384, "torso_width": 64}
"""What nobody means to exceed: a machine would be out of memory before it could say so."""

FIRST_VERSION = "0.1"
"""The version whose config.json names none."""

MAY_CHANGE_ON_RESUME = {
    *("total_steps", "log_every_steps", "eval_every_steps", "eval_episodes"),
    *("eval_most_steps", "final_eval_episodes", "checkpoint_every_steps", "video", "wandb"),
    *("group", "tags"),
}


def require(condition: bool, name: str, value: Any, allowed: str) -> None:
    """Raise a UserError that names the flag, its value and what is allowed."""
    if not condition:
        raise UserError(f"{flag(name)} {value}: must be {allowed}")


def flag(name: str) -> str:
    """What a setting is called on the command line."""
    return "--env" if name == "env_id" else "--" + name.replace("_", "-")


def to_json(config: BaseConfig) -> dict[str, Any]:
    """The config as plain JSON values."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    for name in schedules(type(config)):
        values[name] = values[name].to_json()
    return values | {"runs_dir": str(config.runs_dir), "tags": list(config.tags)}


def of_run(config_class: type[Any], run: Run) -> Any:
    """The config of a run's config.json, validated; raises as `from_json`."""
    saved = run.config()
    written_by = str(saved.get("version", FIRST_VERSION))
    present = written_by == program.version()
    where = "config.json" if present else f"config.json of Joystick {plain(written_by)}"
    return from_json(config_class, saved["config"], where)


def from_json(config_class: type[Any], values: dict[str, Any], where: str = "config.json") -> Any:
    """A config from `to_json`, validated; `where` it was written begins the line of an error.

    Raises:
        UserError: a field is unknown, of another type, or has a value that cannot work.
    """
    known = {field.name for field in dataclasses.fields(config_class)}
    values = earlier_names.settings(values)
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
    """The fields of a schedule as `to_json` writes it, a number or a text."""
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError(f"{plain(value)}: {ALLOWED}")
        return dataclasses.asdict(Linear.parse(str(value)))
    except ValueError as error:
        raise UserError(f"{where}: {name}: {plain(error)}") from None
