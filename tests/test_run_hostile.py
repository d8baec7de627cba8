"""A run's folder may come from a stranger: nothing in it is imported, followed or deleted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from agents import evaluate
from agents.core.runs.run import Run
from agents.core.training import launch
from agents.core.training.launch import train
from demos import __main__ as demos
from envs import UserError

TRAIN = [
    *("--env", "CartPole-v1", "--num-envs", "2", "--horizon-steps", "4", "--device", "cpu"),
    *("--total-steps", "16", "--num-threads", "1", "--eval-every-steps", "16"),
    *("--eval-episodes", "1", "--final-eval-episodes", "0", "--no-video", "--wandb", "disabled"),
    *("--eval-most-steps", "50"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("trained")
    assert train("a2c", [*TRAIN, "--runs-dir", str(runs)]) == 0
    (run,) = runs.iterdir()
    return run


@pytest.fixture
def stranger(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "R"))


def change(run: Path, **parts: dict[str, Any]) -> None:
    file = run / "config.json"
    saved = json.loads(file.read_text())
    for name, values in parts.items():
        saved[name] |= values
    file.write_text(json.dumps(saved))


IN_TURN = """
import runpy, sys
for command in sys.argv[1:]:
    sys.argv = command.split()
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        print(0)
    except SystemExit as ended:
        print(ended.code or 0)
