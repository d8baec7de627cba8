"""What the page's script computes, run by Node without a browser."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents.report import page
from agents.report.content import assemble
from agents.report.reading import Reader
from benchmarks.report_page import make_runs

NODE = shutil.which("node")
if NODE is None:
    pytest.skip("the script's tests need Node", allow_module_level=True)

Evaluate = Callable[..., Any]

HARNESS = """
const document = { getElementById: () => ({ textContent: DATA }), documentElement: {} };
class IntersectionObserver { observe() {} }
const location = { hash: HASH, pathname: "/report.html", search: "" };
const history = { replaceState: (_, __, url) => { location.hash = url.includes("#") ? url : ""; } };
"""


def evaluate(root: Path, expression: str, fragment: str = "") -> Any:
    """What an expression is in the page of some runs, as JSON, at an address."""
    data = page.inert(page.values(assemble("test", *Reader(root).read(), []), {}, 0))
    scripts = [page.ASSETS / name for name in page.SCRIPTS if name != "main.js"]
    program = "\n".join(
        [
            f"const DATA = {json.dumps(data)}, HASH = {json.dumps(fragment)};",
            HARNESS,
            *(script.read_text("utf-8") for script in scripts),
            "index(); readAddress();",
            f"console.log(JSON.stringify({expression}) ?? 'null');",
        ]
    )
    assert NODE is not None
    ended = subprocess.run([NODE, "-"], input=program, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs")
    make_runs(path, 24, 60)
    return path


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("algo=ppo", 8),
        ("agent=ppo", 8),
        ("AGENT=PPO", 8),
        ("env=ALE/Pong-v5", 6),
        ("environment=ale/pong-v5 algo=dqn", 2),
        ("state=finished", 24),
        ("seed=2", 12),
        ("algo=none", 0),
    ],
)
def test_a_column_is_found_by_its_heading_and_by_its_name_in_files(
    root: Path, query: str, found: int
):
    expression = f"(state.query = {json.dumps(query)}, visible().length)"
    assert evaluate(root, expression) == found


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of which some values begin as others do."""
    path = tmp_path_factory.mktemp("alike")
    make_runs(path, 24, 20)
    for run in path.iterdir():
        saved = json.loads((run / "config.json").read_text())
        second = saved["config"]["seed"] == 2
        saved["algo"] = "ppo-lstm" if saved["algo"] == "a2c" else saved["algo"]
        saved["config"] |= {"seed": 10 if second else 1, "gamma": 0.99 if second else 0.995}
        (run / "config.json").write_text(json.dumps(saved))
    return path


def shown(root: Path, query: str) -> set[tuple[str, str, str]]:
    """Agent, seed and gamma of the runs that a filter lets through."""
    columns = "[r.algo, String(r.seed), String(r.config.gamma)]"
    runs = f"visible().map((i) => data.runs[i]).map((r) => {columns})"
    return {(a, b, c) for a, b, c in evaluate(root, f"(state.query = {json.dumps(query)}, {runs})")}


@pytest.mark.parametrize(
    ("column", "query"),
    [
        *[(0, f"{name}={algo}") for name in ("algo", "agent") for algo in ("ppo", "ppo-lstm")],
        *[(1, "seed=1"), (1, "seed=10"), (2, "gamma=0.99"), (2, "gamma=0.995")],
    ],
)
def test_a_whole_value_is_not_found_as_a_part_of_others(alike: Path, column: int, query: str):
    everything, value = shown(alike, ""), query.partition("=")[2]
    assert len(everything) == 6
    found = {each for each in everything if each[column] == value}
    assert shown(alike, query) == found != set()


@pytest.mark.parametrize("query", ["algo=pp", "AGENT=Pp", "ppo", "algo=lstm ppo", "agent="])
def test_what_is_no_whole_value_is_found_as_a_part(alike: Path, query: str):
    found = {"ppo-lstm"} if "lstm" in query else {"ppo", "ppo-lstm"}
    found |= {"dqn"} if query == "agent=" else set()
    assert {algo for algo, *_ in shown(alike, query)} == found


def test_a_part_is_looked_for_in_its_own_column(alike: Path):
    assert shown(alike, "env=pong") == shown(alike, "amma=0.99") == shown(alike, "")
    assert shown(alike, "state=pong") == set()


