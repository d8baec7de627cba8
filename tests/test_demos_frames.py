"""Decoded frames: those the environment showed, from the emulator or from what was kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from conftest import demonstrations

import envs
from demos import Dataset, Episode
from demos.frames import Frames, decode, keep, read_kept
from envs import UserError


def episodes_of(env_id: str) -> list[Episode]:
    return Dataset.open(demonstrations(env_id)).episodes()


def replayed(episode: Episode) -> np.ndarray:
    """All observations (T + 1, ...) of an episode, as its environment gives them."""
    return np.stack([obs for obs, *_ in envs.replay(episode.tape)])


def observation(frames: Frames, episode: int, t: int) -> np.ndarray:
    first = int(frames.first[episode]) + t
    stacked = frames.data[first : first + frames.spec.frame_stack]
    return stacked if frames.spec.frame_stack > 1 else stacked[0]


@pytest.mark.parametrize("env_id", ["Pong", "CartPole-v1", "toy/Catch-v0"])
def test_every_observation_is_the_one_that_was_seen(tmp_path: Path, env_id: str) -> None:
    episodes = episodes_of(env_id)[:2]
    for _from in ("the emulator", "what was kept"):
        frames = decode(episodes, episodes[0].spec, tmp_path)
        for e, episode in enumerate(episodes):
            for t, obs in enumerate(replayed(episode)):
                np.testing.assert_array_equal(observation(frames, e, t), obs)


def test_frames_are_split_between_episodes(tmp_path: Path) -> None:
    episodes = episodes_of("Pong")
    frames = decode(episodes, episodes[0].spec, tmp_path)
    for count in (1, 2, 3):
        parts = frames.split(count)
        assert [len(part.first) for part in parts] == [count, 3 - count]
        assert sum(len(part.data) for part in parts) == len(frames.data)
        for e, episode in enumerate(episodes):
            part, k = (parts[0], e) if e < count else (parts[1], e - count)
            for t in (0, 5, len(episode)):
                np.testing.assert_array_equal(observation(part, k, t), observation(frames, e, t))


def test_cached_frames_are_not_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    episodes = episodes_of("CartPole-v1")
    first = decode(episodes, episodes[0].spec, tmp_path).data.copy()

    monkeypatch.setattr("envs.batched_replay.open_pool", None)
    assert np.array_equal(decode(episodes, episodes[0].spec, tmp_path).data, first)


@pytest.mark.parametrize("damage", ["truncated", "changed", "emptied", "deleted"])
def test_a_damaged_file_is_made_again(tmp_path: Path, damage: str) -> None:
    episodes = episodes_of("toy/Catch-v0")
    first = decode(episodes, episodes[0].spec, tmp_path).data.copy()
    whole = {path: path.read_bytes() for path in tmp_path.glob("*.zst")}
    assert len(whole) == len(episodes)
    for path, data in whole.items():
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 64]) + data[middle + 1 :]
        path.write_bytes({"truncated": data[:middle], "changed": flipped, "emptied": b""}.get(
            damage, data
        ))  # fmt: skip
        if damage == "deleted":
            path.unlink()
    assert np.array_equal(decode(episodes, episodes[0].spec, tmp_path).data, first)
    assert {path: path.read_bytes() for path in tmp_path.glob("*.zst")} == whole


def test_frames_of_another_length_are_not_taken(tmp_path: Path) -> None:
    rows = np.arange(60, dtype=np.float32).reshape(10, 6)
    keep(tmp_path / "kept", rows)
    for other in (9, 11):
        assert not read_kept(tmp_path / "kept", np.zeros((other, 6), np.float32))
    again = np.zeros_like(rows)
    assert read_kept(tmp_path / "kept", again) and np.array_equal(again, rows)


def test_a_life_is_seen_under_another_preprocessing(tmp_path: Path) -> None:
    episodes = episodes_of("Pong")[:1]
    small = dataclasses.replace(episodes[0].spec, screen_size=42, frame_stack=2)
    frames = decode(episodes, small, tmp_path)
    assert frames.data.shape == (len(episodes[0]) + 2, 42, 42)
    again = envs.replay(dataclasses.replace(episodes[0].tape, spec=small))
    for t, (obs, *_) in zip(range(50), again, strict=False):
        np.testing.assert_array_equal(observation(frames, 0, t), obs)


def test_another_life_is_refused_under_another_preprocessing_too(tmp_path: Path) -> None:
    (episode, *_) = episodes_of("Pong")
    small = dataclasses.replace(episode.spec, screen_size=42)
    false = dataclasses.replace(episode, rewards=episode.rewards + 1)
    with pytest.raises(UserError, match="differs from its recording; `verify` it"):
        decode([false], small, tmp_path)


def test_stored_observations_need_no_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (episode, *_) = episodes_of("CartPole-v1")
    stored = dataclasses.replace(episode, observations=replayed(episode))
    monkeypatch.setattr("envs.backends.RegisteredPool", None)
    frames = decode([stored], stored.spec, tmp_path)
    np.testing.assert_array_equal(frames.data, stored.observations)
    assert not list(tmp_path.iterdir())


def test_other_environments_and_false_recordings_are_refused(tmp_path: Path) -> None:
    (episode, *_), other = episodes_of("CartPole-v1"), envs.spec("Acrobot-v1")
    with pytest.raises(UserError, match="the episodes are of another environment: env_id"):
        decode([episode], other, tmp_path)
    false = dataclasses.replace(episode, rewards=episode.rewards + 1)
    with pytest.raises(UserError, match="differs from its recording: step 1: the reward is 1, but"):
        decode([false], episode.spec, tmp_path)
    with pytest.raises(UserError, match="there are no episodes"):
        decode([], episode.spec, tmp_path)


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    episodes = episodes_of("CartPole-v1")
    with pytest.raises(UserError, match=r"file/cache cannot hold 0\.0 GB of frames: Not a dir"):
        decode(episodes, episodes[0].spec, tmp_path / "file" / "cache")