"""


def ended(folder: Path, *commands: str) -> tuple[list[int], str]:
    """Exit codes, and all errors, of commands in one process that finds modules in its folder."""
    place = {"PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{Path(__file__).parents[1]}"}
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN, *commands],
        cwd=folder,
        env={**os.environ, **place},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    return [int(line) for line in lines if line.isdigit()], done.stderr


PAYLOAD = "R.payload:X-v0"


OPENS_A_RUN = (
    "agents.card R",
    "agents.a2c --resume R --env CartPole-v1",
    "agents.a2c --resume R",
    "agents.evaluate R",
)


@pytest.mark.parametrize("both", [False, True], ids=["one id", "both ids"])
def test_no_config_has_a_module_imported(stranger: Path, both: bool):
    change(stranger, config={"env_id": PAYLOAD})
    if both:
        change(stranger, env_spec={"env_id": PAYLOAD})
    (stranger / "payload.py").write_text("open('executed', 'w')\n")
    codes, errors = ended(stranger.parent, *OPENS_A_RUN)
    assert len(codes) == len(OPENS_A_RUN)
    assert not (stranger.parent / "executed").exists()
    assert "Traceback" not in errors
    if not both:
        assert codes == [2, 2, 2, 2]
        assert errors.count("names two environments") == len(OPENS_A_RUN)


@pytest.mark.parametrize("name", ["checkpoints", "best", "replay", "videos", "wandb"])
@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_link_in_a_run_is_not_resumed_through(stranger: Path, name: str, kind: str):
    outside = stranger.parent / "outside"
    outside.mkdir()
    (outside / "000000000001.zst").write_bytes(b"mine")
    (outside / ".tmp-01234567-mine").write_bytes(b"mine")
    shutil.rmtree(stranger / name, ignore_errors=True)
    if kind == "link":
        (stranger / name).symlink_to(outside)
    else:
        (stranger / name).write_bytes(b"mine")
    with pytest.raises(UserError, match=rf"{name}: must be a directory of the run"):
        train("a2c", ["--resume", str(stranger), "--total-steps", "32"])
    assert len(list(outside.iterdir())) == 2


@pytest.mark.parametrize("name", ["checkpoints", "best", "replay"])
def test_a_link_made_while_training_is_not_written_or_cleaned_through(stranger: Path, name: str):
    outside = stranger.parent / "outside"
    outside.mkdir()
    names = ["000000000001.zst", ".tmp-01234567-mine", "000000000001"]
    for each in names:
        (outside / each).write_bytes(b"mine")
    shutil.rmtree(stranger / name, ignore_errors=True)
    (stranger / name).symlink_to(outside)
    run = Run.open(stranger)
    run.checkpoint(99, {}, {"w": torch.ones(2)})
    run.best(99, 1.0, {"w": torch.ones(2)}, {})
    assert sorted(each.name for each in outside.iterdir()) == sorted(names)


@pytest.mark.parametrize("name", ["metrics.jsonl", "config.json", "eval.json", "wandb-id"])
def test_a_linked_file_is_not_written_through(stranger: Path, name: str):
    outside = stranger.parent / "outside"
    outside.write_bytes((stranger / name).read_bytes() if (stranger / name).exists() else b"mine")
    before = outside.read_bytes()
    (stranger / name).unlink(missing_ok=True)
    (stranger / name).symlink_to(outside)
    with pytest.raises(UserError, match="link"):
        train("a2c", ["--resume", str(stranger), "--total-steps", "32"])
    assert outside.read_bytes() == before


MINE = [
    *(
        "000000000200.bak",
        "2024-notes",
        "999999999999 copy",
        "000000000999-old",
        "１２３４５６７８９０１２",
    ),
    *(".tmp-mine", "notes", "000000000999.zst", "9" * 30, "12"),
]


@pytest.mark.parametrize("folder", ["checkpoints", "best"])
def test_only_our_own_names_are_checkpoints_or_deleted(stranger: Path, folder: str):
    for name in MINE:
        (stranger / folder / name).mkdir()
        (stranger / folder / name / "mine").write_bytes(b"mine")
    run = Run.open(stranger)
    for step in (17, 18, 19):
        run.checkpoint(step, {}, {"w": torch.ones(2)})
        run.best(step, 1.0, {"w": torch.ones(2)}, {})
    kept = {each.name for each in (stranger / folder).iterdir()} - set(MINE)
    assert kept == {"000000000019"} | ({"000000000018"} if folder == "checkpoints" else set())
    assert all((stranger / folder / name / "mine").exists() for name in MINE)


def test_only_our_own_names_are_chunks(stranger: Path):
    mine = ["a.zst", "000000000001.zst.bak", "000000000001 (copy).zst", "notes.txt", ".tmp-mine"]
    (stranger / "replay").mkdir(exist_ok=True)
    for name in [*mine, "000000000007.zst"]:
        (stranger / "replay" / name).write_bytes(b"mine")
    Run.open(stranger).checkpoint(20, {}, {"w": torch.ones(2)})
    assert sorted(each.name for each in (stranger / "replay").iterdir()) == sorted(mine)


WRONG: list[dict[str, Any]] = [
    {"seed": "1"},
    {"seed": None},
    {"num_envs": 2.5},
    {"num_envs": []},
    {"learning_rate": {}},
    {"learning_rate": "fast"},
    {"runs_dir": 5},
    {"tags": 5},
    {"tags": [1]},
    {"device": "toaster"},
    {"env_id": None},
    {"env_id": ["CartPole-v1"]},
    {"no_such": 1},
]


@pytest.mark.parametrize("values", WRONG, ids=str)
def test_a_setting_of_another_type_is_one_line(stranger: Path, values: dict[str, Any]):
    change(stranger, config=values)
    with pytest.raises(UserError) as error:
        train("a2c", ["--resume", str(stranger), "--total-steps", "32"])
    assert next(iter(values)) in str(error.value) or "two environments" in str(error.value)
    assert len(str(error.value).splitlines()) == 1


IMPOSSIBLE: list[dict[str, Any]] = [
    *({"hidden": -5}, {"hidden": 0}, {"hidden": 10**9}, {"torso_width": 65}, {"num_envs": 0}),
    *({"num_envs": 3, "env_splits": 2}, {"learning_rate": -1.0}, {"total_steps": 0}),
    *({"gamma": 2.0}, {"horizon_steps": 0}, {"seed": -1}, {"num_threads": 10**6}),
]
"""Settings of the right types that no command line takes."""


@pytest.mark.parametrize("values", IMPOSSIBLE, ids=str)
@pytest.mark.parametrize("command", ["evaluate", "resume", "record"])
def test_a_setting_that_cannot_work_is_one_line_wherever_a_run_is_read(
    stranger: Path, values: dict[str, Any], command: str, capsys: pytest.CaptureFixture[str]
):
    change(stranger, config=values)
    out = stranger.parent / "d"
    commands = {
        "evaluate": lambda: evaluate.main([str(stranger), "--no-video"]),
        "resume": lambda: launch.main("a2c", ["--resume", str(stranger), "--total-steps", "32"]),
        "record": lambda: demos.main(
            ["record", "--env", "CartPole-v1", "--policy", str(stranger), "--out", str(out)]
        ),
    }
    with pytest.raises(SystemExit) as ended:
        commands[command]()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("error: config.json: --")
    assert next(iter(values)).replace("_", "-") in error
    assert not out.exists()


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "text",
    [
        *("", "null", "[]", "5", "{}", DEEP, '{"joystick": 2}', '{"joystick": 2, "algo": []}'),
        '{"joystick": 2, "algo": "a2c", "config": [], "env_spec": {}}',
        '{"joystick": 2, "algo": "a2c", "config": {"seed": 1e999}, "env_spec": {}}',
        '{"joystick": 2, "algo": "a2c", "config": {"seed": NaN}, "env_spec": {}}',
        '{"joystick": 2, "algo": "a2c", "config": {}, "env_spec": {}}',
        '{"joystick": 1e400, "algo": "a2c"}',
        "\ud83d",
    ],
    ids=lambda text: text[:30],
)
def test_any_other_config_is_one_line(stranger: Path, text: str):
    (stranger / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UserError) as error:
        train("a2c", ["--resume", str(stranger), "--total-steps", "32"])
    assert len(str(error.value).splitlines()) == 1
