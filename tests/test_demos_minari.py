"""Minari: what goes there comes back as it was, and what others made is proved or stored."""

from __future__ import annotations

import dataclasses
import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from test_demos import assert_equal, dataset
from test_demos_cli import demos
from test_demos_stored import NOISY, stored

import envs
from benchmarks import demo_storage
from demos.dataset import Dataset
from demos.editing import save
from demos.episode import Episode
from demos.policies import RandomPolicy
from demos.recording import record
from envs import EnvSpec

minari = pytest.importorskip("minari")
pytest.importorskip("h5py")
buffers = pytest.importorskip("minari.data_collector")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:minari")

SHORT_PONG = dataclasses.replace(envs.spec("Pong"), max_episode_frames=200)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Minari's directory; nothing may look for anything beyond this machine."""

    def offline(*args: object, **kwargs: object) -> None:
        raise AssertionError(f"the network was asked for {args}")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, offline)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "minari"


def recorded(spec: str | EnvSpec, episodes: int = 2) -> Dataset:
    """A dataset at ./d, played at random."""
    spec = envs.spec(spec) if isinstance(spec, str) else spec
    policy = RandomPolicy(envs.spaces_of(spec)[1], seed=1)
    found = list(record(spec, policy, episodes, 3, num_threads=1))
    about = dataset(Path("about"), spec).metadata
    replayable = found[0].observations is None
    return save(Path("d"), dataclasses.replace(about, replayable=replayable), found)


def collected(
    env: gymnasium.Env,
    name: str = "their/own-v0",
    episodes: int = 3,
    steps: int | None = None,
    seeded: bool = True,
    **options: Any,
) -> None:
    """What a person who uses Minari makes; `steps` cuts the last episode off."""
    pytest.importorskip("jax")
    collector = minari.DataCollector(env, **options)
    collector.action_space.seed(0)
    for episode in range(episodes):
        collector.reset(options=None if seeded else {"minari_autoseed": False})
        for step in range(10_000):
            _, _, terminated, truncated, _ = collector.step(collector.action_space.sample())
            cut = episode == episodes - 1 and steps == step + 1
            if terminated or truncated or cut:
                break
    collector.create_dataset(name)
    collector.close()


def imported(*args: object) -> list[Episode]:
    """The episodes of their/own-v0, which are as recorded."""
    assert demos("import", "their/own-v0", "--from", "minari", "--out", "i", *args) == 0
    assert demos("verify", "i") == 0
    return Dataset.open(Path("i")).episodes()


def changed_metadata(change: Callable[[dict], object], root: Path) -> None:
    path = root / "their/own-v0/data/metadata.json"
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


TOYS = ["toy/Pair-v0", "toy/Target-v0", "toy/Catch-v0", NOISY]


@pytest.mark.parametrize(
    "spec", ["CartPole-v1", "FrozenLake-v1", *TOYS, pytest.param(SHORT_PONG, id="Pong")]
)
def test_what_is_exported_comes_back_as_it_was(spec: str | EnvSpec, root: Path) -> None:
    before = recorded(spec)
    assert demos("export", "d", "--to", "minari", "--id", "a/b/it-v3") == 0
    assert demos("import", "a/b/it-v3", "--from", "minari", "--out", "back") == 0
    back = Dataset.open(Path("back"))
    assert [path.name for path in back.files()] == [path.name for path in before.files()]
    for a, b in zip(before.episodes(), back.episodes(), strict=True):
        assert_equal(a, b)
    assert dataclasses.replace(back.metadata, created="", command="") == dataclasses.replace(
        before.metadata, created="", command=""
    )
    assert list(minari.list_local_datasets()) == ["a/b/it-v3"]
    assert not list(root.glob(".tmp*"))


def test_minari_has_what_the_environment_emits(root: Path) -> None:
    ours = recorded(SHORT_PONG, 1)
    assert demos("export", "d", "--to", "minari", "--id", "pong/random-v0") == 0
    theirs = minari.load_dataset("pong/random-v0")
    (it,), (data,) = ours.episodes(), theirs
    life = list(envs.replay(it.tape))
    assert np.array_equal(data.observations, [obs for obs, *_ in life])
    assert data.observations.shape == (51, 4, 84, 84) and data.observations.dtype == np.uint8
    assert np.array_equal(data.rewards, it.rewards) and data.rewards.dtype == np.float32
    assert np.array_equal(data.actions, it.actions)
    assert theirs.action_space.contains(data.actions[0])
    assert theirs.observation_space == spaces.Box(0, 255, (4, 84, 84), np.uint8)
    assert not data.terminations.any()
    assert data.truncations.tolist() == [False] * 49 + [True]
    (about,) = theirs.storage.get_episode_metadata([0])
    assert about["seed"] == it.seed and about["total_steps"] == 50
    assert theirs.storage.metadata["algorithm_name"] == "nobody"
    assert "infos" in repr(data)


