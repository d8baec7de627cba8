"""Draws the statistics of a dataset: returns, lengths and actions."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from demos.dataset import Dataset, write
from demos.episode import Episode
from envs import UserError
from envs.action_names import action_name
from envs.scores import reference_scores
from envs.text import plain

if TYPE_CHECKING:
    from demos.states import States

ENDINGS = (".png", ".svg", ".pdf")

BINS = 20
LINES = {"random": ":", "human": "--"}

MOST_SERIES = 8
"""Largest number of drawn components of an action vector; more could not be distinguished."""


def picture(
    path: Path, dataset: Dataset, episodes: list[Episode], states: States | None = None
) -> None:
    """Writes histograms of the returns, lengths and actions of episodes, at least one.

    Args:
        states: also shows how often the kinds of states occur, and the choice in them.

    Raises:
        UserError: the ending of the name is unknown, matplotlib is missing, or writing fails.
    """
    if path.suffix not in ENDINGS:
        raise UserError(f"--picture {path}: its name must end in {', '.join(ENDINGS)}")
    about = dataset.metadata
    columns = 3 if states is None else 4
    figure = new_figure(4 * columns, 3.6)
    title = f"{dataset.path.name}: {len(episodes)} episodes of {about.policy}"
    figure.suptitle(plain(title), parse_math=False)
    returns, lengths, actions, *of_states = figure.subplots(1, columns)
    returns.hist([each.score for each in episodes], bins=BINS)
    returns.set(xlabel="return", ylabel="episodes")
    for who, score in reference_scores(about.spec.scored_game).items():
        returns.axvline(score, color="black", linestyle=LINES[who], label=who)
        returns.legend()
    lengths.hist([len(each) for each in episodes], bins=BINS)
    lengths.set(xlabel="steps", ylabel="episodes")
    played = np.concatenate([each.actions for each in episodes])
    if played.ndim == 1 and played.dtype.kind in "iu":
        values, counts = np.unique(played, return_counts=True)
        names = [action_name(about.spec, value) for value in values]
        actions.barh(names, counts / len(played))
        actions.invert_yaxis()
        actions.set(xlabel="share of the steps", ylabel="action")
    else:
        numbers = played.reshape(len(played), -1)[:, :MOST_SERIES]
        labels = [f"number {i}" for i in range(numbers.shape[1])]
        actions.hist(numbers, bins=BINS, label=labels, histtype="step")
        actions.set(xlabel="action", ylabel="steps")
        actions.legend()
    if states is not None:
        draw_states(of_states[0], states)
    save(figure, path)


def draw_states(axes: Any, states: States) -> None:
    """Draws the kinds of states from the most frequent one, and the entropy of the actions."""
    order_C = np.argsort(-states.visits_C)
    axes.bar(np.arange(len(order_C)), states.visits_C[order_C])
    axes.set(xlabel="kind of state", ylabel="share of the states")
    if len(states.entropy_C) > 0:
        beside = axes.twinx()
        beside.plot(states.entropy_C[order_C], "k.", markersize=4)
        beside.set(ylabel="choice in it (bits)", ylim=(0, None))


def new_figure(width: float, height: float) -> Any:
    """A matplotlib figure of a size in inches; raises a UserError if matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("--picture needs matplotlib: pip install -e '.[pictures]'") from None
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Any, path: Path) -> None:
    """Writes a figure in the format of the path's ending; raises a UserError if writing fails."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix[1:], dpi=150)
    write(path, drawn.getvalue())
