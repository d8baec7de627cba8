"""`python -m demos export` and `import`: datasets in the formats of other libraries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from demos import lerobot_import, minari, minari_import, npz_import, provenance
from demos.dataset import Dataset
from demos.editing import save
from demos.shipped import opened
from envs.output import tell

READERS = {
    "minari": minari_import.read,
    "npz": npz_import.read,
    "lerobot": lerobot_import.read,
}
"""The function that reads a dataset of each library."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a dataset in the format of another library, with all observations."""

    dataset: tyro.conf.Positional[Path]  # Directory of the dataset, or a shipped one's name.
    to: Literal["minari"]  # The other library.
    id: str  # Name of the dataset in that library, such as pong/expert-v0.
    out: Path | None = None  # Directory of Minari's datasets; by default MINARI_DATASETS_PATH.

    def run(self) -> int:
        directory = self.out or minari.datasets_directory()
        path = minari.export(opened(self.dataset), self.id, directory)
        tell(f"{self.id} in {path}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Import:
    """Read a dataset of another library.

    Episodes that replay are stored as a seed and actions, the others with their observations.
    """

    source: tyro.conf.Positional[str]
    """Name of the dataset in Minari, its directory, or an .npz file."""
    from_: Annotated[Literal["minari", "npz", "lerobot"], tyro.conf.arg(name="from")]
    """The other library; npz is a plain file of NumPy."""
    out: Path  # Directory of the new dataset.
    env_id: Annotated[str | None, tyro.conf.arg(name="env")] = None
    """Environment; None takes the one that the dataset names."""
    replayable_only: bool = False  # Leave out episodes that would need stored observations.

    def run(self) -> int:
        Dataset.require_absent(self.out)
        read = READERS[self.from_]
        reading = read(self.source, self.env_id, replayable_only=self.replayable_only)
        metadata = replace(
            reading.metadata, command=provenance.command_line(), created=provenance.now()
        )
        # Episodes are read one at a time: the observations of all may not fit into memory.
        dataset = save(self.out, metadata, reading.episodes)
        tell(f"{len(dataset.files())} episodes in {self.out}")
        if reading.remark:
            tell(reading.remark)
        return 0
