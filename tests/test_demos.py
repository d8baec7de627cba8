"""Demonstrations: what is recorded can be proved, read back, and is never silently wrong."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

import envs
from demos.dataset import Damage, Dataset, Metadata
from demos.episode import Episode, Witness
from demos.metadata import digest_of
from demos.packing import pack
from demos.policies import RandomPolicy
from demos.recording import record
from demos.verification import verify
from envs import EnvSpec, UserError

CARTPOLE = envs.spec("CartPole-v1")


def played(env_id: str, episodes: int = 2, num_envs: int = 2, seed: int = 3) -> list[Episode]:
    spec, policy = envs.spec(env_id), RandomPolicy(envs.spaces_of(env_id)[1], seed=1)
    return list(record(spec, policy, episodes, seed, num_envs, num_threads=1))


def episode(steps: int = 300, spec: EnvSpec = CARTPOLE, **parts: object) -> Episode:
    """An episode that nobody played."""
    rng = np.random.default_rng(0)
    values = {
        "actions": rng.integers(2, size=steps).astype(np.uint8),
        "rewards": rng.normal(size=steps).astype(np.float32),
        "digests": rng.integers(256, size=(-(-steps // 256), 16)).astype(np.uint8),
    }
    return Episode(
        **{"spec": spec, "seed": 1, "terminated": True, "policy": "nobody", **values, **parts}
    )


def dataset(path: Path, spec: EnvSpec = CARTPOLE) -> Dataset:
    about = Metadata(spec=spec, policy="nobody", created="2026-11-21T00:00:00Z", command="test")
    return Dataset.create(path, about)


def rewritten(path: Path, change: Callable[[dict], object], *, sealed: bool = True) -> None:
    """Change what `dataset.json` says; it gets the digest of that where it is `sealed`."""
    values = json.loads((path / "dataset.json").read_text())
    change(values)
    if sealed and values.pop("digest", None):
        values["digest"] = digest_of(values)
    (path / "dataset.json").write_text(json.dumps(values))


def of_format_1(path: Path) -> None:
    """Make a dataset one of the first format."""

    def change(values: dict) -> None:
        for name in ("digest", "episodes", "sessions"):
            del values[name]
        values["joystick_demos"] = 1

    rewritten(path, change)


def assert_equal(a: Episode, b: Episode) -> None:
    for field in dataclasses.fields(Episode):
        left, right = getattr(a, field.name), getattr(b, field.name)
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype and left.shape == right.shape
            assert left.tobytes() == right.tobytes()
        else:
            assert left == right


def changed(values: np.ndarray, at: int, value: float) -> np.ndarray:
    values = values.copy()
    values[at] = value
    return values


@pytest.mark.parametrize(("steps", "digests"), [(1, 1), (255, 1), (256, 1), (257, 2), (512, 2)])
def test_a_witness_keeps_a_digest_every_256_steps_and_one_of_the_end(
    steps: int, digests: int
) -> None:
    witness, shorter = (Witness(CARTPOLE, np.zeros(4, np.float32)) for _ in range(2))
    for _ in range(steps):
        witness.step(np.ones(4, np.float32), 1.0, False, False)
    assert witness.digests().shape == (digests, 16)
    for _ in range(min(steps, 256)):
        shorter.step(np.ones(4, np.float32), 1.0, False, False)
    assert np.array_equal(witness.digests()[0], shorter.digests()[0])


def test_everything_that_was_seen_is_in_the_digest() -> None:
    def seen(first: float, frame: float, reward: float, terminated: bool, truncated: bool) -> bytes:
        witness = Witness(CARTPOLE, np.full(4, first, np.float32))
        witness.step(np.full(4, frame, np.float32), reward, terminated, truncated)
        return bytes(witness.digests()[-1])

    lives = [(0, 0, 0, False, False), (1, 0, 0, False, False), (0, 1, 0, False, False)]
    lives += [(0, 0, 1, False, False), (0, 0, 0, True, False), (0, 0, 0, False, True)]
    assert len({seen(*life) for life in lives}) == len(lives)


def test_of_a_stack_only_the_newest_frame_is_seen() -> None:
    pong, old = envs.spec("Pong"), np.zeros((4, 84, 84), np.uint8)
    other, newest = old.copy(), old.copy()
    other[0], newest[3] = 1, 1
    of_old, of_other, of_newest = (
        bytes(Witness(pong, o)._hash.digest()) for o in (old, other, newest)
    )
    assert of_old == of_other != of_newest


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"rewards": np.zeros(4, np.float32)}, "rewards are float32 (4,), but an episode of 300"),
        ({"rewards": np.zeros(300)}, "rewards are float64 (300,)"),
        ({"digests": np.zeros((1, 16), np.uint8)}, "digests are uint8 (1, 16), but an episode of"),
        ({"seed": -1}, "seed is -1, allowed is 0 to 18446744073709551615"),
        ({"rewards": np.full(300, np.nan, np.float32)}, "the reward of step 1 is nan"),
        ({"steps": 0}, "an episode must have at least 1 step"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(parts: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        episode(**parts)
    assert message in str(caught.value)


def test_an_episode_cannot_be_changed() -> None:
    mine = np.zeros(300, np.float32)
    it = episode(rewards=mine)
    mine[0] = 5.0
    assert it.score == 0.0
    with pytest.raises(ValueError, match="read-only"):
        it.rewards[0] = 1.0


@pytest.mark.parametrize("env_id", ["Pong", "CartPole-v1", "toy/Pair-v0", "toy/Target-v0"])
def test_what_is_recorded_can_be_proved_and_read_back(tmp_path: Path, env_id: str) -> None:
    recorded = played(env_id)
    kept = dataset(tmp_path / "d", recorded[0].spec)
    for each in recorded:
        kept.append(each)
    read = Dataset.open(tmp_path / "d").episodes()
    assert len(read) == len(recorded) == 2
    for a, b in zip(recorded, read, strict=True):
        assert_equal(a, b)
        assert verify(b) is None


def test_the_first_step_that_differs_is_named() -> None:
    (pair,) = played("toy/Pair-v0", 1, 1)
    wrong = dataclasses.replace(pair, rewards=changed(pair.rewards, 6, 7.0))
    difference = verify(wrong)
    assert difference is not None and difference.step == 7
    assert "but 7 was recorded" in difference.what


def test_an_action_that_was_not_played_is_found() -> None:
    (pong,) = played("Pong", 1, 1)
    difference = verify(dataclasses.replace(pong, actions=changed(pong.actions, 300, 5)))
    other = verify(dataclasses.replace(pong, actions=changed(pong.actions, 300, 4)))
    steps = [each.step for each in (difference, other) if each]
    assert steps and all(301 <= step <= 512 for step in steps)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda e: {"terminated": False}, "the episode is terminated, but was truncated"),
        (
            lambda e: {"actions": e.actions[:-1], "rewards": e.rewards[:-1]},
            "the episode is still going on, but was terminated",
        ),
        (
            lambda e: {
                "actions": np.append(e.actions, e.actions[-1:]),
                "rewards": np.append(e.rewards, e.rewards[-1:]),
            },
            "the episode ends, but has",
        ),
        (lambda e: {"digests": e.digests ^ 1}, "a frame of the steps 1 to"),
    ],
    ids=["end", "shorter", "longer", "frame"],
)
def test_an_end_or_a_frame_that_differs_is_found(
    change: Callable[[Episode], dict], what: str
) -> None:
    (it,) = played("CartPole-v1", 1, 1)
    difference = verify(dataclasses.replace(it, **change(it)))
    assert difference is not None and what in difference.what


def test_an_episode_of_another_emulator_is_refused_with_the_field() -> None:
    (pong,) = played("Pong", 1, 1)
    elsewhere = dataclasses.replace(pong, spec=dataclasses.replace(pong.spec, ale_py_version="0.9"))
    with pytest.raises(UserError, match="ale_py_version is '0.12.1' on this machine, but '0.9'"):
        verify(elsewhere)


@pytest.mark.parametrize("num_envs", [1, 3])
def test_games_are_the_same_however_many_are_played_at_once(num_envs: int) -> None:
    of_two = {each.seed for each in played("CartPole-v1", 5, 2)}
    assert {each.seed for each in played("CartPole-v1", 5, num_envs)} == of_two
    assert len(of_two) == 5


def test_a_policy_is_told_where_episodes_start() -> None:
    starts: list[bool] = []

    class Watcher(RandomPolicy):
        def act(self, obs: np.ndarray, start: np.ndarray, *rest: Any) -> np.ndarray:
            starts.extend(start.tolist())
            return super().act(obs, start, *rest)

    (it,) = record(envs.spec("toy/Identity-v0"), Watcher(spaces.Discrete(4), 0), 1, 0, 1)
    assert starts == [True, *[False] * (len(it) - 1)]


@settings(deadline=None)
@given(
    steps=st.integers(1, 600),
    kind=st.sampled_from(["uint8", "int64", "float32"]),
    width=st.sampled_from([(), (1,), (3,), (2, 2)]),
    terminated=st.booleans(),
)
def test_any_episode_reads_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory,
    steps: int,
    kind: str,
    width: tuple[int, ...],
    terminated: bool,
) -> None:
    actions = np.random.default_rng(steps).normal(size=(steps, *width)) * 100
    it = episode(steps, actions=actions.astype(np.int8).astype(kind), terminated=terminated)
    kept = dataset(tmp_path_factory.mktemp("any") / "d")
    kept.append(it)
    (read,) = kept.episodes()
    assert_equal(read, it)


def test_an_episode_of_another_environment_is_refused(tmp_path: Path) -> None:
    kept = dataset(tmp_path / "d", envs.spec("Pong"))
    with pytest.raises(UserError, match="is of another environment: env_id is 'ALE/Pong-v5' there"):
        kept.append(episode())


def test_a_dataset_is_not_overwritten(tmp_path: Path) -> None:
    dataset(tmp_path / "d")
    with pytest.raises(UserError, match="is a dataset already"):
        dataset(tmp_path / "d")


def test_a_recording_that_was_killed_keeps_the_episodes_before(tmp_path: Path) -> None:
    kept = dataset(tmp_path / "d")
    kept.append(episode())
    (tmp_path / "d" / "episodes" / ".tmp-000001-0123456789abcdef.parquet").write_bytes(b"half")
    kept.append(episode(10))
    assert [len(each) for each in Dataset.open(tmp_path / "d").episodes()] == [300, 10]


def test_a_full_disk_is_said_in_a_line_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = dataset(tmp_path / "d")
    kept.append(episode())

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="cannot be written: No space left on device"):
        kept.append(episode(10))
    assert [len(each) for each in kept.episodes()] == [300]
    assert not list((tmp_path / "d" / "episodes").glob(".tmp*"))


def test_a_damaged_episode_is_named_and_the_others_are_offered(tmp_path: Path) -> None:
    kept = dataset(tmp_path / "d")
    paths = [kept.append(episode(steps)) for steps in (10, 20, 30)]
    paths[1].write_bytes(paths[1].read_bytes()[:-9])
    with pytest.raises(UserError) as caught:
        kept.episodes()
    assert "episode 1 of" in str(caught.value)
    assert "truncated or changed" in str(caught.value)
    assert "the other 2 are intact, and `python -m demos filter " in str(caught.value)
    assert [len(each) for each in kept.episodes(skip_damaged=True)] == [10, 30]


def test_random_damage_is_always_found(tmp_path: Path) -> None:
    kept = dataset(tmp_path / "d")
    path = kept.append(episode())
    whole, rng = path.read_bytes(), random.Random(0)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        data = data[: rng.choice([len(data), rng.randrange(len(data))])]
        path.write_bytes(data)
        (found,) = kept.scan()
        assert isinstance(found, Damage) or bytes(data) == whole


def test_damage_that_was_given_a_new_name_is_still_no_episode(tmp_path: Path) -> None:
    """Whoever renames a file to fit its bytes gets an error or an episode, never a crash."""
    from demos.dataset import digest

    dataset(tmp_path / "d")
    of_format_1(tmp_path / "d")
    whole, rng, folder = pack(episode()), random.Random(0), tmp_path / "d" / "episodes"
    damaged = 0
    for _ in range(200):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path = folder / f"000000-{digest(bytes(data))}.parquet"
        path.write_bytes(data)
        (found,) = Dataset.open(tmp_path / "d").scan()
        damaged += isinstance(found, Damage)
        path.unlink()
    assert damaged > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "dataset.json is damaged"),
        ("[]", "expected `object`, got `array`"),
        ('{"joystick_demos": 3}', "not a dataset of format 1 or 2"),
        ('{"joystick_demos": 2}', "digest: expected `str`, got `null`"),
        ('{"joystick_demos": 1}', "the field 'spec' is missing"),
        ('{"joystick_demos": 1, "spek": 1}', "unknown field 'spek'"),
        ('{"joystick_demos": 1, "spec": 7}', "spec: expected `object`, got `int`"),
    ],
)
def test_metadata_that_cannot_be_read_is_said_in_a_line(
    tmp_path: Path, text: str, message: str
) -> None:
    dataset(tmp_path / "d")
    (tmp_path / "d" / "dataset.json").write_text(text)
    with pytest.raises(UserError) as caught:
        Dataset.open(tmp_path / "d")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_directory_that_is_no_dataset_is_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it has no dataset.json"):
        Dataset.open(tmp_path)
