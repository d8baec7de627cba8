"""Episodes that do not replay are detected while recording and store their observations."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_demos import CARTPOLE, assert_equal, changed, episode, played, rewritten
from test_demos_cli import demos

import envs
from demos import recording
from demos.dataset import Damage, Dataset
from demos.episode import Episode, Witness, newest
from demos.packing import pack, unpack
from demos.verification import observations_of, verify
from envs import EnvSpec, UserError

NOISY = "noisy_toy:Noisy-v0"


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    path = tmp_path / "noisy"
    assert demos("record", "--env", NOISY, "--episodes", 4, "--num-envs", 3, "--out", path) == 0
    return path


def stored(spec: EnvSpec, observations: np.ndarray, **parts: object) -> Episode:
    """An episode that nobody played and that shows these observations."""
    steps = len(observations) - 1
    rewards = np.random.default_rng(1).normal(size=steps).astype(np.float32)
    deep = observations[:, None] if spec.frame_stack > 1 else observations
    witness = Witness(spec, deep[0])
    for step in range(steps):
        witness.step(deep[step + 1], float(rewards[step]), step + 1 == steps, False)
    parts = {"rewards": rewards, "digests": witness.digests(), **parts}
    return episode(steps, spec, observations=observations, **parts)


def test_whether_an_environment_is_reproducible_is_found_out(noisy: Path) -> None:
    dataset = Dataset.open(noisy)
    assert dataset.metadata.replayable is False
    for each in dataset.episodes():
        assert each.observations is not None
        assert each.observations.shape == (len(each) + 1, 3)
        assert each.observations.dtype == np.float32
        # The toy pays the first number that it shows.
        assert np.array_equal(each.observations[1:, 0], each.rewards)
        assert verify(each) is None


def test_a_reproducible_environment_keeps_no_observations_once_that_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replayed_steps = []
    copied = []

    def watched_verify(it: Episode) -> object:
        replayed_steps.append(len(it))
        return verify(it)

    def watched_newest(spec: EnvSpec, obs: np.ndarray) -> np.ndarray:
        copied.append(1)
        return newest(spec, obs)

    monkeypatch.setattr(recording, "verify", watched_verify)
    monkeypatch.setattr(recording, "newest", watched_newest)
    recorded = played("CartPole-v1", 5, 3)
    assert [each.observations for each in recorded] == [None] * 5
    assert replayed_steps == [min(len(each) for each in recorded[:3])]
    # Nothing but the resets is copied after the first end of one of the three games.
    assert len(copied) <= 3 * (replayed_steps[0] + 1) + 2


def test_stored_observations_are_verified_without_the_environment(
    noisy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = {"env_id": "gone/Gone-v0", "gymnasium_version": "0.1"}
    rewritten(noisy, lambda about: about["spec"].update(gone))
    capsys.readouterr()
    assert demos("verify", noisy) == 0
    said = capsys.readouterr().out
    assert "4 of 4 episodes are as recorded" in said.splitlines()[-1]
    assert said.endswith("; stored observations, not re-emulated)\n")


def test_it_is_said_that_observations_are_stored(
    tmp_path: Path, noisy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("--env", NOISY, "--min-return", 1e9, "--max-played", 2, "--out", tmp_path / "none")
    assert demos("record", *args) == 1
    assert f"{NOISY} is not reproducible: the observations are stored" in capsys.readouterr().out
    assert Dataset.open(tmp_path / "none").metadata.replayable is False
    assert demos("stats", noisy) == 0
    assert "stored" in capsys.readouterr().out
    assert demos("card", noisy) == 0
    assert "file of observations, actions and rewards" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["observations", "rewards", "digests"])
def test_what_was_changed_in_a_stored_episode_is_found(
    noisy: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = Dataset.open(noisy)
    first = dataset.episodes()[0]
    dataset.append(dataclasses.replace(first, **{what: changed(getattr(first, what), 0, 7)}))
    capsys.readouterr()
    assert demos("verify", noisy) == 1
    assert "episode 4: step 10: a frame of the steps 1 to 10 differs" in capsys.readouterr().out


@given(
    steps=st.integers(1, 520),
    kind=st.sampled_from(["uint8", "bool", "int16", "float32", ">f8"]),
    shape=st.sampled_from([(), (1,), (3,), (2, 5, 4)]),
    width=st.sampled_from([(), (2,)]),
    seed=st.none() | st.integers(0, 2**64 - 1),
)
def test_any_stored_episode_reads_back_as_it_was(
    steps: int, kind: str, shape: tuple[int, ...], width: tuple[int, ...], seed: int | None
) -> None:
    rng = np.random.default_rng(steps)
    observations = (100 * rng.random((steps + 1, *shape))).astype(kind)
    actions = rng.random((steps, *width)).astype(np.float32)
    it = stored(CARTPOLE, observations, actions=actions, seed=seed)
    read = unpack(pack(it), CARTPOLE)
    assert_equal(read, it)
    assert verify(read) is None


def test_damage_to_a_stored_episode_is_an_error_and_never_a_crash() -> None:
    whole = pack(stored(CARTPOLE, np.random.default_rng(0).random((300, 4)).astype(np.float32)))
    rng, damaged = random.Random(0), 0
    for _ in range(300):
        data = bytearray(whole)
        # The second half is the footer, which says how the rest is to be read.
        data[rng.randrange(len(data) // 2 * rng.randrange(2), len(data))] ^= 1 << rng.randrange(8)
        try:
            unpack(bytes(data), CARTPOLE)
        except UserError:
            damaged += 1
    assert damaged > 0


@pytest.mark.parametrize(
    ("dtype", "shape"), [("|O", [4]), ("<f8", [4]), ("<f4", [5]), ("<f4", [-1, -1]), ("x", [4])]
)
def test_a_file_that_tells_lies_about_its_observations_is_refused(
    monkeypatch: pytest.MonkeyPatch, dtype: str, shape: list[int]
) -> None:
    it = stored(CARTPOLE, np.zeros((10, 4), np.float32))
    dumps, lies = json.dumps, {"observation_dtype": dtype, "observation_shape": shape}
    monkeypatch.setattr(json, "dumps", lambda about: dumps({**about, **lies}))
    data = pack(it)
    with pytest.raises(UserError):
        unpack(data, CARTPOLE)


def test_of_stacked_frames_the_newest_are_stored() -> None:
    frames = np.random.default_rng(0).integers(256, size=(9, 84, 84)).astype(np.uint8)
    it = stored(envs.spec("Pong"), frames)
    assert verify(it) is None
    assert np.array_equal(list(observations_of(it)), frames)
    wrong = dataclasses.replace(it, observations=np.roll(frames, 1, 1))
    assert verify(wrong) is not None


@pytest.mark.parametrize("env_id", ["CartPole-v1", "toy/Catch-v0"])
def test_observations_are_those_that_the_environment_emits(env_id: str) -> None:
    (it,) = played(env_id, 1, 1)
    emitted = [obs for obs, *_ in envs.replay(it.tape)]
    assert np.array_equal(list(observations_of(it)), emitted) and len(emitted) == len(it) + 1


def test_observations_that_are_not_those_of_the_recording_are_not_passed_on() -> None:
    (it,) = played("CartPole-v1", 1, 1)
    wrong = dataclasses.replace(it, digests=it.digests ^ 1)
    with pytest.raises(
        UserError, match=f"seed {it.seed} differs from its recording: step {len(it)}: "
    ):
        list(observations_of(wrong))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"observations": np.zeros((300, 4))}, "there are 300 observations, but an episode of 300"),
        ({"observations": np.full(301, None)}, "observations are object, allowed are numbers"),
        ({"actions": np.full(300, "up")}, "actions are <U2, allowed are numbers"),
        ({"seed": None}, "an episode without a seed needs its observations"),
        ({"seed": 2**31, "spec": envs.spec("Pong")}, "allowed is 0 to 2147483647"),
    ],
)
def test_observations_that_do_not_fit_are_refused(parts: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        episode(**parts)


def test_stored_observations_cannot_be_changed_nor_the_episode_played_again() -> None:
    it = stored(CARTPOLE, np.zeros((9, 4), np.float32))
    assert it.observations is not None
    with pytest.raises(ValueError, match="read-only"):
        it.observations[0] = 1.0
    with pytest.raises(
        UserError, match="CartPole-v1 cannot be replayed: its observations are stored"
    ):
        _ = it.tape


def test_an_episode_lives_again_from_a_seed_of_64_bits() -> None:
    (it,) = played("CartPole-v1", 1, 1)
    large = dataclasses.replace(it, seed=2**64 - 1)
    assert verify(large) is not None
    lives = [[obs.tobytes() for obs, *_ in envs.replay(large.tape)] for _ in range(2)]
    assert lives[0] == lives[1]


def test_a_dataset_has_episodes_of_one_kind(noisy: Path, tmp_path: Path) -> None:
    dataset = Dataset.open(noisy)
    bare = dataclasses.replace(dataset.episodes()[0], observations=None)
    with pytest.raises(UserError, match=r"has no observations, but .* has stored ones"):
        dataset.append(bare)
    rewritten(noisy, lambda about: about.update(replayable=True))
    found = list(Dataset.open(noisy).scan())
    assert all(isinstance(each, Damage) and "has stored" in each.why for each in found)


def test_new_datasets_of_stored_episodes_have_them_too(noisy: Path) -> None:
    folder = noisy.parent
    halves = (folder / "a", folder / "b")
    assert demos("split", noisy, "--share", 0.5, "--out", *halves) == 0
    assert demos("merge", *halves, noisy, "--out", folder / "all") == 0
    assert demos("filter", folder / "all", "--min-return", -1e9, "--out", folder / "good") == 0
    good = Dataset.open(folder / "good")
    assert good.metadata.replayable is False and demos("verify", folder / "good") == 0
    whole = {each.seed: each for each in Dataset.open(noisy).episodes()}
    assert len(good.episodes()) == 4
    for each in good.episodes():
        assert_equal(each, whole[each.seed])


def test_stored_and_replayed_episodes_are_not_merged(
    noisy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = noisy.parent / "bare"
    Dataset.create(bare, dataclasses.replace(Dataset.open(noisy).metadata, replayable=True))
    for order in ((noisy, bare), (bare, noisy)):
        capsys.readouterr()
        assert demos("merge", *order, "--out", noisy.parent / "x") == 2
        said = capsys.readouterr().err
        assert f"{noisy} has stored observations, but {bare} has none" in said
        assert said.count("\n") == 1 and not (noisy.parent / "x").exists()
