"""The wheel works where no clone is: it has all packages, datasets, sweeps and pages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

QUIET = ("--wandb", "disabled", "--no-video", "--num-threads", "1", "--final-eval-episodes", "2")

pytestmark = pytest.mark.slow


def done(command: list[str | Path], cwd: Path) -> str:
    """What a program prints that ends well, outside of the clone."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(command, cwd=cwd, env=environment, text=True, capture_output=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this working tree; it is built from a copy, so that no file lands in it."""
    copy = tmp_path_factory.mktemp("copy")
    listed = done(["git", "ls-files", "--cached", "--others", "--exclude-standard"], ROOT)
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    folder = tmp_path_factory.mktemp("wheel")
    # No package is downloaded for it.
    build = ["wheel", ".", "--no-deps", "--no-build-isolation", "--quiet"]
    done([sys.executable, "-m", "pip", *build, "--wheel-dir", folder], copy)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment's Python that has the wheel, and the libraries of the one that runs tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    scripts = sysconfig.get_path("scripts", "venv", {"base": str(folder)})
    packages = sysconfig.get_path("purelib", "venv", {"base": str(folder)})
    path = Path(scripts, Path(sys.executable).name)
    install = ["install", "--quiet", "--no-deps", wheel]
    done([sys.executable, "-m", "pip", "--python", path, *install], folder)
    # Its libraries are found, but its own .pth files are not read: they lead to this clone.
    Path(packages, "libraries.pth").write_text(sysconfig.get_path("purelib"))
    return path


def test_a_wheel_has_every_file_that_a_program_needs(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = sorted(each.parent.name for each in ROOT.glob("*/__init__.py"))
    assert {"agents", "benchmarks", "demos", "envs", "joystick"} <= set(tops)
    wanted = [file for top in tops for file in (ROOT / top).rglob("*")]
    kinds = {".py", ".js", ".css", ".html", ".txt", ".csv", ".parquet", ".typed"}
    needed = {
        file.relative_to(ROOT).as_posix()
        for file in wanted
        if (file.suffix in kinds or file.name == "dataset.json") and "results" not in file.parts
    }
    assert needed and needed <= names
    sweeps = {f"agents/sweep/plans/{file.name}" for file in (ROOT / "sweeps").glob("*.yaml")}
    assert sweeps and sweeps <= names
    strangers = {each.partition("/")[0] for each in names} - set(tops)
    assert all(each.endswith(".dist-info") for each in strangers), strangers


def test_an_installed_wheel_trains_evaluates_clones_and_sweeps(
    python: Path, tmp_path: Path
) -> None:
    where = done(
        [python, "-c", "import agents, demos, envs, joystick; print(agents.__file__)"], tmp_path
    )
    assert Path(where).is_relative_to(python.parent.parent)
    pole = ("--env", "CartPole-v1", "--total-steps", "400", *QUIET)
    dqn = ("--learning-starts-steps", "100", "--buffer-size", "1000")
    done([python, "-m", "agents.dqn", *pole, *dqn], tmp_path)
    (run,) = (tmp_path / "runs").glob("CartPole-v1__dqn__1__*")
    joystick = python.with_name("joystick" + python.suffix)
    done([joystick, "evaluate", run, "--episodes", "2", "--no-video"], tmp_path)
    done([python, "-m", "demos", "verify", "cartpole-expert-v1"], tmp_path)
    done([python, "-m", "agents.bc", *pole, "--demos", "cartpole-expert-v1"], tmp_path)
    done([python, "-m", "agents.report", "runs", "-o", "page.html"], tmp_path)
    assert (tmp_path / "page.html").stat().st_size > 100_000


def test_an_installed_wheel_sweeps(python: Path, tmp_path: Path) -> None:
    find = "from agents.sweep.shipped import shipped; print(shipped()['ppo'])"
    path = Path(done([python, "-c", find], tmp_path).strip())
    assert path.is_relative_to(python.parent.parent)
    shorter = {
        "--env=Pong": "--env=CartPole-v1",
        "--total-steps=1000000": "--total-steps=400",
        "--eval-every-steps=100000": "--eval-every-steps=400",
    }
    text = path.read_text("utf-8")
    for long, short in shorter.items():
        assert long in text
        text = text.replace(long, short)
    (tmp_path / "ppo.yaml").write_text(text, "utf-8")
    told = done([python, "-m", "agents.sweep", "ppo.yaml", "--trials", "2"], tmp_path)
    assert told.count("finished") >= 2, told
