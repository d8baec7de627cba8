"""The datasets that come with Joystick, verified in its continuous integration."""

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
    """Their names and directories."""
    return {path.parent.name: path.parent for path in sorted(FOLDER.glob("*/dataset.json"))}


def located(name: str | Path) -> Path:
    """The directory of a dataset, given as a path or as the name of a shipped one; a path wins.

    Raises:
        UserError: there is none.
    """
    path, datasets = Path(name), shipped()
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
    """The dataset of a path or of a shipped name; a UserError says what is wrong with it."""
    return Dataset.open(located(name))


def of_environment(env_id: str) -> Path | None:
    """The shipped dataset of an environment; None where there is none."""
    for path in shipped().values():
        if Dataset.open(path).metadata.spec.env_id == env_id:
            return path
    return None


def find(name: str, spec: EnvSpec) -> Path:
    """The directory of a dataset, as `located`; "auto" is the shipped one of the environment.

    Raises:
        UserError: there is none, and the nearest name.
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
