"""Names that earlier versions used, and what they are called now.

A run of an earlier version keeps its files as they are: its names are translated when it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

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
"""Settings of version 0.1: of command lines, config files and sweeps."""

METRICS = {"eval/human_normalised": "eval/human_normalized"}
"""Metrics of version 0.1, in metrics.jsonl and eval.json."""

TENSORS = {"normaliser.": "normalizer."}
"""Parts of the names of a network's tensors in version 0.1."""


def settings(values: Mapping[str, T]) -> dict[str, T]:
    """The settings of a config file by their present names."""
    return {SETTINGS.get(name, name): value for name, value in values.items()}


def metric(name: str) -> str:
    """What a metric is called now."""
    return METRICS.get(name, name)


def tensors(values: Mapping[str, T]) -> dict[str, T]:
    """A network's tensors by their present names."""
    renamed: dict[str, T] = {}
    for name, value in values.items():
        for before, now in TENSORS.items():
            name = name.replace(before, now)
        renamed[name] = value
    return renamed


def flags(words: Iterable[str]) -> list[str]:
    """The words of a command line with the present flags; a warning names each earlier one."""
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
