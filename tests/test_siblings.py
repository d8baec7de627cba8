"""A person's folder, or another installed package, has the name of one of ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from envs import siblings

ROOT = Path(__file__).parent.parent

TRAIN = (
    *("agents.reinforce", "--env", "CartPole-v1", "--total-steps", "100", "--wandb", "disabled"),
    *("--no-video", "--final-eval-episodes", "0", "--eval-every-steps", "0", "--num-threads", "1"),
)

OWN = """
import gymnasium
gymnasium.register("MyPole-v0", "gymnasium.envs.classic_control:CartPoleEnv")
"""


def python(*words: str, cwd: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    """Run Python where a person works; `path` comes before Joystick, as in PYTHONPATH."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (path, str(ROOT))))}
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env=environment,
        text=True,
        capture_output=True,
        timeout=120,
    )


def own(folder: Path, *names: str) -> None:
    """Packages of a person, which end every program that takes them for ours."""
    for name in names:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise SystemExit('the wrong package')\n")


def test_folders_with_our_names_do_no_harm(tmp_path: Path) -> None:
    own(tmp_path, "envs", "demos", "benchmarks")
    (tmp_path / "my_pole.py").write_text(OWN)
    trained = python("-m", *TRAIN, "--env", "my_pole:MyPole-v0", cwd=tmp_path)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    (tmp_path / "demos").rename(tmp_path / "agents")
    (run,) = (tmp_path / "runs").iterdir()
    record = ("demos", "record", "--env", "my_pole:MyPole-v0", "--policy", str(run), "--out", "new")
    recorded = python("-m", *record, "--episodes", "1", cwd=tmp_path)
    assert recorded.returncode == 0, recorded.stdout + recorded.stderr


@pytest.mark.parametrize("kind", ["folders", "files"])
def test_what_has_our_names_on_the_path_does_no_harm(kind: str, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    own(there, "envs", "agents")
    if kind == "files":
        for name in ("envs", "agents"):
            (there / name / "__init__.py").rename(there / f"{name}.py")
            (there / name).rmdir()
    shown = python("-m", "demos", "stats", "cartpole-expert-v1", cwd=tmp_path, path=str(there))
    assert shown.returncode == 0 and "CartPole-v1" in shown.stdout, shown.stderr


@pytest.mark.parametrize("env_id", ["envs.mine:MyPole-v0", "mine:MyPole-v0"])
def test_a_persons_own_package_that_ours_hides_is_named_in_one_line(
    env_id: str, tmp_path: Path
) -> None:
    own(tmp_path, "envs")
    (tmp_path / "mine.py").write_text("import envs.mine\n")
    record = ("-m", "demos", "record", "--policy", "random", "--out", "new", "--env", env_id)
    refused = python(*record, cwd=tmp_path)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert line.endswith("; Joystick's package 'envs' hides your envs: rename yours")


def test_a_program_that_imports_ours_keeps_packages_of_its_own(tmp_path: Path) -> None:
    """Only a command of ours is sure to mean our packages."""
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").write_text("MINE = True\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("import demos, agents; print(agents.MINE)\n")
    (tmp_path / "mine" / "__main__.py").touch()
    ran = python("-m", "mine", cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (0, "True\n"), ran.stderr


def installed(folder: Path) -> None:
    """What says that a package `openai-agents` is installed there."""
    about = folder / "openai_agents-0.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: openai-agents\nVersion: 0.1\n")
    (about / "top_level.txt").write_text("agents\n")


CURE = ": openai-agents has that name too; install Joystick in a separate environment"


def test_a_clash_with_another_installed_package_is_named_in_one_line(tmp_path: Path) -> None:
    installed(tmp_path)
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").touch()
    program = "from envs import siblings; print(siblings.clash('agents'))"
    (line,) = python("-c", program, cwd=tmp_path).stdout.splitlines()
    assert line == f"Python imports 'agents' from {tmp_path / 'agents'}, not from Joystick{CURE}"


def test_a_package_that_replaced_ours_is_named_in_one_line(tmp_path: Path) -> None:
    """Of two packages with a name, the one that is installed last has its first file there."""
    installed(tmp_path)
    for name in ("agents", "envs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "agents" / "__init__.py").write_text('"""Agents that talk."""\n')
    ran = python("-c", "import agents.core, agents.core.math", cwd=tmp_path, path=str(tmp_path))
    assert ran.returncode == 0
    (line,) = ran.stderr.splitlines()
    assert line == f"warning: another package has replaced Joystick's {tmp_path / 'agents'}{CURE}"


@pytest.mark.parametrize("name", ["agents", "benchmarks", "demos", "envs"])
def test_our_own_packages_clash_with_nothing(name: str) -> None:
    assert siblings.clash(name) == ""


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(siblings, "find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "demos", raising=False)
    assert (
        siblings.clash("demos") == "Joystick's package 'demos' is missing: install Joystick again"
    )
