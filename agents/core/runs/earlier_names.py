"""Translates names of earlier versions to present names.

The files of a run stay unchanged; names are translated when a file is read.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from agents.core.math.schedules import Linear
from envs import command_line
from envs.errors import UserError
from envs.output import warn_once

T = TypeVar("T")

SETTINGS = {
    "average_updates": "ema_updates",
    "learn_beside": "overlap_learning",
    "normalise_advantages": "normalize_advantages",
    "normalise_observations": "normalize_observations",
    "normalise_rewards": "normalize_rewards",
    "num_groups": "env_splits",
    "optimiser": "optimizer",
    "optimiser_epsilon": "optimizer_epsilon",
    "replay_ratio": "samples_per_step",
    "standardise_pixels": "standardize_pixels",
}
"""Settings of version 0.1 in command lines, config files and sweeps, to their present names."""


class Fields(NamedTuple):
    """The settings of version 0.1 that described one schedule.

    Attributes:
        start, end: the settings of the first and the last value.
        is_share: whether the end was a share of the start.
        first, last: the settings of the first and the last step; "" for the run's first step.
    """

    start: str
    end: str
    is_share: bool = False
    first: str = "anneal_from_steps"
    last: str = "anneal_steps"

    def own(self, name: str) -> list[str]:
        """All settings except `name`, which is still a setting."""
        return [field for field in self[:2] + self[3:] if field not in ("", name)]


SCHEDULES = {
    "learning_rate": Fields("learning_rate", "anneal_to", is_share=True),
    "clip": Fields("clip", "clip_end"),
    "n_step": Fields("n_step", "n_step_end"),
    "epsilon": Fields("epsilon_start", "epsilon_end", first="", last="epsilon_decay_steps"),
}
"""Schedules, each with its settings in version 0.1."""

WITHOUT_EFFECT: dict[str, Container[Any]] = {
    "core": ("none",),
    "overlap_learning": (False,),
    "num_envs": range(2**63),
    "env_splits": (1, 2),
}
"""Settings of version 0.1 with values that had no effect in algorithms without the setting."""

STEPS = ("anneal_from_steps", "anneal_steps")
"""The settings of version 0.1 that several schedules shared."""

METRICS = {"eval/human_normalised": "eval/human_normalized"}
"""Metrics of version 0.1 in metrics.jsonl and eval.json, to their present names."""

TENSORS = {"normaliser.": "normalizer."}
"""Parts of tensors' names in version 0.1, to their present names."""


def settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Translates the settings of a config file: their names, and the form of schedules.

    Settings that cannot be translated are unchanged.
    """
    found = {SETTINGS.get(name, name): value for name, value in values.items()}
    schedules: dict[str, Any] = {}
    translated: set[str] = set()
    for name, fields in SCHEDULES.items():
        if fields.start not in found or not found.keys() & {fields.end, fields.last}:
            continue
        numbers = _numbers(fields, found)
        if numbers is None:
            return found
        schedules[name] = _schedule(fields, *numbers).to_json()
        translated |= {fields.start, fields.end, fields.first, fields.last}
    kept = {name: value for name, value in found.items() if name not in translated}
    return kept | schedules


def without_absent(values: Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """Removes settings without effect from a config file of version 0.1.

    In that version every algorithm had them, even if it could not use them.
    """
    return {
        name: value
        for name, value in values.items()
        if name in known or value not in WITHOUT_EFFECT.get(name, ())
    }


def _numbers(fields: Fields, values: Mapping[str, Any]) -> tuple[float, float, int, int] | None:
    """Start, end, first and last step in a config file; None if one is not a number."""
    start = values[fields.start]
    end = values.get(fields.end, 1.0 if fields.is_share else start)
    numbers = (start, end, values.get(fields.first, 0), values.get(fields.last, 0))
    if any(isinstance(each, bool) or not isinstance(each, int | float) for each in numbers):
        return None
    return numbers


def _schedule(fields: Fields, start: float, end: float, first: int, last: int) -> Linear:
    """Makes a schedule from its settings in version 0.1."""
    if fields.is_share:
        return Linear(start, start * end, first, last)
    if not fields.first and last == 0:
        # ε had a duration; without one, it had its last value from the start.
        return Linear(end, end)
    return Linear(start, end, first, last)


def metric(name: str) -> str:
    """The present name of a metric."""
    return METRICS.get(name, name)


def tensors(values: Mapping[str, T]) -> dict[str, T]:
    """Translates the names of a network's tensors."""
    renamed: dict[str, T] = {}
    for name, value in values.items():
        for before, now in TENSORS.items():
            name = name.replace(before, now)
        renamed[name] = value
    return renamed


