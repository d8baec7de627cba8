"""`python -m demos export` and `import`: datasets in the formats of other libraries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from demos import minari, minari_import, provenance
from demos.dataset import Dataset
from demos.editing import save
from demos.shipped import opened
from envs.output import tell


@dataclass(frozen=True, kw_only=True)
class Export:
    """A dataset for another library, its observations included."""

    dataset: tyro.conf.Positional[Path]  # Directory of the dataset, or a shipped one's name.
    to: Literal["minari"]  # Library.
    id: str  # Name there, such as pong/expert-v0.
    out: Path | None = None  # Minari's directory; by default MINARI_DATASETS_PATH.

    def run(self) -> int:
        directory = self.out or minari.datasets_directory()
        path = minari.export(opened(self.dataset), self.id, directory)
        tell(f"{self.id} in {path}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Import:
    """A dataset of another library; what its seeds and actions reproduce is kept as these."""

    source: tyro.conf.Positional[str]  # Name there, or directory.
    from_: Annotated[Literal["minari"], tyro.conf.arg(name="from")]  # Library.
    out: Path  # Directory of the new dataset.
    env_id: Annotated[str | None, tyro.conf.arg(name="env")] = None  # Environment, if not said.
    replayable_only: bool = False  # Leave out episodes that would need stored observations.

    def run(self) -> int:
        Dataset.require_absent(self.out)
        reading = minari_import.read(self.source, self.env_id, replayable_only=self.replayable_only)
        command, created = provenance.command_line(), provenance.now()
        metadata = replace(reading.metadata, command=command, created=created)
        # One at a time: observations may be more than fits into memory.
        dataset = save(self.out, metadata, reading.episodes)
        tell(f"{len(dataset.files())} episodes in {self.out}")
        if reading.remark:
            tell(reading.remark)
        return 0
