"""The dashboard: what it asks a stand-in for W&B to save, and what it says where it cannot."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import wandb
from conftest import read_metrics, run_tiny
from wandb_files import fragments
from wandb_stub import KEY, PERSON, Stub, serve

from agents.dashboard import __main__ as dashboard

pytest.importorskip("wandb_workspaces")

from agents.dashboard import content

PONG = "ALE/Pong-v5, sticky 0.25, frameskip 4"
ODD = "it's/\"Odd\" (v0), and 'more' \\ so"
ARTIFACTS = {"dataset": ["pong-expert-v1"], "model": ["a|b-best"], "wandb-history": ["internal"]}


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """A server with runs, for a person who is logged in."""
    stub = Stub(protocols=(PONG, PONG, ODD, ""), artifacts=ARTIFACTS)
    server = serve(stub)
    monkeypatch.setattr(dashboard, "ANSWER_SECONDS", 2)
    settings = {"WANDB_BASE_URL": stub.url, "WANDB_API_KEY": KEY}
    for name in ("WANDB_MODE", "WANDB_ENTITY", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    settings |= {"NETRC": str(tmp_path / "netrc"), "WANDB_CONFIG_DIR": str(tmp_path / "config")}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    # W&B reads its settings once in a process.
    wandb.teardown()
    yield stub
    wandb.teardown()
    server.shutdown()
    server.server_close()


def run(*args: str) -> int:
    with pytest.raises(SystemExit) as exit_info:
        dashboard.main(list(args))
    assert isinstance(exit_info.value.code, int)
    return exit_info.value.code


def grids(spec: dict[str, Any]) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """The run set and the panels of each grid of a report."""
    metadata = [block["metadata"] for block in spec["blocks"] if block["type"] == "panel-grid"]
    return [(each["runSets"][0], each["panelBankSectionConfig"]["panels"]) for each in metadata]


def metrics_of(panels: list[dict[str, Any]]) -> set[str]:
    return {metric for panel in panels for metric in panel["config"].get("metrics", ())}


def filtered(run_set: dict[str, Any]) -> list[Any]:
    return [(each["key"]["name"], each["value"]) for each in run_set["filters"]["filters"]]


def grouped(run_set: dict[str, Any]) -> list[str]:
    return [each["name"] for each in run_set["grouping"]]


def test_a_workspace_and_a_report_are_saved_and_said(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in out] == ["workspace", "report"]
    assert all(f"{stub.url}/me/joystick" in line for line in out)
    assert stub.refused == []
    places = [(view["entityName"], view["projectName"]) for view in stub.views]
    assert places == [("me", "joystick")] * 2
    assert [view["displayName"] for view in stub.views] == ["Joystick", "Joystick"]

    section = stub.spec("project-view")["section"]
    panels = {each["name"]: each["panels"] for each in section["panelBankConfig"]["sections"]}
    assert list(panels) == [
        *("Learning curves", "Scores", "Films", "Throughput", "Losses and values"),
        *("Exploration", "Datasets and checkpoints"),
    ]
    curve = panels["Learning curves"][0]["config"]
    assert (curve["xAxis"], curve["metrics"]) == ("global_step", ["eval/return_mean"])
    assert (curve["groupAgg"], curve["groupArea"]) == ("mean", "minmax")
    assert metrics_of(panels["Scores"]) == set(content.SCORES.values())
    assert metrics_of(panels["Throughput"]) == {"charts/SPS", "charts/memory_gb"}
    assert {"losses/td_loss", "losses/q_values"} <= metrics_of(panels["Losses and values"])
    assert panels["Films"][0]["config"]["mediaKeys"] == ["video", "filmstrip"]
    (run_set,) = section["runSets"]
    assert grouped(run_set) == ["protocol.value", "exp_name.value", "preset.value"]
    assert filtered(run_set) == [("protocol", [PONG, ODD])]
    assert "config:demos.value" in run_set["runFeed"]["columnOrder"]

    report = stub.spec("runs")
    (pong, curves), (odd, _), (_, speed), (each, films) = grids(report)
    assert filtered(pong) == [("protocol", [PONG])]
    assert filtered(odd) == [("protocol", [ODD])]
    assert grouped(pong) == ["exp_name.value", "preset.value"]
    assert {"eval/return_mean", "losses/td_loss", *content.SCORES.values()} <= metrics_of(curves)
    places = [(panel["layout"]["x"], panel["layout"]["y"]) for panel in curves]
    assert len(set(places)) == len(places)
    assert metrics_of(speed) == {"charts/SPS", "charts/memory_gb"}
    assert grouped(each) == []
    assert films[0]["config"]["mediaKeys"] == ["video", "filmstrip"]
    table = next(b["content"] for b in report["blocks"] if b["type"] == "markdown-block")
    assert f"| dataset | [pong-expert-v1]({stub.url}/me/joystick/artifacts/dataset/" in table
    assert "[a\\|b-best]" in table
    assert "internal" not in table


def test_a_second_time_replaces_what_the_first_has_saved(stub: Stub) -> None:
    assert run("--no-report") == 0
    stub.protocols = (PONG,)
    assert run() == 0
    assert [view["type"] for view in stub.views] == ["project-view", "runs"]
    (run_set,) = stub.spec("project-view")["section"]["runSets"]
    assert filtered(run_set) == [("protocol", [PONG])]
    name = stub.views[0]["name"]
    stub.views[0]["user"] = {"username": "a colleague"}
    assert run("--no-report") == 0
    whose = [view["user"]["username"] for view in stub.views if view["type"] == "project-view"]
    assert whose == ["a colleague", PERSON]
    assert [view["name"] for view in stub.views].count(name) == 1


def test_one_environment_can_be_shown_alone_beside_all(stub: Stub) -> None:
    assert run("--no-workspace") == 0
    assert run("--no-workspace", "--env", "Pong") == 0
    assert [view["displayName"] for view in stub.views] == ["Joystick", "Joystick Pong"]
    assert ODD in stub.views[0]["spec"].replace("\\\\", "\\").replace('\\"', '"')
    assert "Odd" not in stub.views[1]["spec"]


@pytest.mark.parametrize(
    ("args", "settings", "message"),
    [
        (["--project", "pong"], {}, "W&B has no project me/pong, or you may not see it"),
        (["--entity", "team"], {}, "W&B has no project team/joystick, or you may not see it"),
        (["--env", "Breakout"], {}, "--env Breakout: me/joystick has no run on ALE/Breakout-v5"),
        (["--env", "Pnog"], {}, "did you mean 'Pong'"),
        (["--no-workspace", "--no-report"], {}, "nothing is left to save"),
        ([], {"WANDB_API_KEY": ""}, "not logged in to W&B: run `wandb login`"),
        ([], {"WANDB_API_KEY": "f" * 40}, "W&B: Failed to verify credentials"),
        ([], {"WANDB_API_KEY": "short"}, "W&B: WANDB_API_KEY invalid"),
        ([], {"WANDB_MODE": "offline"}, "WANDB_MODE is offline, but a dashboard is saved online"),
        ([], {"WANDB_BASE_URL": "http://127.0.0.1:9"}, "W&B does not answer; is there a network?"),
    ],
)
def test_what_cannot_be_saved_ends_in_one_line(
    args: list[str],
    settings: dict[str, str],
    message: str,
    stub: Stub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in settings.items():
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name)
    assert run(*args) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert stub.views == []


def test_a_project_without_runs_of_ours_is_said(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.protocols = ("",)
    assert run() == 2
    assert capsys.readouterr().err.startswith("error: me/joystick has no run of Joystick; ")


def test_a_missing_library_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    assert run() == 2
    assert "pip install -e '.[wandb]'" in capsys.readouterr().err


def test_everything_shown_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    args = ("--env", "CartPole-v1", "--total-steps", "600", "--eval-every-steps", "600")
    args = (*args, "--log-every-steps", "200", "--eval-episodes", "2")
    runs = [
        run_tiny(tmp_path / "ppo", "ppo", *args),
        run_tiny(tmp_path / "bc", "bc", *args, "--validate-every-steps", "200"),
        run_tiny(tmp_path / "sac", "sac", *args),
    ]
    score = ("--final-eval-episodes", "2", "--video", "--wandb", "offline")
    runs.append(run_tiny(tmp_path / "dqn", "dqn", *args, *score))
    logged = {name for each in runs for record in read_metrics(each) for name in record}
    plots = content.CURVES, content.THROUGHPUT, content.LOSSES, content.EXPLORATION
    shown = set(chain.from_iterable(chain(*(each.values() for each in plots))))
    assert shown - logged == {"eval/human_normalized"}, "that is of Atari games alone"

    (offline,) = fragments(runs[-1])
    assert {content.ENVIRONMENT, *content.SAME_LEARNER} <= set(offline.config)
    assert offline.config[content.ENVIRONMENT] == "CartPole-v1"
    assert content.SCORES["Score of the best weights"] in offline.summary
    assert set(content.SCORES.values()) - set(offline.summary) == {"human_normalized"}
    assert offline.metrics["*"].step_metric == content.X_AXIS
    for name in content.MEDIA:
        assert any(f"{name}/path" in record for record in offline.history)
    columns = {column.split(":", 1)[1].removesuffix(".value") for column in content.COLUMNS}
    known = set(offline.config) | set(offline.summary) | logged | {"demos", "fraction"}
    assert columns <= known
