"""Reads a sweep's file, W&B's YAML, for Optuna: the parameters, the metric and the command.

https://docs.wandb.ai/guides/sweeps/define-sweep-configuration describes the format. An unsupported
entry is an error that names it.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from yaml.composer import ComposerError

from agents.core.training import algorithms, arguments
from agents.core.types import settings
from envs import UserError, plugins
from envs.catalog import require_trusted
from envs.errors import did_you_mean
from envs.files import read_regular
from envs.text import plain

ENTRIES = (
    *("method", "metric", "parameters", "command", "program", "early_terminate"),
    *("name", "description", "project", "entity"),
)

RANGES = ("uniform", "int_uniform", "q_uniform", "log_uniform_values", "q_log_uniform_values")
CHOICES = ("constant", "categorical")

MOST_BYTES = 1 << 20
"""Largest sweep file."""

MOST_PARAMETERS = 100
"""Largest number of parameters in a sweep."""

MOST_CHOICES = 100
"""Largest number of choices of a parameter; each is parsed before the sweep starts."""

MOST_WHOLE = 2**53
"""Largest whole number, because Optuna converts whole numbers to floats."""

Value = None | bool | int | float | str


@dataclass(frozen=True)
class Plan:
    """The content of a sweep's file."""

    algo: str
    fixed: tuple[str, ...]
    """The command's arguments that all trials share."""
    plain_booleans: bool
    """True is written as `--name`, and False as nothing."""
    method: str
    """ "bayes" or "random"."""
    metric: str
    maximize: bool
    parameters: dict[str, BaseDistribution]
    stop_after: int
    """Number of evaluations after which the first trials may stop; 0 never stops a trial."""
    stop_factor: int
    """At each stop one trial in so many continues, for so many times the evaluations."""

    def arguments(self, values: Mapping[str, Value]) -> list[str]:
        """The algorithm's command line for these values, in the form of W&B's agent."""
        written = []
        for name, value in values.items():
            if not (self.plain_booleans and isinstance(value, bool)):
                written.append(f"--{name}={value}")
            elif value:
                written.append(f"--{name}")
        return [*self.fixed, *written]


