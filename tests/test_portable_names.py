"""Names of runs and of the files in them are names on every system."""

from __future__ import annotations

import re
from pathlib import Path, PureWindowsPath

import gymnasium
import pytest
from conftest import QUIET, TINY, read_metrics, run_tiny
from hypothesis import example, given
from hypothesis import strategies as st

from agents.core.runs.run import Run
from agents.core.training.launch import train
from benchmarks.machine import write_result
from demos.dataset import Dataset
from demos.shipped import shipped
from envs.files import portable_name

REFUSED = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
"""Characters that Windows has in no name of a file."""

DEVICES = {
    "CON",
    "PRN",
    "AUX",
    "NUL",
    *(f"{port}{n}" for port in ("COM", "LPT") for n in range(10)),
}

ENV_IDS = [
    "Pong",
    "ALE/Pong-v5",
    "my_module:MyEnv-v0",
    "pkg.sub:space/My.Env-v0",
    "Größe-v1",
    "con",
]


def is_portable(name: str) -> bool:
    """Whether every system takes a name, and gives the file that name and no other."""
    device = name.partition(".")[0].rstrip().upper() in DEVICES
    return bool(name) and not REFUSED.search(name) and not device and name[-1] not in ". "


@pytest.mark.parametrize(
    "name", ["a:b", "a/b", "a?", "nul", "Con.txt", "lpt1", "dot.", "space ", ""]
)
def test_what_windows_refuses_is_known_here(name: str) -> None:
    assert not is_portable(name)


@given(st.text() | st.from_regex(r"(\w+:)?(\w+/)?[\w.:-]+-v\d+") | st.sampled_from(sorted(DEVICES)))
@example("..")
@example("-rf")
@example("nul.txt")
@example("a" * 300)
@example("\ud800")
def test_any_text_becomes_a_name_on_every_system(text: str) -> None:
    name = portable_name(text)
    assert is_portable(name) and name[0] not in "-."
    assert len(name) <= 101 and name.encode()
    assert portable_name(name) == name


def test_registered_environments_keep_their_names() -> None:
    ids = list(gymnasium.registry)
    assert [portable_name(each) for each in ids] == [each.replace("/", "-") for each in ids]


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_the_directory_of_a_run_has_a_portable_name(env_id: str, tmp_path: Path) -> None:
    run = Run.create(tmp_path, env_id, "dqn", seed=1)
    assert run.path.parent == tmp_path
    assert is_portable(run.path.name)
    assert PureWindowsPath(run.path.name).name == run.path.name


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_the_result_of_a_benchmark_has_a_portable_name(env_id: str, tmp_path: Path) -> None:
    path = write_result(f"cloning-{env_id}", {}, tmp_path)
    assert path.parent == tmp_path and is_portable(path.name)


def test_files_of_shipped_datasets_have_portable_names() -> None:
    names = [each.name for path in shipped().values() for each in Dataset.open(path).files()]
    assert names and all(map(is_portable, names))


def test_a_run_under_a_name_of_an_earlier_version_still_resumes(tmp_path: Path) -> None:
    """Such a name has a ":" where the environment is a person's own."""
    settings = [*TINY["reinforce"], *QUIET, "--eval-every-steps", "64"]
    run = run_tiny(tmp_path, "reinforce", "--env", "user_envs:Counting-v0", "--total-steps", "128")
    assert run.path.name.startswith("user_envs-Counting-v0__reinforce__")
    written = [each.name for each in run.path.rglob("*")]
    assert written and all(map(is_portable, written))
    earlier = run.path.rename(tmp_path / "user_envs:Counting-v0__reinforce__1__20260101-000000")
    assert train("reinforce", ["--resume", str(earlier), "--total-steps", "256", *settings]) == 0
    assert read_metrics(Run.open(earlier))[-1]["step"] == 256
