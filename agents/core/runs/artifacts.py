"""Artifacts: a run's inputs and outputs as files, of which a tracker keeps versions."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agents.core.runs.run import Run
from demos import Dataset, Episode


@dataclass(frozen=True)
class Artifact:
    """A set of files; equal files are the same version.

    Attributes:
        name: the name of all versions.
        type: "model" or "dataset".
        files: regular files, by their names in the artifact.
        metadata: JSON values that describe the version.
    """

    name: str
    type: str
    files: dict[str, Path]
    metadata: dict[str, Any] = field(default_factory=dict)


def model(run: Run, metadata: dict[str, Any]) -> Artifact:
    """A run's best weights so far, laid out as a run for `python -m agents.evaluate`."""
    ours = run.shared_files() or [run.path / "config.json"]
    files = {file.relative_to(run.path).as_posix(): file for file in ours}
    about = {"run": run.path.name, "algorithm": run.algo, **metadata}
    return Artifact(run.path.resolve().name, "model", files, about)


def demonstrations(dataset: Dataset, episodes: list[Episode]) -> Artifact:
    """The dataset of a run. The digest covers the episodes' file names, which hold checksums."""
    about = dataset.metadata
    path = dataset.path.resolve()
    of_episodes = dataset.files()
    names = "\n".join(file.name for file in of_episodes)
    ours = [dataset.path / "dataset.json", *of_episodes]
    return Artifact(
        path.name,
        "dataset",
        {file.relative_to(dataset.path).as_posix(): file for file in ours},
        {
            "name": path.name,
            "path": str(path),
            "digest": hashlib.blake2b(names.encode(), digest_size=8).hexdigest(),
            "protocol": about.spec.protocol,
            "episodes": len(episodes),
            "steps": sum(map(len, episodes)),
            "return_mean": float(np.mean([each.score for each in episodes])),
            "policy": about.policy,
            "created": about.created,
            "commit": about.commit,
            "license": about.license,
        },
    )
