"""Measures the size of the page of many runs, and how fast a real browser opens it.

    python -m benchmarks.report_page

The runs are artificial: three agents on four games with enough seeds, each with so many lines of
metrics. The browser opens the page at its learning curves. The page counts as open once its table
is filled and every plot on the screen is drawn.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import envs
from agents.core.runs.run import FORMAT
from agents.core.training.config import require
from agents.report import page
from agents.report.content import assemble
from agents.report.reading import Reader
from benchmarks.browser import browser, until
from benchmarks.machine import write_result
from envs import command_line
from envs.entry import command as one_line_errors
from envs.scores import human_normalized

GAMES = ("Breakout", "Pong", "Seaquest", "SpaceInvaders")
AGENTS = {"dqn": 0.75, "ppo": 1.0, "a2c": 0.5}
"""The human-normalized score that each agent reaches."""

TOTAL_STEPS = 10_000_000

EVALUATIONS = 20

OPEN = """() => {
    if (scrollY < 100) return false;
    const plots = [...document.querySelectorAll('.plot')].filter((plot) =>
        plot.getBoundingClientRect().top < innerHeight);
    return document.querySelector('#table tbody tr') && plots.length
        && plots.every((plot) => plot.querySelector('.main-svg'));
}"""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    runs: tuple[int, ...] = (1, 20, 200)  # Numbers of runs in a page.
    points: int = 10_000  # Lines of metrics of a run.
    openings: int = 3  # Number of times that a page is opened; the median counts.


def make_runs(folder: Path, count: int, points: int, seed: int = 0) -> None:
    """Writes so many runs of all agents on all games, seed by seed."""
    rng = np.random.default_rng(seed)
    kinds = [(game, algo) for game in GAMES for algo in AGENTS]
    for number in range(count):
        game, algo = kinds[number % len(kinds)]
        make_run(folder, game, algo, number // len(kinds) + 1, points, rng)


def make_run(
    folder: Path, game: str, algo: str, seed: int, points: int, rng: np.random.Generator
) -> Path:
    """Writes one run whose returns follow a noisy S-shaped curve."""
    spec = envs.spec(game)
    random, human = (_score(spec.game, level) for level in (0.0, 1.0))
    path = folder / f"{spec.env_id.replace('/', '-')}__{algo}__{seed}__20260101-{len(game):06d}"
    path.mkdir(parents=True)
    config = {"env_id": game, "seed": seed, "total_steps": TOTAL_STEPS, "learning_rate": 2.5e-4}
    record = {"joystick": FORMAT, "algo": algo, "config": config, "env_spec": spec.to_json()}
    (path / "config.json").write_text(json.dumps(record))
    reaches = AGENTS[algo] * rng.lognormal(0, 0.25)
    middle = rng.uniform(0.3, 0.5)
    speed = rng.uniform(800, 1200)
    at = np.linspace(1 / points, 1, points)
    level = reaches / (1 + np.exp(-10 * (at - middle)))
    returns = random + (human - random) * (level + 0.08 * rng.standard_normal(points))
    losses = 0.05 * np.exp(-2 * at) + 0.004 * rng.random(points)
    every = max(points // EVALUATIONS, 1)
    with (path / "metrics.jsonl").open("w") as file:
        for k in range(points):
            step = round(at[k] * TOTAL_STEPS)
            head = f'{{"step": {step}, "time": {step / speed:.3f}, '
            if k % 4:
                file.write(f'{head}"charts/episodic_return": {returns[k]:.3f}, ')
                file.write(f'"charts/episodic_return_20": {returns[k]:.3f}}}\n')
            else:
                file.write(f'{head}"charts/SPS": {speed * (1 + 0.1 * losses[k]):.1f}, ')
                file.write(f'"losses/loss": {losses[k]:.5f}}}\n')
            if (k + 1) % every == 0:
                mean = random + (human - random) * level[k]
                normalized = human_normalized(spec.game, mean)
                file.write(f'{head}"eval/return_mean": {mean:.3f}, ')
                file.write(f'"eval/human_normalized": {normalized:.5f}}}\n')
    final = random + (human - random) * level[-1]
    score = {
        "eval/return_mean": final,
        "eval/return_ci95": abs(human - random) * 0.05,
        "eval/human_normalized": human_normalized(spec.game, final),
        "checkpoint_step": TOTAL_STEPS,
        "episodes": 30,
        "temperature": 1.0,
        "protocol": spec.protocol,
    }
    (path / "eval.json").write_text(json.dumps(score))
    return path


def _score(game: str | None, level: float) -> float:
    """The return with this human-normalized score."""
    zero = human_normalized(game, 0.0)
    one = human_normalized(game, 1.0)
    assert zero is not None and one is not None
    return (level - zero) / (one - zero)


def measure(arguments: Arguments) -> list[dict[str, Any]]:
    """Returns, for each number of runs, the page's size and the seconds to make and to open it."""
    results = []
    with tempfile.TemporaryDirectory() as name, browser() as opened:
        for count in arguments.runs:
            folder = Path(name) / str(count)
            make_runs(folder, count, arguments.points)
            start = time.perf_counter()
            text = page.build(assemble("runs", *Reader(folder).read(), []), film_mb=0)
            made = time.perf_counter() - start
            file = folder / "report.html"
            file.write_text(text, "utf-8")
            seconds = [_open(opened, file) for _ in range(arguments.openings)]
            loaded, drawn, computed = np.median(seconds, axis=0).tolist()
            results.append(
                {
                    "runs": count,
                    "points_per_run": arguments.points,
                    "page_mb": round(len(text.encode()) / 1e6, 2),
                    "seconds_to_write": round(made, 2),
                    "seconds_to_content_loaded": round(loaded, 2),
                    "seconds_to_plots_drawn": round(drawn, 2),
                    "seconds_computed_by_page": round(computed, 2),
                }
            )
    return results


def _open(opened: Any, file: Path) -> tuple[float, float, float]:
    """Opens a page in the browser and measures seconds.

    Returns the seconds until DOMContentLoaded, the seconds until the plots on the screen are drawn,
    and the seconds that the page's thread computed until then. Other work on the machine changes
    the last figure least.
    """
    context = opened.new_context(viewport={"width": 1366, "height": 860})
    tab = context.new_page()
    devtools = context.new_cdp_session(tab)
    devtools.send("Performance.enable")
    tab.goto(file.as_uri() + "#curves", wait_until="domcontentloaded")
    until(tab, OPEN)
    drawn = tab.evaluate("performance.now()") / 1000
    loaded = tab.evaluate(
        "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd / 1000"
    )
    metrics = devtools.send("Performance.getMetrics")["metrics"]
    (computed,) = (each["value"] for each in metrics if each["name"] == "ThreadTime")
    context.close()
    return loaded, drawn, computed


def main(args: list[str] | None = None) -> None:
    with one_line_errors():
        arguments = command_line.parse(
            Arguments, args=args, prog="python -m benchmarks.report_page", description=__doc__
        )
        require(arguments.points >= 1, "points", arguments.points, "at least 1")
        require(arguments.openings >= 1, "openings", arguments.openings, "at least 1")
        require(min(arguments.runs) >= 1, "runs", arguments.runs, "at least 1 each")
        result = measure(arguments)
        Console().print(result)
        print(f"wrote {write_result('report-page', {'pages': result})}")


if __name__ == "__main__":
    main()