def test_a_reload_shows_the_same(root: Path):
    chosen = """(
        state.query = "seed=1 breakout & more", state.env = "ALE/Pong-v5", state.sort = "score",
        state.algo = "ppo", state.status = "finished", state.down = true, state.axis = "seconds",
        state.lines = "runs", state.metric = "charts/SPS", state.comparing = true,
        state.chosen = new Set([3, 5]), writeAddress(), location.hash)"""
    address = evaluate(root, chosen)
    assert address.startswith("#?")
    shown = "{ ...state, chosen: [...state.chosen], hidden: null, theme: null }"
    assert evaluate(root, shown, address) == {
        "query": "seed=1 breakout & more",
        "env": "ALE/Pong-v5",
        "algo": "ppo",
        "status": "finished",
        "sort": "score",
        "down": True,
        "axis": "seconds",
        "lines": "runs",
        "metric": "charts/SPS",
        "comparing": True,
        "chosen": [3, 5],
        "hidden": None,
        "theme": None,
    }


@pytest.mark.parametrize(
    "address",
    [
        "#?env=gone&agent=gone&state=gone&sort=gone&metric=gone&along=gone&lines=gone&run=gone",
        "#?sort=__proto__&along=constructor&compare=1&unknown=1",
        "#curves",
        "#?%",
        "",
    ],
)
def test_an_address_of_something_else_shows_all(root: Path, address: str):
    assert evaluate(root, "[visible().length, state.sort, state.axis]", address) == [
        *(24, "name", "steps")
    ]


def test_what_is_usual_is_not_in_the_address(root: Path):
    usual = "(state.metric = firstMetric(), writeAddress(), location.hash)"
    assert evaluate(root, usual) == ""


@pytest.mark.parametrize(
    ("lines", "first"),
    [
        ({"eval/return_mean": 5, "charts/episodic_return_20": 9}, "eval/return_mean"),
        ({"eval/return_mean": 1, "charts/episodic_return_20": 9}, "charts/episodic_return_20"),
        ({"eval/return_mean": 1, "charts/episodic_return": 9}, "charts/episodic_return"),
        ({"eval/return_mean": 1, "charts/episodic_return": 1}, "eval/return_mean"),
        ({"charts/SPS": 4, "charts/episodic_return": 1}, "charts/episodic_return"),
        ({"charts/SPS": 4}, "charts/SPS"),
        ({}, ""),
    ],
)
def test_the_first_curve_is_one_that_has_points(tmp_path: Path, lines: dict[str, int], first: str):
    make_runs(tmp_path, 1, 20)
    (run,) = tmp_path.iterdir()
    with (run / "metrics.jsonl").open("w") as file:
        for name, count in lines.items():
            for k in range(count):
                file.write(json.dumps({"step": 1000 * k + 1, "time": k, name: k}) + "\n")
    assert evaluate(tmp_path, "firstMetric()") == first


def test_values_that_are_all_the_same_have_an_axis_from_zero(root: Path):
    values = [[1_000_001], [0.468, 0.468], [-21], [0], [1, 2], []]
    ranges = evaluate(root, f"{json.dumps(values)}.map(rangeOfOne)")
    assert [each.get("range") for each in ranges] == [
        *([0, 1_200_001.2], [0, pytest.approx(0.5616)], [pytest.approx(-25.2), 0], [-1, 1]),
        *(None, None),
    ]


def test_no_axis_counts_in_thousandths_of_a_unit(root: Path):
    colors = "getComputedStyle = () => ({ getPropertyValue: () => '#000000' })"
    media = "matchMedia = () => ({ matches: false })"
    axes = f"({colors}, {media}, layout({{ xaxis: {{}}, yaxis: {{}} }}))"
    drawn = evaluate(root, axes)
    assert {drawn[axis]["exponentformat"] for axis in ("xaxis", "yaxis")} == {"e"}


@pytest.mark.parametrize(
    ("value", "text"),
    [("21.5", "21.5"), ("1234567", "1,235,000"), ("1e100", "1.000e+100"), ("-1e-9", "-1.000e-9")],
)
def test_numbers_of_any_size_are_short(root: Path, value: str, text: str):
    assert evaluate(root, f"digits({value})") == text
    assert len(evaluate(root, f"percent({value})")) < 16
