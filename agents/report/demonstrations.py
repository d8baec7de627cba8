"""Describes datasets of demonstrations for the page: returns, actions and films of episodes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from agents.report.parsing import printable
from agents.report.reading import RunRecord
from demos import Dataset, Episode
from demos.dataset import Damage
from demos.describing import datasets_below
from demos.shipped import located, of_environment
from envs import UserError, render, video
from envs.action_names import action_name

MOST_STEPS = 3_000
"""Longest film, in steps; the page says if a film ends before its episode."""

BINS = 20
"""Bins of a histogram of continuous actions."""

MOST_NUMBERS = 4
"""Largest number of components of a continuous action that get a histogram."""


def shown(root: Path, given: Iterable[str], runs: Sequence[RunRecord]) -> list[Path]:
    """The directories of the datasets that a page shows, each once.

    These are the given datasets, the datasets below the runs' directory, the datasets that runs
    learned from, and the shipped datasets of the runs' environments.

    Args:
        given: paths, or names of shipped datasets.

    Raises:
        UserError: a given dataset does not exist.
    """
    paths = [_given(name) for name in given] + datasets_below(root)
    for run in runs:
        name = run.config.get("demos")
        if isinstance(name, str) and name and name != "auto":
            with suppress(UserError, OSError, ValueError):
                paths.append(located(name))
    environments = dict.fromkeys(run.env_id for run in runs)
    paths += [path for path in map(of_environment, environments) if path is not None]
    return list({path.resolve(): path for path in paths}.values())


def _given(name: str) -> Path:
    try:
        return located(name)
    except UserError as error:
        raise UserError(f"--demos {name}: {error}") from None


def described(path: Path, num_films: int) -> tuple[dict[str, Any], list[bytes]]:
    """Returns the description of a dataset as JSON, and its films, best episode first."""
    about: dict[str, Any] = {"name": printable(path.name), "problems": [], "films": []}
    episodes: dict[int, Episode] = {}
    try:
        dataset = Dataset.open(path)
        for number, each in enumerate(dataset.scan()):
            if isinstance(each, Damage):
                about["problems"].append(printable(f"episode {number} is left out: {each.why}"))
            else:
                episodes[number] = each
    except (UserError, OSError) as error:
        return about | {"problems": [*about["problems"], printable(error)]}, []
    spec = dataset.metadata.spec
    about |= {"protocol": printable(spec.protocol), "policy": printable(dataset.metadata.policy)}
    about["license"] = printable(dataset.metadata.license)
    about["returns"] = [each.score for each in episodes.values()]
    about["steps"] = sum(len(each) for each in episodes.values())
    if not episodes:
        about["problems"].append("it has no episodes")
        return about, []
    films: list[bytes] = []
    try:
        about["actions"] = histogram(list(episodes.values()))
        for number in _spread(episodes, num_films):
            film = filmed(episodes[number])
            about["films"].append({"episode": number, **_captions(episodes[number])})
            films.append(film)
    except (UserError, OSError, ImportError, ValueError) as error:
        about["problems"].append(printable(f"no film: {error}"))
    return about, films


def _spread(episodes: dict[int, Episode], count: int) -> list[int]:
    """The numbers of `count` episodes from the best to the worst."""
    ranked = sorted(episodes, key=lambda number: -episodes[number].score)
    places = np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int)
    return [ranked[place] for place in places]


def histogram(episodes: Sequence[Episode]) -> dict[str, Any]:
    """The frequencies of actions.

    Returns:
        {"names", "shares"} of discrete actions, or {"edges" (21), "counts" (K, 20)} of the first K
        components of continuous actions.
    """
    actions = np.concatenate([each.actions for each in episodes])
    spec = episodes[0].spec
    if actions.dtype.kind in "iu" and actions.ndim == 1:
        values, counts = np.unique(actions, return_counts=True)
        names = [action_name(spec, value) for value in values]
        return {"names": names, "shares": (counts / len(actions)).tolist()}
    numbers = actions.reshape(len(actions), -1)[:, :MOST_NUMBERS]
    edges = np.histogram_bin_edges(numbers, BINS)
    counts = [np.histogram(column, edges)[0].tolist() for column in numbers.T]
    return {"edges": edges.tolist(), "counts": counts}


def _captions(episode: Episode) -> dict[str, Any]:
    """The captions of a film, by step, as JSON."""
    names = [action_name(episode.spec, action) for action in episode.actions[:MOST_STEPS]]
    distinct = sorted(set(names))
    places = {name: place for place, name in enumerate(distinct)}
    return {
        "return": episode.score,
        "length": len(episode),
        "fps": video.fps_of(episode.spec),
        "names": distinct,
        "actions": [places[name] for name in names],
        "rewards": [round(float(reward), 4) for reward in episode.rewards[:MOST_STEPS]],
    }


def filmed(episode: Episode) -> bytes:
    """The bytes of an MP4 film with the reset and each step, at most `MOST_STEPS`.

    Raises:
        UserError: as `envs.render`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        pictures = islice(render(episode.tape), MOST_STEPS + 1)
        video.write(path, pictures, video.fps_of(episode.spec))
        return path.read_bytes()
