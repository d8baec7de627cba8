"""Demonstrations from LeRobot's datasets, in files made here as its versions lay them out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import demonstrations, run_tiny
from support.refusals import error_line
from test_demos_cli import demos

import envs
from demos import Dataset, arrays_import
from demos.__main__ import main

ENV = "CartPole-v1"


def columns_of(number: int, **changed: Any) -> dict[str, Any]:
    """The columns of a game of random play."""
    episode = Dataset.open(demonstrations(ENV)).episodes()[number]
    steps = len(episode)
    seen = [obs for obs, *_ in envs.replay(episode.tape)][:steps]
    columns = {
        "observation.state": [obs.tolist() for obs in seen],
        "action": [[int(action)] for action in episode.actions],
        "episode_index": [number] * steps,
        "frame_index": list(range(steps)),
        "next.reward": episode.rewards.tolist(),
        "next.done": [False] * (steps - 1) + [True],
    }
    return {name: values for name, values in {**columns, **changed}.items() if values is not None}


def written(folder: Path, version: int, **changed: Any) -> Path:
    """A dataset of three games: a file each in version 2, one file in version 3."""
    path = folder / "lerobot"
    (path / "meta").mkdir(parents=True)
    (path / "data" / "chunk-000").mkdir(parents=True)
    games = [columns_of(number, **changed) for number in range(3)]
    features = {name: {} for name in games[0]}
    info = {"codebase_version": f"v{version}.0", "features": features}
    (path / "meta" / "info.json").write_text(json.dumps(info))
    chunk = path / "data" / "chunk-000"
    if version == 2:
        for number, game in enumerate(games):
            pq.write_table(pa.table(game), chunk / f"episode_{number:06d}.parquet")
    else:
        # The order of the rows does not matter.
        table = pa.concat_tables([pa.table(game) for game in games[::-1]])
        pq.write_table(table, chunk / "file-000.parquet")
    return path


def words(path: Path, out: Path) -> list[str]:
    return ["import", str(path), "--from", "lerobot", "--env", ENV, "--out", str(out)]


@pytest.mark.parametrize("version", [2, 3])
def test_games_keep_their_observations_actions_and_rewards(
    tmp_path: Path, version: int, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert demos(*words(written(tmp_path, version), out)) == 0
    assert "the last step of each of 3 is left out" in capsys.readouterr().out
    assert demos("verify", out) == 0
    kept = Dataset.open(out).episodes()
    theirs = Dataset.open(demonstrations(ENV)).episodes()
    for ours, other in zip(kept, theirs, strict=True):
        seen = np.stack([obs for obs, *_ in envs.replay(other.tape)])
        assert np.array_equal(ours.actions, other.actions[:-1])
        assert np.array_equal(ours.rewards, other.rewards[:-1])
        assert np.array_equal(ours.observations, seen[:-1])  # pyright: ignore[reportArgumentType]
    run = run_tiny(tmp_path, "bc", "--env", ENV, "--demos", str(out), "--total-steps", "64")
    assert run.restore()[0] == 64


def test_without_rewards_all_are_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, 2, **{"next.reward": None})
    assert demos(*words(path, tmp_path / "out")) == 0
    assert "it has no rewards: all are 0" in capsys.readouterr().out
    assert not Dataset.open(tmp_path / "out").episodes()[0].rewards.any()


def spoiled(path: Path, how: str) -> None:
    info = path / "meta" / "info.json"
    chunk = path / "data" / "chunk-000"
    if how == "no info":
        info.unlink()
    elif how == "no features":
        info.write_text("{}")
    elif how == "damaged":
        (chunk / "episode_000001.parquet").write_bytes(b"PAR1 and nothing")
    elif how == "no steps":
        for file in chunk.iterdir():
            pq.write_table(pq.read_table(file).slice(0, 0), file)
    elif how == "no files":
        for file in chunk.iterdir():
            file.unlink()
    else:
        outside = path.parent / "outside.parquet"
        (chunk / "episode_000002.parquet").rename(outside)
        (chunk / "episode_000002.parquet").symlink_to(outside)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no info", "lerobot"),
        ("no features", "features"),
        ("damaged", "cannot be read as a LeRobot dataset"),
        ("no files", "has no data/*/*.parquet"),
        ("no steps", "has no steps"),
        ("link", "lerobot"),
    ],
)
def test_a_damaged_dataset_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str, said: str
) -> None:
    path = written(tmp_path, 2)
    spoiled(path, how)
    assert said in error_line(lambda: main(words(path, tmp_path / "out")), capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"observation.state": None}, "films are not read"),
        ({"action": None}, "has no action"),
        ({"frame_index": None}, "has no frame_index"),
    ],
)
def test_a_missing_feature_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, Any], said: str
) -> None:
    path = written(tmp_path, 2, **changed)
    assert said in error_line(lambda: main(words(path, tmp_path / "out")), capsys)


def test_another_environments_observations_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, 2)
    asked = [*words(path, tmp_path / "out"), "--env", "Acrobot-v1"]
    said = error_line(lambda: main(asked), capsys)
    assert "observations have the shape (4,), but the environment has (6,)" in said


def test_steps_that_do_not_fit_into_memory_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays_import, "MEMORY_SHARE", 0.0)
    path = written(tmp_path, 3)
    assert "can be used" in error_line(lambda: main(words(path, tmp_path / "out")), capsys)