def test_minari_builds_the_environment_again() -> None:
    (it,) = recorded("CartPole-v1", 1).episodes()
    assert demos("export", "d", "--to", "minari", "--id", "it-v0", "--out", "elsewhere") == 0
    theirs = minari.MinariDataset(Path("elsewhere/it-v0/data"))
    obs, _ = theirs.recover_environment().reset(seed=it.seed)
    assert np.array_equal(obs, theirs[0].observations[0])


def test_stored_stacks_come_back() -> None:
    frames = np.random.default_rng(0).integers(256, size=(9, 84, 84)).astype(np.uint8)
    it = stored(envs.spec("Pong"), frames)
    about = dataclasses.replace(dataset(Path("about"), it.spec).metadata, replayable=False)
    save(Path("d"), about, [it])
    assert demos("export", "d", "--to", "minari", "--id", "it-v0") == 0
    (data,) = minari.load_dataset("it-v0")
    assert data.observations.shape == (9, 4, 84, 84)
    assert np.array_equal(data.observations[5], frames[2:6])
    assert not data.observations[0, :3].any()
    assert demos("import", "it-v0", "--from", "minari", "--out", "back") == 0
    assert_equal(Dataset.open(Path("back")).episodes()[0], it)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("d", "--id", "nameless"), "--id nameless: must have the form pong/expert-v0"),
        (("d", "--id", "../it-v0"), "--id ../it-v0: must have the form"),
        (("d", "--id", "taken-v0"), "minari/taken-v0 exists already; choose another --id"),
        (("empty", "--id", "x-v0"), "empty has no episodes"),
        (("nowhere", "--id", "x-v0"), "no dataset at 'nowhere'"),
        (("wrong", "--id", "x-v0"), "differs from its recording: step"),
        (("damaged", "--id", "x-v0"), "was truncated or changed"),
        (("d", "--id", "x-v0", "--out", "d/dataset.json"), "x-v0 cannot be written: "),
    ],
)
def test_what_cannot_be_exported_is_one_line_and_leaves_nothing(
    args: tuple[str, ...], message: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = recorded("CartPole-v1", 2)
    first, second = ours.episodes()
    save(Path("wrong"), ours.metadata, [first, dataclasses.replace(second, seed=1)])
    Dataset.create(Path("empty"), ours.metadata)
    (path,) = save(Path("damaged"), ours.metadata, [first]).files()
    path.write_bytes(path.read_bytes()[:-1])
    (root / "taken-v0").mkdir(parents=True)
    assert demos("export", *args, "--to", "minari") == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert [each.name for each in root.iterdir()] == ["taken-v0"]


def test_what_was_collected_with_minari_lives_again() -> None:
    env = gymnasium.make("CartPole-v1", max_episode_steps=12, render_mode="rgb_array")
    collected(gymnasium.wrappers.RecordEpisodeStatistics(env))
    episodes = imported()
    metadata = Dataset.open(Path("i")).metadata
    assert metadata.replayable and metadata.spec.max_episode_frames == 12
    assert metadata.policy.startswith("minari their/own-v0") and metadata.license == "NOASSERTION"
    theirs = minari.load_dataset("their/own-v0")
    for it, data in zip(episodes, theirs, strict=True):
        assert it.observations is None
        assert np.array_equal(it.actions, data.actions) and it.actions.dtype == np.uint8
        assert np.array_equal(it.rewards, data.rewards)
        assert np.array_equal([obs for obs, *_ in envs.replay(it.tape)], data.observations)
    # Minari draws seeds of 64 bits.
    assert max(each.seed or 0 for each in episodes) >= 2**31


@pytest.mark.parametrize("data_format", ["hdf5", "arrow"])
def test_observations_that_are_one_of_a_few_live_again(data_format: str) -> None:
    collected(gymnasium.make("FrozenLake-v1"), data_format=data_format)
    assert [each.observations for each in imported()] == [None] * 3


def test_what_cannot_live_again_is_stored_or_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    collected(gymnasium.make("CartPole-v1"), steps=5)
    episodes = imported()
    said = capsys.readouterr().out
    assert "1 of 3 episodes do not replay from seed and actions (episode 2, step 5: the" in said
    assert "still going on" in said and "--replayable-only" in said
    assert "stored observations, not re-emulated" in said
    for it, data in zip(episodes, minari.load_dataset("their/own-v0"), strict=True):
        assert it.observations is not None
        assert np.array_equal(it.observations, data.observations)
    args = ("--from", "minari", "--replayable-only", "--out", "j")
    assert demos("import", "their/own-v0", *args) == 0
    kept = Dataset.open(Path("j")).episodes()
    assert [each.seed for each in kept] == [each.seed for each in episodes[:2]]
    assert [each.observations for each in kept] == [None, None]


def test_without_seeds_observations_are_stored(capsys: pytest.CaptureFixture[str]) -> None:
    collected(gymnasium.make("CartPole-v1"), seeded=False)
    episodes = imported()
    assert (
        "(episode 0, its seed is missing): all observations are stored\n" in capsys.readouterr().out
    )
    assert [each.seed for each in episodes] == [None] * 3
    assert demos("merge", "i", "--out", "j") == 0
    assert len(Dataset.open(Path("j")).episodes()) == 3
    assert demos("export", "i", "--to", "minari", "--id", "again-v0") == 0
    args = ("--from", "minari", "--replayable-only", "--out", "k")
    assert demos("import", "their/own-v0", *args) == 2
    assert "3 of 3 episodes do not replay" in capsys.readouterr().err


@pytest.mark.parametrize("jpeg", [True, False])
def test_pictures_live_again_unless_minari_made_jpegs_of_them(
    jpeg: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    collected(gymnasium.make("noisy_toy:Picture-v0"), jpeg_encoding=jpeg)
    episodes = imported("--env", "noisy_toy:Picture-v0")
    assert ("which Minari changed by storing them as JPEG" in capsys.readouterr().out) == jpeg
    for it, data in zip(episodes, minari.load_dataset("their/own-v0"), strict=True):
        turned = data.observations.transpose(0, 3, 1, 2)
        if jpeg:
            assert it.observations is not None and np.array_equal(it.observations, turned)
        else:
            assert np.array_equal([obs for obs, *_ in envs.replay(it.tape)], turned)


def made(env: str | None, space: spaces.Space, observations: Any, **parts: Any) -> None:
    """One episode of theirs with 3 steps of CartPole's actions."""
    steps = {"rewards": [1.0] * 3, "terminations": [False, False, True], "truncations": [False] * 3}
    steps |= {"actions": np.ones(3, np.int64), "observations": observations, **parts}
    buffer = buffers.EpisodeBuffer(seed=1, infos={}, **steps)
    minari.create_dataset_from_buffers(
        "their/own-v0",
        [buffer],
        env=env,
        observation_space=space,
        action_space=spaces.Discrete(2),
    )


BOX = spaces.Box(-9, 9, (4,), np.float32)
ZEROS = np.zeros((4, 4), np.float32)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"space": spaces.Dict({"a": BOX, "b": BOX}), "observations": {"a": ZEROS, "b": ZEROS}},
            "episode 0 of their/own-v0: observations have the shape (8,), but the environment has",
        ),
        (
            {"space": spaces.Dict({"a": BOX}), "observations": {"a": ZEROS[:, :3]}},
            "an observation of shape (3,), but its space has (4,)",
        ),
        ({"env": None}, "their/own-v0 does not name its environment: give --env"),
        (
            {"space": spaces.Box(-9, 9, (5,)), "observations": np.zeros((4, 5), np.float32)},
            "observations have the shape (5,), but the environment has (4,)",
        ),
        ({"actions": np.full(3, 7)}, "there is no action 7, allowed are 0 to 1"),
        ({"observations": ZEROS[1:]}, "it has 3 observations, but 3 steps need 4"),
        ({"truncations": [True, False, False]}, "it ends at step 1 of 3"),
        ({"rewards": [np.nan] * 3}, "the reward of step 1 is nan"),
    ],
)
def test_what_cannot_be_kept_is_one_line_and_leaves_nothing(
    parts: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made(**{"env": "CartPole-v1", "space": BOX, "observations": ZEROS, **parts})
    capsys.readouterr()
    assert demos("import", "their/own-v0", "--from", "minari", "--out", "i") == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not Path("i").exists()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"id": "CartPoll-v1"}, "unknown environment 'CartPoll-v1'"),
        ({"id": "os:CartPole-v1"}, "whose module is imported only with --env"),
        ({"kwargs": {"gravty": 5}}, "CartPole-v1 cannot be built here with gravty=5"),
        ({"additional_wrappers": [{"name": "Odd"}]}, "the wrappers Odd, which a spec cannot"),
        ({"kwargs": 7}, "cannot be read as a Minari dataset: "),
    ],
)
def test_an_environment_that_no_spec_names_is_refused(
    spec: dict[str, Any], message: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made("CartPole-v1", BOX, ZEROS)

    def change(raw: dict[str, Any]) -> None:
        raw["env_spec"] = json.dumps({**json.loads(raw["env_spec"]), **spec})

    # Minari itself reads a specification of wrappers that are whole.
    changed_metadata(change, root)
    if "additional_wrappers" in spec:
        whole = [{"name": "Odd", "entry_point": "odd:Odd", "kwargs": {}}]
        changed_metadata(
            lambda raw: raw.update(
                env_spec=json.dumps({**json.loads(raw["env_spec"]), "additional_wrappers": whole})
            ),
            root,
        )
    capsys.readouterr()
    assert demos("import", "their/own-v0", "--from", "minari", "--out", "i") == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not Path("i").exists()


def test_a_dataset_cannot_have_code_run(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Minari builds an environment, from any function, where metadata does not have the spaces."""
    made("CartPole-v1", BOX, ZEROS)

    def change(raw: dict[str, Any]) -> None:
        spec = json.loads(raw["env_spec"])
        code = {"entry_point": "os:mkdir", "kwargs": {"path": "ran"}, "max_episode_steps": None}
        raw["env_spec"] = json.dumps({**spec, **code})
        del raw["observation_space"]

    changed_metadata(change, root)
    capsys.readouterr()
    assert demos("import", "their/own-v0", "--from", "minari", "--out", "i") == 2
    assert "does not declare its observation_space" in capsys.readouterr().err
    assert not Path("ran").exists() and not Path("i").exists()


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99])
@pytest.mark.parametrize("name", ["main_data.hdf5", "metadata.json"])
def test_a_damaged_file_of_theirs_is_one_line(
    name: str, keep: float, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made("CartPole-v1", BOX, ZEROS)
    path = root / "their/own-v0/data" / name
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep if keep >= 1 else keep * len(whole))])
    capsys.readouterr()
    assert demos("import", "their/own-v0", "--from", "minari", "--out", "i") == 2
    said = capsys.readouterr().err
    assert "their/own-v0 cannot be read as a Minari dataset: " in said
    assert said.count("\n") == 1 and not Path("i").exists()


def test_a_dataset_of_theirs_is_found_by_its_directory_and_the_nearest_name_is_said(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made("CartPole-v1", BOX, ZEROS)
    args = ("--from", "minari", "--out", "i")
    assert demos("import", "their/onw-v0", *args) == 2
    assert "did you mean 'their/own-v0'?" in capsys.readouterr().err
    assert demos("import", root / "their/own-v0", *args) == 0
    assert demos("import", root / "their/own-v0", *args) == 2
    assert "i is a dataset already" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["minari", "h5py"])
def test_it_is_said_how_minari_is_installed(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded("toy/Chain-v0")
    monkeypatch.setitem(sys.modules, missing, None)
    assert demos("export", "d", "--to", "minari", "--id", "it-v0") == 2
    assert "pip install -e '.[minari]'" in capsys.readouterr().err
    assert demos("import", "it-v0", "--from", "minari", "--out", "i") == 2
    assert "pip install -e '.[minari]'" in capsys.readouterr().err


def test_both_are_measured_on_the_same_episodes(tmp_path: Path) -> None:
    arguments = demo_storage.Arguments(env_id="toy/Catch-v0", episodes=2)
    result = demo_storage.measure(arguments, tmp_path / "measured")
    assert result["steps"] == 12 and result["replayable"]
    # An observation of a step, and that of the reset, is 42 x 42 bytes.
    assert result["bytes_per_step"]["minari"] > 42 * 42 * 14 / 12
    assert result["ratio"] == result["ratio_to"]["minari"]
    assert result["verify_steps_per_second"] > 0 and result["decode_steps_per_second"] > 0


def test_frames_that_minari_makes_jpegs_of_are_measured_too(tmp_path: Path) -> None:
    it = stored(envs.spec("Pong"), np.zeros((201, 84, 84), np.uint8))
    stacks = demo_storage.size(demo_storage.write([it], tmp_path / "stacks"))
    newest = demo_storage.write([it], tmp_path / "newest", demo_storage.newest_frames)
    assert stacks > 201 * 4 * 84 * 84
    assert demo_storage.size(newest) < 201 * 84 * 84
