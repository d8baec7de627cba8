"""Groups runs that differ only in their seed, and names the groups by their settings.

A *variant* is an algorithm with its settings. A *group* is a variant on one environment; its runs
differ only in their seed.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from agents.report.parsing import printable
from agents.report.reading import RunRecord
from envs.flags import EnvFlags

NOT_COMPARED = {
    *("seed", "env_id", "runs_dir", "group", "tags", "wandb", "video"),
    *("log_every_steps", "eval_every_steps", "eval_episodes", "final_eval_episodes"),
    *("checkpoint_every_steps", "num_threads"),
    # The protocol already names these.
    *(each.name for each in fields(EnvFlags)),
}
"""Settings that change a run's name or its output, but not its learning."""

MOST_NAMED = 3
"""Largest number of settings in a variant's name."""


@dataclass(frozen=True)
class Group:
    """The runs of one variant on one environment, by their numbers."""

    protocol: str
    variant: str
    runs: tuple[int, ...]


def grouped(runs: Sequence[RunRecord]) -> list[Group]:
    """The groups of all runs, by environment and variant."""
    kin: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, run in enumerate(runs):
        kin[run.protocol, run.algo].append(number)
    members: dict[tuple[str, str], list[int]] = defaultdict(list)
    for (protocol, algo), numbers in kin.items():
        names = variant_names(algo, [settings(runs[number]) for number in numbers])
        for number, name in zip(numbers, names, strict=True):
            members[protocol, printable(name)].append(number)
    return [Group(*key, tuple(numbers)) for key, numbers in sorted(members.items())]


def settings(run: RunRecord) -> dict[str, str]:
    """The settings of a run that all seeds of its group share, as text."""
    return {name: text(value) for name, value in run.config.items() if name not in NOT_COMPARED}


def text(value: Any) -> str:
    """A setting as text for people."""
    if isinstance(value, str):
        return printable(value) or "none"
    return printable(json.dumps(value, default=str))


def variant_names(algo: str, configs: Sequence[dict[str, str]]) -> list[str]:
    """A name for each config: the algorithm, and the differences from the most frequent config."""
    frozen = [tuple(sorted(config.items())) for config in configs]
    usual = dict(Counter(frozen).most_common(1)[0][0])
    values = {name: {each.get(name) for each in configs} for config in configs for name in config}
    by_variety = sorted(values, key=lambda name: (-len(values[name]), name))
    differing = [
        tuple(
            f"{name} {config.get(name, 'unset')}"
            for name in by_variety
            if config.get(name) != usual.get(name)
        )
        for config in configs
    ]
    names = {each: ", ".join(each[:MOST_NAMED]) for each in differing}
    taken = Counter(names.values())
    for number, each in enumerate(sorted(names, key=lambda each: (len(each), each))):
        if len(each) > MOST_NAMED:
            unique = f" [{number}]" if taken[names[each]] > 1 else ""
            names[each] += f" and {len(each) - MOST_NAMED} more{unique}"
    return [f"{algo}, {names[each]}" if each else algo for each in differing]
