"""The table of a comparison in Markdown, and the pages that have such tables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import published
from benchmarks.machine import RESULTS
from envs import UserError
from envs.files import write_atomically

MARK = re.compile(
    r"(?P<begin><!-- compare: (?P<files>[\w. -]+) -->\n)(?P<body>.*?)(?P<end><!-- /compare -->)",
    re.DOTALL,
)
"""The place of a table in a page, with the names of its result files without `.json`."""

Row = dict[str, Any]


def by_agent(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of each agent in the order of seeds; ours come before the peers."""
    found: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["agent"].startswith("sb3"), row["seed"])):
        found.setdefault(row["agent"], []).append(row)
    return found


def mean(values: Iterable[float | None]) -> float | None:
    """The mean, or None if a value is missing."""
    values = list(values)
    if not values or None in values:
        return None
    return float(np.mean([each for each in values if each is not None]))


def at_minutes(row: Row, minutes: float) -> float | None:
    """The last evaluation of a training that was over after so many minutes; None without one."""
    done = [score for _, at, score in row["curve"] if at <= minutes]
    return done[-1] if done else None


def shortest(agents: dict[str, list[Row]]) -> float:
    """The longest training of the fastest agent, in minutes."""
    fastest = min(agents.values(), key=lambda rows: mean(row["minutes"] for row in rows) or 0.0)
    return max(row["minutes"] for row in fastest)


def number(value: float | None, digits: int = 1) -> str:
    """A number for a cell; "" for None."""
    return "" if value is None else f"{value:,.{digits}f}"


def table(rows: list[Row]) -> list[str]:
    """The lines of the table of one task and one number of steps, from the highest mean score."""
    agents = by_agent(rows)
    minutes = shortest(agents)
    seeds = sorted({row["seed"] for row in rows})
    named = f"Seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    head = ("Agent", "Preset", "Mean", named, "Steps/s", "Minutes")
    head = (*head, "CPU minutes", f"Evaluated at {minutes:.1f} minutes")
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    ranked = sorted(agents.items(), key=lambda each: -(mean(row["score"] for row in each[1]) or 0))
    for agent, its in ranked:
        by_seed = {row["seed"]: f"{row['score']:.1f} ± {row['ci95']:.1f}" for row in its}
        scores = ", ".join(by_seed.get(seed, "–") for seed in seeds)
        cells = (
            agent,
            its[0]["preset"],
            f"**{number(mean(row['score'] for row in its))}**",
            scores,
            number(mean(row["steps_per_second"] for row in its), 0),
            number(mean(row["minutes"] for row in its)),
            number(mean(row["cpu_minutes"] for row in its)),
            number(mean(at_minutes(row, minutes) for row in its)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def beside(env: str) -> list[str]:
    """The lines of the table of the published scores of a task; [] without one."""
    found = published.of(env)
    if not found:
        return []
    lines = ["", "Published elsewhere:", ""]
    lines += ["| Agent | Task | Steps | Score | Protocol | Source |", "|" + "---|" * 6]
    for each in found:
        cells = (each.agent, f"`{each.env}`", f"{each.steps:,}", f"{each.score:g}")
        lines.append(f"| {' | '.join((*cells, each.protocol, each.source))} |")
    return lines


def markdown(rows: list[Row]) -> str:
    """The tables of all tasks and numbers of steps, each beside the task's published scores."""
    if not rows:
        return "no rows yet"
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["env"], row["steps"]), []).append(row)
    parts: list[str] = []
    for (env, steps), its in groups.items():
        games = sorted({row["games"] for row in its})
        cpus = sorted({row["cpu"] for row in its})
        about = f"`{its[0]['protocol']}`, {steps:,} steps, scores of {games[0]} games"
        lines = [f"{about}, {' and '.join(cpus)}:", "", *table(its), *beside(env)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def renewed(text: str, folder: Path = RESULTS) -> str:
    """A page with each table made anew from its result files.

    Raises:
        UserError: a result file is missing.
    """

    def made(mark: re.Match[str]) -> str:
        rows: list[Row] = []
        for name in mark["files"].split():
            file = folder / f"{name}.json"
            if not file.exists():
                raise UserError(f"<!-- compare: {name} -->: there is no {file}")
            rows += json.loads(file.read_text("utf-8"))["result"]["rows"]
        named = ", ".join(f"`{name}.json`" for name in mark["files"].split())
        return f"{mark['begin']}\n{markdown(rows)}\n\nFrom {named}.\n\n{mark['end']}"

    return MARK.sub(made, text)


def renew(page: Path) -> None:
    """Writes a page with its tables made anew.

    Raises:
        UserError: the page cannot be read or has no mark, or a result file is missing.
    """
    try:
        text = page.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{page}: {getattr(error, 'strerror', None) or error}") from None
    if MARK.search(text) is None:
        raise UserError(f"{page}: has no <!-- compare: FILE --> and <!-- /compare -->")
    write_atomically(page, renewed(text).encode())
