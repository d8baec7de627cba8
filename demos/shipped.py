"""The datasets that come with Joystick, verified in its continuous integration."""

from __future__ import annotations

from pathlib import Path

from demos.dataset import Dataset
from envs import EnvSpec, UserError
from envs.errors import did_you_mean

FOLDER = Path(__file__).with_name("datasets")


def shipped() -> dict[str, Path]:
    """Their names and directories."""
    return {path.parent.name: path.parent for path in sorted(FOLDER.glob("*/dataset.json"))}


def find(name: str, spec: EnvSpec) -> Path:
    """The directory of a dataset, given as a path or a shipped one's name; "auto" is the shipped
    one of the environment.

    Raises:
        UserError: there is none.
    """
    datasets = shipped()
    if name == "auto":
        for path in datasets.values():
            if Dataset.open(path).metadata.spec.env_id == spec.env_id:
                return path
        known = ", ".join(datasets)
        raise UserError(
            f"no demonstrations of {spec.env_id} are shipped (shipped are: {known}); record some"
            f" with `python -m demos record --env {spec.env_id} --policy runs/<run> --out NAME`"
            " and give --demos NAME"
        )
    if (Path(name) / "dataset.json").exists():
        return Path(name)
    if name in datasets:
        return datasets[name]
    raise UserError(
        f"no dataset at '{name}' (shipped are: {', '.join(datasets)})"
        + did_you_mean(name, datasets)
    )