class _Loader(yaml.SafeLoader):
    """A YAML loader that refuses aliases, because a few lines of them can stand for gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise ComposerError(
                None, None, "aliases are not allowed: write the value out", event.start_mark
            )
        return super().compose_node(parent, index)


def read(path: Path) -> Plan:
    """Reads the plan of a file, and tries it on the algorithm's own command line.

    Raises:
        UserError: the file cannot be read, or an entry is wrong; the message names both.
    """
    try:
        values = yaml.load(read_regular(path, MOST_BYTES).decode("utf-8"), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise UserError(f"{path}: {reason}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None)
        line = f"line {mark.line + 1}: " if mark else ""
        reason = plain(problem or "it cannot be read")
        raise UserError(f"{path}: {line}not YAML: {reason}") from None
    except RecursionError:
        raise UserError(f"{path}: it is nested too deeply") from None
    except (ValueError, OverflowError, TypeError, AttributeError) as error:
        # An impossible date or a number of too many digits raises these.
        raise UserError(f"{path}: not YAML: {plain(error)}") from None
    try:
        plan = parse(values)
        try_arguments(plan)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return plan


def parse(values: Any) -> Plan:
    """Makes a plan from the values of a file; raises a UserError for a wrong entry."""
    entries = mapping(values, "the file")
    for name in entries:
        among(str(name), ENTRIES, "entry")
    metric = mapping(entries.get("metric"), "metric")
    goal = among(str(metric.get("goal", "minimize")), ("maximize", "minimize"), "metric: goal")
    method = among(str(entries.get("method")), ("bayes", "random"), "method")
    if not isinstance(metric.get("name"), str):
        raise UserError("metric: the name is missing")
    algo, fixed, plain_booleans = command(entries.get("command"))
    described = mapping(entries.get("parameters"), "parameters")
    if len(described) > MOST_PARAMETERS:
        raise UserError(f"parameters: there are {len(described):,}, at most {MOST_PARAMETERS}")
    parameters = {
        str(name): distribution(str(name), mapping(each, f"parameter {plain(name)}"))
        for name, each in described.items()
    }
    after, factor = early_termination(entries.get("early_terminate"))
    return Plan(
        *(algo, fixed, plain_booleans, method, metric["name"], goal == "maximize", parameters),
        *(after, factor),
    )


def command(words: Any) -> tuple[str, tuple[str, ...], bool]:
    """The algorithm, its fixed arguments, and whether booleans are written plainly."""
    if not isinstance(words, list) or "-m" not in words[:-1]:
        raise UserError("command: it must be a list with -m, agents.<algorithm> and ${args}")
    words = [str(word) for word in words]
    after = words[words.index("-m") + 1 :]
    algo, rest = swept(after)
    named, rest = plugins.separated(rest)
    for file in named:
        require_named(file)
    algorithms.algorithm(algo)
    macros = [word for word in rest if "${" in word]
    if macros not in (["${args}"], ["${args_no_boolean_flags}"]) or "${" not in rest[-1]:
        raise UserError(
            "command: its last word, and no other, must be ${args} or ${args_no_boolean_flags}"
        )
    return algo, tuple(rest[:-1]), macros == ["${args_no_boolean_flags}"]


def swept(words: list[str]) -> tuple[str, list[str]]:
    """The algorithm after `-m`, as agents.<algorithm> or joystick <algorithm>, and what follows."""
    package, _, algo = words[0].rpartition(".")
    if package == "agents":
        return algo, words[1:]
    if words[0] == "joystick" and len(words) > 1:
        return words[1], words[2:]
    allowed = "only agents.<algorithm> and joystick <algorithm> can be swept"
    raise UserError(f"command: -m {words[0]}: {allowed}")


def require_named(file: str) -> None:
    """Raises a UserError if the user did not name the plugin too: a file must not import code."""
    if Path(file).expanduser().resolve() not in plugins.files():
        raise UserError(
            f"command: {plugins.FLAG} {plain(file)}: a file alone must not import code;"
            f" give the sweep's own command {plugins.FLAG} {plain(file)} too"
        )


def early_termination(values: Any) -> tuple[int, int]:
    """The evaluations before the first stop and the factor between stops; (0, 3) for no stops."""
    if values is None:
        return 0, 3
    entries = mapping(values, "early_terminate")
    among(str(entries.get("type")), ("hyperband",), "early_terminate: type")
    for name in entries:
        among(str(name), ("type", "min_iter", "eta"), "early_terminate:")
    after = entries.get("min_iter")
    factor = entries.get("eta", 3)
    if type(after) is not int or type(factor) is not int or after < 1 or factor < 2:
        raise UserError("early_terminate: min_iter must be at least 1 and eta at least 2")
    return after, factor


def distribution(name: str, entries: Mapping[str, Any]) -> BaseDistribution:
    """The distribution of a parameter; raises a UserError for a wrong entry."""
    where = f"parameter {plain(name)}"
    for entry in entries:
        among(str(entry), ("distribution", "value", "values", "min", "max", "q"), f"{where}:")
    if "value" in entries or "values" in entries:
        choices = [entries["value"]] if "value" in entries else entries["values"]
        among(str(entries.get("distribution", "categorical")), CHOICES, f"{where}: distribution")
        if not isinstance(choices, list) or not choices:
            raise UserError(f"{where}: values must be a list of at least one")
        if len(choices) > MOST_CHOICES:
            raise UserError(f"{where}: it has {len(choices):,} values, at most {MOST_CHOICES}")
        if not all(isinstance(each, str | bool | int | float | None) for each in choices):
            raise UserError(f"{where}: a value must be a number, a text, true or false")
        return CategoricalDistribution(choices)
    low, high = (number(entries.get(bound), f"{where}: {bound}") for bound in ("min", "max"))
    whole = isinstance(low, int) and isinstance(high, int)
    kind = str(entries.get("distribution", "int_uniform" if whole else "uniform"))
    among(kind, RANGES, f"{where}: distribution")
    step = number(entries.get("q", 1), f"{where}: q") if kind.startswith("q_") else None
    try:
        if kind == "int_uniform":
            return IntDistribution(int(low), int(high))
        # On a logarithmic scale, Optuna supports steps only for whole numbers.
        if kind == "q_log_uniform_values":
            if not whole or step != 1:
                raise ValueError("min, max and q must be whole numbers and q 1")
            return IntDistribution(int(low), int(high), log=True)
        return FloatDistribution(low, high, log=kind.startswith("log"), step=step)
    except (ValueError, OverflowError) as error:
        raise UserError(f"{where}: {plain(error)}") from None


def number(value: Any, where: str) -> float:
    """Returns a value that must be a number; raises a UserError if it is not."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        # YAML reads 1e-4 as a text.
        hint = "" if value is None else "; write a power of ten as 1.0e-4"
        raise UserError(f"{where} is {plain(repr(value))}, but must be a number{hint}")
    if not abs(value) <= (MOST_WHOLE if isinstance(value, int) else sys.float_info.max):
        raise UserError(f"{where} is {value if isinstance(value, float) else 'too large'}")
    return value