def flags(words: Iterable[str]) -> list[str]:
    """Translates the flags of a command line; a warning names each earlier flag."""
    return [_flag(word) for word in words]


def _flag(word: str) -> str:
    name, equals, value = word.partition("=")
    for before, now in SETTINGS.items():
        for prefix in ("--", "--no-"):
            earlier = prefix + before.replace("_", "-")
            if name == earlier:
                present = prefix + now.replace("_", "-")
                warn_once(f"{earlier} is now {present}; version 0.3 will not know the old name")
                return present + equals + value
    return word


def schedules(words: list[str], default: Any) -> list[str]:
    """Translates the schedules of a command line of version 0.1; a warning names their flags.

    Args:
        words: the words of the command line, with the result of `flags`.
        default: the config whose values the flags change.

    Raises:
        UserError: a flag's value is not a number, or a schedule has both forms.
    """
    known = {name: fields for name, fields in SCHEDULES.items() if hasattr(default, name)}
    earlier = {_flag_of(field) for name, fields in known.items() for field in fields.own(name)}
    if not earlier & {command_line.flag_of(word) for word in words}:
        return words
    parser = command_line.Flags()
    for flag in sorted(earlier | {_flag_of(name) for name in known}):
        parser.add_argument(flag)
    given, rest = parser.parse_known_args(words)
    values = {name: value for name, value in vars(given).items() if value is not None}
    for name, fields in known.items():
        rest += _translated(name, fields, values, default)
    return rest


def _translated(name: str, fields: Fields, values: dict[str, str], default: Any) -> list[str]:
    """The present flag of a schedule and its value; [] if no flag changes the schedule."""
    now: Linear = getattr(default, name)
    written = values.get(name)
    own = [field for field in fields.own(name) if field in values]
    unchanged = [] if written is None else [_flag_of(name), written]
    if not own:
        return unchanged
    if written is not None and ".." in written:
        raise UserError(f"{_flag_of(own[0])}: {_flag_of(name)} {written} already has an end")
    numbers = {field: _number(field, values[field]) for field in {*own, fields.start} & {*values}}
    # A constant does not depend on the steps that all schedules share.
    if not now.moves and all(field in STEPS for field in own):
        return unchanged
    schedule = _changed(now, fields, numbers, default)
    # A plain number would be scaled to the shape of the default's learning rate.
    alone = fields.is_share and not schedule.moves
    text = f"{schedule}..{schedule}" if alone else str(schedule)
    flags = ", ".join(map(_flag_of, own))
    warn_once(f"{flags}: now {_flag_of(name)} {text}; version 0.3 will not know the old flags")
    return [_flag_of(name), text]


def _changed(now: Linear, fields: Fields, numbers: dict[str, float], default: Any) -> Linear:
    """Changes a schedule by some of its settings in version 0.1."""
    # A constant has no steps, so it takes the steps of the preset's learning rate.
    usual = now if now.moves else default.learning_rate
    first = int(numbers.get(fields.first, usual.first_step if fields.first else 0))
    last = int(numbers.get(fields.last, usual.last_step))
    start = numbers.get(fields.start, now.start)
    if fields.end in numbers:
        return _schedule(fields, start, numbers[fields.end], first, last)
    end = now.end
    if fields.start in numbers:
        if fields.is_share:
            end = now.from_start(start).end
        elif not numbers.keys() - {fields.start, *STEPS}:
            # In version 0.1 a start alone meant a constant.
            end = start
    absolute = fields._replace(is_share=False)
    return _schedule(absolute, start, end, first, last)


def _number(field: str, text: str) -> float:
    """The number of a flag of version 0.1; a number of steps must be at least 0."""
    try:
        steps = field.endswith("_steps")
        value = command_line.whole_number(text) if steps else command_line.finite_number(text)
    except ValueError as error:
        raise UserError(f"{_flag_of(field)} {error}") from None
    if field.endswith("_steps") and value < 0:
        raise UserError(f"{_flag_of(field)} {value}: must be at least 0")
    return value


def _flag_of(name: str) -> str:
    return "--" + name.replace("_", "-")
