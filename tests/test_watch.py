"""Watching: a run, a dataset and a checkpoint of Stable-Baselines3, in a film or on a terminal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import demonstrations, run_tiny
from support.refusals import error_line

from agents import watch
from agents.core.runs.run import Run
from demos import terminal
from demos.policies import resolve
from demos.recording import record
from demos.replaying import Moment
from envs import EnvSpec

ENV_ID = "toy/Catch-v0"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs")
    return run_tiny(folder, "ppo", "--env", ENV_ID, "--total-steps", "128")


def code_of(*args: str) -> object:
    with pytest.raises(SystemExit) as left:
        watch.main([*args])
    return left.value.code


def test_a_run_is_filmed_and_nothing_of_it_changes(run: Run, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    film = tmp_path / "film.mp4"
    assert code_of(str(run.path), "--to", str(film), "--episodes", "2") == 0
    assert film.stat().st_size > 1_000
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_a_dataset_is_replayed(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    assert code_of(str(demonstrations(ENV_ID)), "--to", str(film)) == 0
    assert film.stat().st_size > 1_000


def test_a_game_is_the_one_that_would_be_recorded(run: Run) -> None:
    spec = EnvSpec.from_json(run.config()["env_spec"]).bounded()
    (episode,) = record(spec, resolve(str(run.path), spec, 3, None), 1, 3, 1)
    moments = list(watch.games(spec, resolve(str(run.path), spec, 3, None), 3, 1))
    assert len(moments) == len(episode) + 1
    assert f"return {sum(episode.rewards):g}" in moments[-1].lines[0]
    assert all(each.picture.dtype == np.uint8 for each in moments)


def test_a_terminal_shows_each_moment_and_how_fast(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[Moment, float]] = []

    def play(moments, fps: float, console: object) -> None:
        shown.extend((each, fps) for each in moments)

    monkeypatch.setattr(terminal, "play", play)
    assert code_of(str(run.path), "--to", "terminal", "--speed", "2", "--most-steps", "5") == 0
    assert len(shown) == 6
    assert [moment.lines[0].split("   ")[1] for moment, _ in shown] == [
        f"step {t}" for t in range(6)
    ]
    assert len({fps for _, fps in shown}) == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nowhere", "--to", "terminal"], "nowhere"),
        (["x.zip", "--to", "a.mp4"], "x.zip: name its environment with --env"),
        (["x.zip", "--to", "film.doc"], "--to film.doc: allowed are window, terminal, FILE.mp4"),
        (["x.zip", "--to", "a.mp4", "--episodes", "0"], "--episodes 0: must be at least 1"),
        (["x.zip", "--to", "a.mp4", "--speed", "0"], "--speed 0: must be between 0.01 and 100"),
    ],
)
def test_what_cannot_be_watched_is_one_line(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in error_line(lambda: watch.main(args), capsys)
