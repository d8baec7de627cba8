"""The datasets that come with Joystick; its continuous integration verifies them."""

from __future__ import annotations

import os
from pathlib import Path

from demos.dataset import Dataset
from demos.metadata import FILE
from envs import EnvSpec, UserError
from envs.errors import did_you_mean
from envs.text import plain

FOLDER = Path(__file__).with_name("datasets")


def shipped() -> dict[str, Path]:
    """The directories of the shipped datasets, by name."""
    return {path.parent.name: path.parent for path in sorted(FOLDER.glob("*/dataset.json"))}


def names_dataset(name: str | Path) -> bool:
    """Whether a name is a dataset's directory, or a shipped dataset's name without such a path."""
    path = Path(name).expanduser()
    return (path / FILE).exists() or (not path.exists() and str(name) in shipped())


def located(name: str | Path) -> Path:
    """The directory of a dataset, given as a path or as the name of a shipped dataset.

    If both exist, the path wins.

    Raises:
        UserError: there is no such dataset; the message lists the shipped ones.
    """
    path = Path(name)
    datasets = shipped()
    if os.path.lexists(path / FILE):
        return path
    if str(name) in datasets:
        return datasets[str(name)]
    why = f": it has no {FILE}" if path.exists() else ""
    raise UserError(
        f"no dataset at '{plain(name)}'{why} (shipped are: {', '.join(datasets)})"
        + did_you_mean(path.name, datasets)
    )


def opened(name: str | Path) -> Dataset:
    """Opens the dataset at a path or with a shipped name; raises a UserError if it cannot."""
    return Dataset.open(located(name))


def of_environment(env_id: str) -> Path | None:
    """The directory of the shipped dataset of an environment, or None if there is none."""
    for path in shipped().values():
        if Dataset.open(path).metadata.spec.env_id == env_id:
            return path
    return None


def find(name: str, spec: EnvSpec) -> Path:
    """The directory of a dataset, as `located`; "auto" means the environment's shipped dataset.

    Raises:
        UserError: there is no such dataset; the message names the nearest one.
    """
    if name == "auto":
        path = of_environment(spec.env_id)
        if path is not None:
            return path
        known = ", ".join(shipped())
        raise UserError(
            f"no demonstrations of {spec.env_id} are shipped (shipped are: {known}); record some"
            f" with `python -m demos record --env {spec.env_id} --policy runs/<run> --out NAME`"
            " and give --demos NAME"
        )
    return located(name)
