"""The choices of a clone beside its demonstrator's, from the validation to W&B and the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import demonstrations, run_tiny
from wandb_files import fragments

from agents.core.data.confusion import Confusion, names_of
from agents.core.runs.run import Run
from agents.core.training.building import spaces_of
from agents.report.content import assemble
from agents.report.reading import Reader, read_choices
from envs import spec

NAMES = ("NOOP", "UP", "DOWN")


def test_choices_are_counted_by_the_demonstrators_action() -> None:
    done = torch.tensor([[0], [0], [0], [2], [2]])
    chosen = torch.tensor([[0], [1], [0], [2], [0]])
    confusion = Confusion.of(done, chosen, NAMES)
    assert confusion.count_AA.tolist() == [[2, 1, 0], [0, 0, 0], [1, 0, 1]]
    shares = {name: share.item() for name, share in confusion.metrics().items()}
    # The demonstrator never chose UP, so that no share exists.
    assert shares == {"agreement/NOOP": pytest.approx(2 / 3), "agreement/DOWN": 0.5}


@pytest.mark.parametrize(
    ("env_id", "names"),
    [
        ("Pong", ("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE")),
        ("CartPole-v1", ("0", "1")),
        ("Pendulum-v1", ()),
        ("toy/Pair-v0", ()),
    ],
)
def test_only_single_choices_have_names(env_id: str, names: tuple[str, ...]) -> None:
    about = spec(env_id)
    assert names_of(about, spaces_of(about)) == names


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of a clone."""
    folder = tmp_path_factory.mktemp("runs")
    often = ("--validate-every-steps", "64", "--total-steps", "128", "--wandb", "offline")
    demos = str(demonstrations("toy/Catch-v0", 20))
    run_tiny(folder, "bc", "--env", "toy/Catch-v0", "--demos", demos, *often)
    return folder


def test_a_clones_choices_are_in_its_run_its_metrics_and_in_wandb(runs: Path) -> None:
    (path,) = runs.iterdir()
    saved = json.loads((path / "confusion.json").read_text())
    assert saved["step"] == 128
    assert saved["actions"] == ["0", "1", "2"]
    counts = torch.tensor(saved["counts"])
    (row,) = [row for row in metrics_of(path) if row["step"] == 128 and "validation/loss" in row]
    total = counts.sum()
    assert row["validation/agreement"] == pytest.approx((counts.diagonal().sum() / total).item())
    assert row["agreement/1"] == pytest.approx((counts[1, 1] / counts[1].sum()).item())
    (fragment,) = fragments(Run.open(path))
    tables = [each for each in fragment.history if "confusion_table/_type" in each]
    shown = tables[-1]
    assert shown["global_step"] == 128
    assert shown["confusion_table/_type"] == "table-file"
    assert shown["confusion_table/nrows"] == 9


def metrics_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_a_clones_choices_are_on_the_page(runs: Path) -> None:
    data = assemble("test", *Reader(runs).read(), []).data
    (run,) = data["runs"]
    assert run["choices"]["actions"] == ("0", "1", "2")
    assert run["problems"] == []
    assert len(run["choices"]["counts"]) == 3


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"step": 1, "actions": ["a"], "counts": [[1, 2]]}',
        '{"step": 1, "actions": ["a"], "counts": [[-1]]}',
        '{"step": 1, "actions": "a", "counts": [[1]]}',
        '{"step": true, "actions": ["a"], "counts": [[1]]}',
        '{"step": 1, "actions": [], "counts": []}',
        json.dumps({"step": 1, "actions": ["a"] * 99, "counts": [[0] * 99] * 99}),
    ],
)
def test_a_damaged_table_of_choices_is_said_and_not_shown(tmp_path: Path, text: str) -> None:
    (tmp_path / "confusion.json").write_text(text)
    choices, problem = read_choices(tmp_path / "confusion.json")
    assert choices is None
    assert problem.startswith("confusion.json ")


def test_a_run_without_a_table_of_choices_has_no_problem(tmp_path: Path) -> None:
    assert read_choices(tmp_path / "confusion.json") == (None, "")


def test_names_of_actions_from_a_file_are_text(tmp_path: Path) -> None:
    text = json.dumps({"step": 1, "actions": ["\u202egpj", 7], "counts": [[1, 0], [0, 1]]})
    (tmp_path / "confusion.json").write_text(text)
    choices, _ = read_choices(tmp_path / "confusion.json")
    assert choices is not None
    assert choices.actions[1] == "7"
    assert "\u202e" not in choices.actions[0]