def mapping(value: Any, where: str) -> dict[Any, Any]:
    """Returns a value that must be a dict with entries; raises a UserError if it is not."""
    if not isinstance(value, dict) or not value:
        raise UserError(f"{where}: must have entries of the form name: value")
    return value


def among(value: str, allowed: tuple[str, ...], where: str) -> str:
    """Returns a value that must be an allowed one; raises a UserError if it is not."""
    if value not in allowed:
        known = ", ".join(allowed)
        near = did_you_mean(value, allowed)
        raise UserError(f"{where} {plain(value)}: allowed are {known}{near}")
    return value


def try_arguments(plan: Plan) -> None:
    """Raises a UserError for a parameter, a choice or a bound that the algorithm refuses."""
    module = algorithms.algorithm(plan.algo)
    names = {*settings.names(module.Config)} - {"env_id"} | {"env"}
    try_one(plan, module, "command", {})
    first = {name: corners(each)[0] for name, each in plan.parameters.items()}
    for name, each in plan.parameters.items():
        if name.replace("-", "_") not in names:
            near = did_you_mean(name, names)
            raise UserError(f"parameter {name}: agents.{plan.algo} has no such setting{near}")
        for value in corners(each):
            boolean = isinstance(value, bool) and not plan.plain_booleans
            cure = "; a boolean needs ${args_no_boolean_flags} in the command" if boolean else ""
            where = f"parameter {name}: {value}{cure}"
            try_one(plan, module, where, first | {name: value})


def try_one(plan: Plan, module: Any, where: str, values: Mapping[str, Value]) -> None:
    """Parses the command line of some values; raises a UserError if the algorithm refuses it."""
    said = io.StringIO()
    try:
        require_trusted_environment(plan.arguments(values))
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            arguments.parse(module, plan.arguments(values))
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except SystemExit:
        line = " ".join(plan.arguments(values))
        raise UserError(f"{where}: agents.{plan.algo} does not accept {line}") from None


def require_trusted_environment(arguments: list[str]) -> None:
    """Checks that no environment in a sweep's file would import an untrusted module.

    Raises:
        UserError: one would (`envs.catalog.require_trusted`), or a run would be resumed.
    """
    for position, word in enumerate(arguments):
        flag, given, value = word.partition("=")
        flag = flag.replace("_", "-")
        if flag == "--resume":
            raise UserError("--resume: each trial is a new training; remove the flag")
        if flag in ("--env", "--env-id"):
            after = arguments[position + 1 : position + 2]
            for name in [value] if given else after:
                require_trusted(name)


def corners(each: BaseDistribution) -> tuple[Value, ...]:
    """All choices, or both ends of a range."""
    if isinstance(each, CategoricalDistribution):
        return tuple(each.choices)
    assert isinstance(each, FloatDistribution | IntDistribution)
    return each.low, each.high


def python_command(plan: Plan, arguments: list[str]) -> list[str]:
    """The command that starts the training with this Python."""
    return [sys.executable, *program_words(plan), *arguments]


def program_words(plan: Plan) -> list[str]:
    """The words between Python and the arguments, with the plugins of this process."""
    is_plugin = plan.algo in plugins.loaded()
    named = ["joystick", plan.algo] if is_plugin else [f"agents.{plan.algo}"]
    return ["-m", *named, *plugins.flags()]
