"""Describes datasets to people: tables on the terminal and a card in Markdown."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from demos.dataset import Damage, Dataset, at_least_one
from demos.episode import Episode
from demos.metadata import FILE, Metadata
from envs import EnvSpec, UserError
from envs.action_names import action_name
from envs.files import TEMPORARY, is_regular
from envs.output import MOST_OF_A_LINE, cell
from envs.scores import human_normalized, reference_scores
from envs.text import plain

if TYPE_CHECKING:
    from demos.states import States

# The keys say whether the episodes are replayable.
CONTENTS = {
    True: "actions and rewards, with its seed and digests of every frame",
    False: "observations, actions and rewards, with digests of them",
}
PROOF = {
    True: "plays all of them again and compares",
    False: "compares them with their digests, because the environment is not reproducible",
}


def statistics(dataset: Dataset, episodes: list[Episode], *, skip_damaged: bool) -> Table:
    """A table of the returns, lengths and actions of a dataset's episodes, at least one.

    Args:
        skip_damaged: damaged episodes were skipped; the numbers of equal episodes still count them.
    """
    spec = dataset.metadata.spec
    scores = np.array([e.score for e in episodes])
    lengths = np.array([len(e) for e in episodes])
    table = Table(box=None, show_header=False)
    size = sum(path.stat().st_size for path in dataset.files() if is_regular(path))
    twice = duplicates(dataset.scan() if skip_damaged else episodes)
    rows = {
        "environment": spec.protocol,
        "policy": dataset.metadata.policy,
        "episodes": f"{len(episodes)} ({sum(len(each) - 1 for each in twice)} twice)",
        "the same": shortened([" = ".join(map(str, each)) for each in twice]),
        "return": f"{scores.mean():.2f} on average, {scores.min():g} to {scores.max():g}",
        "human-normalized": normalized(spec, scores),
        "steps": f"{lengths.sum():,} ({lengths.min()} to {lengths.max()} an episode)",
        "terminated": f"{sum(e.terminated for e in episodes)}",
        "observations": "replayed" if dataset.metadata.replayable else "stored",
        "on disk": f"{size:,} bytes, {size / lengths.sum():.2f} a step",
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, cell(value))
    actions = np.concatenate([e.actions for e in episodes])
    if actions.ndim == 1 and actions.dtype.kind in "iu":
        values, counts = np.unique(actions, return_counts=True)
        for value, count in zip(values, counts, strict=True):
            share = count / len(actions)
            name = action_name(spec, value)
            named = f"action {value}" + (f" {name}" if name != str(value) else "")
            table.add_row(cell(named), f"{'█' * round(40 * share)} {share:.1%}")
    return table


def add_states(table: Table, states: States) -> None:
    """Adds rows to a table of statistics: the kinds of states, and the decisions in them."""
    kinds = len(states.visits_C)
    table.add_row("kinds of states", f"{states.effective_kinds:.1f} of {kinds}, by their entropy")
    table.add_row("coverage", f"an episode visits {states.covered:.1%} of the kinds")
    if states.action_entropy is not None:
        known = f"{states.mean_entropy:.2f} bits in a kind of state"
        table.add_row("choice", f"{known}, {states.action_entropy:.2f} bits without one")
    if states.repeated is None:
        table.add_row("repeated states", "not counted: too many")
        return
    alike = ""
    if states.alike is not None and states.alike[2] > 0:
        first, second, share = states.alike
        alike = f"; episodes {first} and {second} share most, {share:.1%}"
    table.add_row("repeated states", f"{states.repeated:.1%} are in several episodes{alike}")


def duplicates(episodes: Iterable[Episode | Damage]) -> list[list[int]]:
    """Groups of equal episodes, each group as its episodes' numbers from 0."""
    groups: dict[bytes, list[int]] = {}
    for number, each in enumerate(episodes):
        if isinstance(each, Episode):
            key = each.digests[-1].tobytes() + each.actions.tobytes()
            groups.setdefault(key, []).append(number)
    return [numbers for numbers in groups.values() if len(numbers) > 1]


def shortened(items: list[str], most: int = 10) -> str:
    """The first items of a list as text, and how many are left out."""
    left_out = f", and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + left_out


def normalized(spec: EnvSpec, scores: np.ndarray) -> str:
    """The human-normalized mean return with its reference scores; "" if there are none."""
    human = human_normalized(spec.scored_game, float(scores.mean()))
    if human is None:
        return ""
    known = (f"{who} {score:g}" for who, score in reference_scores(spec.scored_game).items())
    return f"{human:.1%} ({', '.join(known)})"


def listing(directory: Path) -> Table:
    """A table of the datasets at or below a directory; an unreadable dataset shows its error."""
    table = Table("dataset", "environment", "policy", "episodes", box=None)
    for path in datasets_below(directory):
        name = str(path.relative_to(directory)) if path != directory else path.name
        try:
            dataset = Dataset.open(path)
        except UserError as error:
            table.add_row(cell(name), cell(error))
            continue
        about = dataset.metadata
        cells = (name, about.spec.protocol, about.policy, len(dataset.files()))
        table.add_row(*map(cell, cells))
    return table


def datasets_below(directory: Path) -> list[Path]:
    """The directories of datasets at or below a directory; links are not followed."""
    found = []
    for folder, folders, files in os.walk(directory):
        folders[:] = [name for name in folders if not name.startswith(TEMPORARY)]
        if FILE in files:
            found.append(Path(folder))
    return sorted(found)


def made(about: Metadata) -> str:
    """Rows of a table that say when a dataset was made, by which commit and in which recordings."""
    rows = [f"| Made | {plain(about.created)}, by commit {plain(about.commit) or 'unknown'} |"]
    if len(about.sessions) > 1:
        rows += [
            f"| Recorded | {each.episodes} episodes of {plain(each.policy)}, seed {each.seed},"
            f" {plain(each.created)}, by commit {plain(each.commit) or 'unknown'} |"
            for each in about.sessions
        ]
    return "\n".join(rows)


def card(dataset: Dataset) -> str:
    """A dataset card in Markdown: content, returns, origin, and how to verify the dataset."""
    about = dataset.metadata
    episodes = at_least_one(dataset, dataset.episodes())
    scores = np.array([each.score for each in episodes])
    steps = sum(len(each) for each in episodes)
    name = dataset.path.name
    references = "".join(
        f"| Mean return, {who} | {score:g} |\n" for who, score in about.reference_scores.items()
    )
    of_human = normalized(about.spec, scores)
    command = plain(about.command, MOST_OF_A_LINE)
    human = f"| Human-normalized | {of_human} |\n" if of_human else ""
    return f"""---
license: {plain(about.license).lower()}
task_categories: [reinforcement-learning]
---
# {name}

{len(episodes)} whole episodes of {about.spec.protocol}, played by {plain(about.policy)}.

| | |
|---|---|
| Return | {scores.mean():.2f} on average, {scores.min():g} to {scores.max():g} |
{human}{references}| Steps | {steps:,} |
{made(about)}

Made by `{command}`. Each episode is a Parquet file of {CONTENTS[about.replayable]}:
`python -m demos verify {name}` {PROOF[about.replayable]}.

```json
{json.dumps(about.spec.to_json(), indent=2)}
```
"""
