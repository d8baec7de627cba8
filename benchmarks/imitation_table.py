"""The table of imitators by the number of their demonstrations: Markdown, CSV and a picture.

The share of a score is 0 at random play and 1 at the demonstrator. Its interval is a stratified
bootstrap: the games of each seed are drawn again, and the seeds stay.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from demos.picturing import new_figure, save
from envs import UserError
from envs.files import write_atomically

Row = dict[str, Any]

COLUMNS = (
    *("env", "dataset", "agent", "demonstrations", "seed", "steps", "environment_steps"),
    *("score", "ci95", "share", "random", "demonstrator", "games", "minutes", "cpu_minutes"),
    *("protocol", "best_step", "date", "commit", "cpu"),
)

RESAMPLES = 2_000
"""Draws of the bootstrap."""


def share(score: float, row: Row) -> float:
    """A score from 0 (random play) to 1 (the demonstrator)."""
    return (score - row["random"]) / (row["demonstrator"] - row["random"])


def interval(rows: list[Row]) -> tuple[float, float]:
    """The 95% interval of the mean share over the seeds."""
    games = [np.array([share(each, row) for each in row["returns"]]) for row in rows]
    if all(np.ptp(each) == 0 for each in games):
        # The bootstrap of equal numbers is not defined.
        mean = float(np.mean([each[0] for each in games]))
        return mean, mean
    found = stats.bootstrap(
        games,
        lambda *seeds, axis=-1: np.mean([each.mean(axis=axis) for each in seeds], axis=0),
        n_resamples=RESAMPLES,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def groups(rows: list[Row]) -> dict[tuple[str, int], dict[str, dict[int, list[Row]]]]:
    """The rows by task and steps of the environment, then by agent, then by demonstrations.

    Behavior cloning, which takes no steps, is in all tables of its task.
    """
    steps = sorted({(row["env"], row["environment_steps"]) for row in rows})
    acting = [each for each in steps if each[1]] or steps
    found: dict[tuple[str, int], dict[str, dict[int, list[Row]]]] = {}
    for env, count in acting:
        agents = found.setdefault((env, count), {})
        for row in rows:
            if row["env"] == env and row["environment_steps"] in (0, count):
                by_count = agents.setdefault(row["agent"], {})
                by_count.setdefault(row["demonstrations"], []).append(row)
    return found


def cell(rows: list[Row]) -> str:
    """The mean share of an agent with its interval, and its mean return."""
    mean = np.mean([share(row["score"], row) for row in rows])
    low, high = interval(rows)
    score = np.mean([row["score"] for row in rows])
    return f"**{mean:.0%}** ({low:.0%} to {high:.0%}), {score:.1f}"


def table(agents: dict[str, dict[int, list[Row]]]) -> list[str]:
    """The lines of the table of one task."""
    counts = sorted({count for by_count in agents.values() for count in by_count if count})
    named = [f"{count} demonstration{'s' * (count > 1)}" for count in counts]
    head = ("Agent", "Environment steps", *named, "Seeds", "CPU minutes")
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for agent, by_count in agents.items():
        every = [row for rows in by_count.values() for row in rows]
        # An agent without demonstrations has one result for all columns.
        cells = (
            [cell(by_count[0])] + ["–"] * (len(counts) - 1)
            if 0 in by_count
            else [cell(by_count[count]) if count in by_count else "–" for count in counts]
        )
        used = [row["cpu_minutes"] for row in every if row["cpu_minutes"] is not None]
        minutes = f"{np.mean(used):.1f}" if used else ""
        seeds = ", ".join(map(str, sorted({row["seed"] for row in every})))
        steps = f"{every[0]['environment_steps']:,}"
        lines.append(f"| {' | '.join((agent, steps, *cells, seeds, minutes))} |")
    return lines


def markdown(rows: list[Row]) -> str:
    """The tables of all tasks."""
    if not rows:
        return "no rows yet"
    parts: list[str] = []
    for (_, steps), agents in groups(rows).items():
        its = [row for by_count in agents.values() for each in by_count.values() for row in each]
        first = its[0]
        cpus = " and ".join(sorted({row["cpu"] for row in its}))
        about = (
            f"`{first['protocol']}`, {first['dataset']} ({first['demonstrator']:.1f} on average;"
            f" random play {first['random']:.1f}), {steps:,} steps of the environment, scores of"
            f" {first['games']} games, {cpus}:"
        )
        parts.append("\n".join([about, "", *table(agents)]))
    return "\n\n".join(parts)


def write_csv(rows: list[Row], path: Path) -> None:
    """Writes the rows as CSV, without the returns of single games."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(row | {"share": round(share(row["score"], row), 4)})
    write_atomically(path, text.getvalue().encode())


def draw(rows: list[Row], path: Path) -> None:
    """Draws the shares over the number of demonstrations, one panel for each task.

    Raises:
        UserError: there are no rows, or the file is not a PNG.
    """
    if path.suffix != ".png":
        raise UserError(f"--picture {path}: must end in .png")
    if not rows:
        raise UserError("--picture: there are no rows yet")
    tables = groups(rows)
    figure = new_figure(6 * len(tables), 4)
    panels = figure.subplots(1, len(tables), squeeze=False)[0]
    for panel, ((env, steps), agents) in zip(panels, tables.items(), strict=True):
        for agent, by_count in agents.items():
            counts = sorted(by_count)
            means = [np.mean([share(row["score"], row) for row in by_count[c]]) for c in counts]
            if counts == [0]:
                panel.axhline(means[0], linestyle=":", color="grey", label=f"{agent}, none")
                continue
            low, high = zip(*(interval(by_count[c]) for c in counts), strict=True)
            (line,) = panel.plot(counts, means, marker="o", label=agent)
            panel.fill_between(counts, low, high, alpha=0.2, color=line.get_color())
        panel.axhline(1.0, color="black", linewidth=0.8)
        panel.set(xscale="log", xlabel="demonstrations", title=f"{env}, {steps:,} steps")
        panel.set_ylabel("share of the way to the demonstrator")
        panel.legend()
    save(figure, path)
