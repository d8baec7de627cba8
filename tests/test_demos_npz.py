"""Demonstrations from plain files of NumPy: what is kept, what replays, and what is refused."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import demonstrations, run_tiny
from support.refusals import error_line
from test_demos_cli import demos

import envs
from demos import Dataset, arrays_import
from demos.__main__ import main

ENV = "CartPole-v1"


@pytest.fixture
def arrays() -> dict[str, Any]:
    """Three games of random play, as arrays of all steps."""
    found: dict[str, list[Any]] = {}
    for episode in Dataset.open(demonstrations(ENV)).episodes():
        seen = np.stack([obs for obs, *_ in envs.replay(episode.tape)])
        last = np.arange(len(episode)) == len(episode) - 1
        rows = {
            "observations": seen[:-1],
            "next_observations": seen[1:],
            "actions": episode.actions,
            "rewards": episode.rewards,
            "terminations": last & episode.terminated,
            "truncations": last & (not episode.terminated),
            "seeds": np.array([episode.seed]),
        }
        for name, values in rows.items():
            found.setdefault(name, []).append(values)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def imported(folder: Path, arrays: dict[str, Any], *words: str) -> Dataset:
    file = folder / "games.npz"
    np.savez_compressed(file, **arrays)
    out = folder / "out"
    assert demos("import", file, "--from", "npz", "--env", ENV, "--out", out, *words) == 0
    assert demos("verify", out) == 0
    return Dataset.open(out)


def test_games_with_seeds_replay_and_need_no_observations(
    tmp_path: Path, arrays: dict[str, Any]
) -> None:
    dataset = imported(tmp_path, arrays)
    assert dataset.metadata.replayable
    for ours, theirs in zip(
        dataset.episodes(), Dataset.open(demonstrations(ENV)).episodes(), strict=True
    ):
        assert ours.seed == theirs.seed
        assert ours.observations is None
        assert np.array_equal(ours.actions, theirs.actions)
        assert np.array_equal(ours.digests, theirs.digests)


def test_games_without_seeds_keep_their_observations(
    tmp_path: Path, arrays: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    del arrays["seeds"]
    dataset = imported(tmp_path, arrays)
    assert "3 of 3 episodes do not replay" in capsys.readouterr().out
    assert not dataset.metadata.replayable
    kept = np.concatenate([each.observations[:-1] for each in dataset.episodes()])  # pyright: ignore
    assert np.array_equal(kept, arrays["observations"])


def test_the_names_of_other_libraries_are_known(tmp_path: Path, arrays: dict[str, Any]) -> None:
    names = {
        "observations": "obs",
        "next_observations": "next_obs",
        "actions": "acts",
        "rewards": "rews",
        "terminations": "terminals",
        "truncations": "timeouts",
    }
    del arrays["seeds"]
    dataset = imported(tmp_path, {names[name]: array for name, array in arrays.items()})
    assert len(dataset.episodes()) == 3


def test_without_next_observations_the_last_step_is_left_out(
    tmp_path: Path, arrays: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = imported(tmp_path, arrays)
    (tmp_path / "part").mkdir()
    del arrays["next_observations"]
    part = imported(tmp_path / "part", arrays)
    assert "the last step of each of 3 is left out" in capsys.readouterr().out
    for longer, shorter in zip(whole.episodes(), part.episodes(), strict=True):
        assert np.array_equal(shorter.actions, longer.actions[:-1])
        assert not shorter.terminated


def test_an_episode_without_its_end_is_truncated(tmp_path: Path, arrays: dict[str, Any]) -> None:
    arrays["terminations"][-1] = arrays["truncations"][-1] = False
    last = imported(tmp_path, arrays).episodes()[-1]
    assert not last.terminated


def test_a_clone_learns_from_them(tmp_path: Path, arrays: dict[str, Any]) -> None:
    del arrays["seeds"]
    arrays["observations"] = arrays["observations"].astype(np.float64)
    dataset = imported(tmp_path, arrays)
    demos_of = ("--demos", str(dataset.path), "--total-steps", "64")
    assert run_tiny(tmp_path / "runs", "bc", "--env", ENV, *demos_of).restore()[0] == 64


def changed(**values: Any) -> Any:
    return lambda arrays: {**arrays, **values}


def without(name: str) -> Any:
    return lambda arrays: {key: array for key, array in arrays.items() if key != name}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("rewards"), "has no rewards, only"),
        (lambda arrays: without("truncations")(without("terminations")(arrays)), "no terminations"),
        (changed(obs=np.zeros(3)), "has observations and obs, which are names for the same array"),
        (changed(rewards=np.zeros(3)), "have"),
        (changed(observations=np.zeros((9, 3))), "steps, but rewards have"),
        (changed(actions=np.array(["left"])), "actions"),
        (lambda arrays: {name: array[:0] for name, array in arrays.items()}, "has no steps"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_one_line(
    tmp_path: Path,
    arrays: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    change: Any,
    said: str,
) -> None:
    file = tmp_path / "games.npz"
    np.savez(file, **change(arrays))
    words = ["import", str(file), "--from", "npz", "--env", ENV, "--out", str(tmp_path / "out")]
    assert said in error_line(lambda: main(words), capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("shape", "dtype", "said"),
    [
        ((3,), np.float32, "observations have the shape (3,), but the environment has (4,)"),
        ((4,), np.complex64, "observations are complex64, but must be numbers"),
    ],
)
def test_observations_of_another_environment_are_refused(
    tmp_path: Path,
    arrays: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    shape: tuple[int, ...],
    dtype: type,
    said: str,
) -> None:
    steps = len(arrays["rewards"])
    arrays["observations"] = np.zeros((steps, *shape), dtype)
    file = tmp_path / "games.npz"
    np.savez(file, **arrays)
    words = ["import", str(file), "--from", "npz", "--env", ENV, "--out", str(tmp_path / "out")]
    assert said in error_line(lambda: main(words), capsys)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.file),)


def test_nothing_in_a_file_is_executed(
    tmp_path: Path, arrays: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    arrays["rewards"] = np.array([Trap(tmp_path / "trapped")], object)
    file = tmp_path / "games.npz"
    np.savez(file, **arrays)
    words = ["import", str(file), "--from", "npz", "--env", ENV, "--out", str(tmp_path / "out")]
    assert "allow_pickle=False" in error_line(lambda: main(words), capsys)
    assert not (tmp_path / "trapped").exists()
    file.write_bytes(pickle.dumps(Trap(tmp_path / "trapped")))
    assert "cannot be read as an .npz file" in error_line(lambda: main(words), capsys)
    assert not (tmp_path / "trapped").exists()


def test_a_file_larger_than_memory_is_refused_before_it_is_read(
    tmp_path: Path,
    arrays: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arrays_import, "MEMORY_SHARE", 0.0)
    monkeypatch.setattr(np, "load", lambda *args, **options: pytest.fail("it was read"))
    file = tmp_path / "games.npz"
    np.savez_compressed(file, **arrays)
    words = ["import", str(file), "--from", "npz", "--env", ENV, "--out", str(tmp_path / "out")]
    assert "bytes, and 0 can be used" in error_line(lambda: main(words), capsys)


@pytest.mark.parametrize("kind", ["absent", "directory", "link"])
def test_what_is_no_file_is_refused(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "games.npz"
    if kind == "directory":
        file.mkdir()
    elif kind == "link":
        np.savez(tmp_path / "other.npz", observations=np.zeros(3))
        file.symlink_to(tmp_path / "other.npz")
    words = ["import", str(file), "--from", "npz", "--env", ENV, "--out", str(tmp_path / "out")]
    assert str(file) in error_line(lambda: main(words), capsys)


def test_an_environment_must_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["import", "games.npz", "--from", "npz", "--out", str(tmp_path / "out")]
    said = error_line(lambda: main(words), capsys)
    assert said == "games.npz does not name its environment: give --env"
