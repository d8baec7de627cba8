"""What a dataset is, for people: tables on the terminal and a card in Markdown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from rich.table import Table

from demos.dataset import Dataset
from demos.episode import Episode
from envs import UserError

# By whether the episodes are replayable.
CONTENTS = {
    True: "actions and rewards, with its seed and digests of every frame",
    False: "observations, actions and rewards, with digests of them",
}
PROOF = {
    True: "plays all of them again and compares",
    False: "compares them with their digests, because the environment is not reproducible",
}


def statistics(dataset: Dataset, *, skip_damaged: bool) -> Table:
    """Returns, lengths and actions of a dataset; a UserError where it has no episodes."""
    episodes = at_least_one(dataset, dataset.episodes(skip_damaged=skip_damaged))
    scores, lengths = np.array([e.score for e in episodes]), np.array([len(e) for e in episodes])
    table = Table(box=None, show_header=False)
    size = sum(path.stat().st_size for path in dataset.files())
    duplicates = len(episodes) - len({e.digests[-1].tobytes() for e in episodes})
    rows = {
        "environment": dataset.metadata.spec.protocol,
        "policy": dataset.metadata.policy,
        "episodes": f"{len(episodes)} ({duplicates} twice)",
        "return": f"{scores.mean():.2f} on average, {scores.min():g} to {scores.max():g}",
        "steps": f"{lengths.sum():,} ({lengths.min()} to {lengths.max()} an episode)",
        "terminated": f"{sum(e.terminated for e in episodes)}",
        "observations": "replayed" if dataset.metadata.replayable else "stored",
        "on disk": f"{size:,} bytes, {size / lengths.sum():.2f} a step",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    actions = np.concatenate([e.actions for e in episodes])
    if actions.ndim == 1 and actions.dtype.kind in "iu":
        values, counts = np.unique(actions, return_counts=True)
        for value, count in zip(values, counts, strict=True):
            share = count / len(actions)
            table.add_row(f"action {value}", f"{'█' * round(40 * share)} {share:.1%}")
    return table


def at_least_one(dataset: Dataset, episodes: list[Episode]) -> list[Episode]:
    """The episodes of a dataset; a UserError where there are none."""
    if not episodes:
        raise UserError(f"{dataset.path} has no episodes")
    return episodes


def listing(directory: Path) -> Table:
    """The datasets at or below a directory, the unreadable ones with what is wrong."""
    table = Table("dataset", "environment", "policy", "episodes", box=None)
    for path in sorted(each.parent for each in directory.rglob("dataset.json")):
        name = str(path.relative_to(directory))
        try:
            dataset = Dataset.open(path)
        except UserError as error:
            table.add_row(name, str(error), "", "")
            continue
        about = dataset.metadata
        table.add_row(name, about.spec.protocol, about.policy, str(len(dataset.files())))
    return table


def card(dataset: Dataset) -> str:
    """A dataset card in Markdown: what it is, how good, how it was made, how to check it."""
    about, episodes = dataset.metadata, at_least_one(dataset, dataset.episodes())
    scores = np.array([each.score for each in episodes])
    steps, name = sum(len(each) for each in episodes), dataset.path.name
    references = "".join(
        f"| Mean return, {who} | {score:g} |\n" for who, score in about.reference_scores.items()
    )
    return f"""---
license: {about.license.lower()}
task_categories: [reinforcement-learning]
---
# {name}

{len(episodes)} whole episodes of {about.spec.protocol}, played by {about.policy}.

| | |
|---|---|
| Return | {scores.mean():.2f} on average, {scores.min():g} to {scores.max():g} |
{references}| Steps | {steps:,} |
| Made | {about.created}, by commit {about.commit or "unknown"} |

Made by `{about.command}`. Each episode is a Parquet file of {CONTENTS[about.replayable]}:
`python -m demos verify {name}` {PROOF[about.replayable]}.

```json
{json.dumps(about.spec.to_json(), indent=2)}
```
"""
