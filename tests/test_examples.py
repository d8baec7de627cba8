"""The examples of docs/examples: what a person adds without a change in this repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agents.core.runs.run import Run
from envs import plugins

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))

SMALL = [
    *("--runs-dir", "runs", "--wandb", "disabled", "--no-video", "--num-threads", "1"),
    *("--total-steps", "512", "--num-envs", "4", "--eval-episodes", "1"),
    *("--final-eval-episodes", "1", "--eval-most-steps", "50"),
]
ROLLOUT = ["--horizon-steps", "32"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a person works: the examples alone."""
    for file in EXAMPLES:
        shutil.copy(file, tmp_path)
    return tmp_path


def joystick(
    folder: Path, *words: str, code: int = 0, **environment: str
) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), *filter(None, [environment.pop("first", "")])])
    done = subprocess.run(
        [sys.executable, "-m", "joystick", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    return done


def run_in(folder: Path) -> Run:
    (path,) = (folder / "runs").iterdir()
    return Run.open(path)


def test_each_example_is_below_60_lines() -> None:
    assert {file.name for file in EXAMPLES} >= {"my_env.py", "my_torso.py", "my_algo.py"}
    assert [file.name for file in EXAMPLES if len(file.read_text().splitlines()) >= 60] == []


def test_an_environment_of_a_persons_own(folder: Path) -> None:
    joystick(folder, "ppo", "--env", "my_env:Corridor-v0", *SMALL, *ROLLOUT)
    run = run_in(folder)
    assert run.config()["env_spec"]["env_id"] == "my_env:Corridor-v0"
    assert run.restore()[0] == 512


def test_a_torso_of_a_persons_own(folder: Path) -> None:
    words = ["dqn", "--env", "CartPole-v1", "--torso", "fourier", *SMALL]
    refused = joystick(folder, *words, code=2).stderr
    assert "--torso fourier: must be one of auto, nature" in refused
    assert "--plugin FILE.py adds one" in refused
    assert not (folder / "runs").exists()
    joystick(folder, *words, "--plugin", "my_torso.py")
    run = run_in(folder)
    assert any(name.endswith("directions.weight") for name in run.restore()[2])
    joystick(folder, "evaluate", str(run.path), "--no-video", code=2)
    shown = joystick(folder, "evaluate", str(run.path), "--no-video", "--plugin=my_torso.py")
    assert "return " in shown.stdout


def test_an_algorithm_of_a_persons_own(folder: Path) -> None:
    words = ["my_algo", "--env", "CartPole-v1", *SMALL, *ROLLOUT]
    refused = joystick(folder, *words, code=2).stderr
    assert "unknown command 'my_algo'; --plugin my_algo.py adds it" in refused
    joystick(folder, *words, "--plugin", "my_algo.py", "--entropy-coefficient", "0.02")
    run = run_in(folder)
    assert run.algo == "my_algo"
    assert run.config()["config"]["entropy_coefficient"] == 0.02
    joystick(folder, "evaluate", str(run.path), "--no-video", "--plugin", "my_algo.py")
    resumed = ["my_algo", "--plugin", "my_algo.py", "--resume", str(run.path)]
    joystick(folder, *resumed, "--total-steps", "640", "--wandb", "disabled")
    assert run.restore()[0] == 640
    text = joystick(folder, "my_algo", "--plugin", "my_algo.py", "--help").stdout
    assert "usage: python -m joystick my_algo --plugin my_algo.py" in text
    assert "--entropy-coefficient" in text
    require_that_a_run_imports_no_module(folder, str(run.path))


def require_that_a_run_imports_no_module(folder: Path, run: str) -> None:
    """Without the plugin's flag, nobody executes the file beside the run."""
    (folder / "my_algo.py").write_text("open('imported', 'w')\n")
    asked = joystick(folder, "evaluate", run, "--no-video", code=2).stderr
    assert asked.count("\n") == 1
    assert "--plugin my_algo.py adds it" in asked
    for words, code in ((["card", run], 0), (["report", "runs"], 0), (["ppo", "--resume", run], 2)):
        joystick(folder, *words, code=code)
    assert not (folder / "imported").exists()


def test_an_algorithm_of_an_installed_package(folder: Path) -> None:
    package = folder / "package"
    about = package / "my_package-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / "my_algo.py").rename(package / "my_algo.py")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[joystick.algorithms]\nmy_algo = my_algo\n")
    listed = joystick(folder, first=str(package)).stdout
    assert "  my_algo    of the package my-package" in listed
    words = ["my_algo", "--env", "CartPole-v1", *SMALL, *ROLLOUT]
    joystick(folder, *words, first=str(package))
    assert run_in(folder).algo == "my_algo"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("1 / 0", "it raised ZeroDivisionError: division by zero (broken.py, line 1)"),
        ("raise SystemExit", "it called sys.exit"),
        ("TRAINER = 'online'", "has no Config and no PRESETS and no make_policy"),
        (None, "there is no file 'broken.py'"),
    ],
)
def test_a_plugin_that_does_not_work_is_one_line(
    folder: Path, content: str | None, said: str
) -> None:
    if content is not None:
        (folder / "broken.py").write_text(content + "\n")
    error = joystick(folder, "broken", "--plugin", "broken.py", code=2).stderr
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        ("onlin", "TRAINER is 'onlin' (known: online, offline, rounds); did you mean 'online'?"),
        ("offline", "my_algo has no validate, which"),
    ],
)
def test_a_trainer_that_does_not_fit_is_one_line(folder: Path, trainer: str, said: str) -> None:
    file = folder / "my_algo.py"
    file.write_text(file.read_text().replace('TRAINER = "online"', f"TRAINER = '{trainer}'"))
    words = ["my_algo", "--plugin", "my_algo.py", "--env", "CartPole-v1", *SMALL]
    error = joystick(folder, *words, code=2).stderr
    assert said in error
    assert not (folder / "runs").exists()


def test_a_plugin_with_a_name_that_is_taken_is_one_line(folder: Path) -> None:
    taken = {"json": "is the name of another module", "dqn": "has the name of the algorithm"}
    for name, said in taken.items():
        shutil.copy(folder / "my_algo.py", folder / f"{name}.py")
        error = joystick(folder, "dqn", "--plugin", f"{name}.py", code=2).stderr
        assert said in error
        assert error.count("\n") == 1


def test_plugins_are_taken_from_a_command_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "_loaded", {})
    file = folder / "only_here.py"
    file.write_text("VALUE = 1\n")
    words = ["--env", "Pong", "--plugin", str(file), "--seed", "1", f"--plugin={file}"]
    assert plugins.taken(words) == ["--env", "Pong", "--seed", "1"]
    assert plugins.loaded()["only_here"].VALUE == 1
