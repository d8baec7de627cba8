"""What Minari itself wrote, of every kind of space and format, and what strangers made of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from conftest import QUIET
from gymnasium import spaces
from minari_zoo import OBSERVATIONS
from test_demos_cli import demos
from test_demos_minari import BOX, ZEROS, changed_metadata, collected, made, recorded, root

import envs
from agents.core.training.launch import train
from demos.dataset import Dataset
from demos.minari_foreign import environment, plain
from envs.observations import reader

minari = pytest.importorskip("minari")
h5py = pytest.importorskip("h5py")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:minari")
__all__ = ["root"]

FORMATS = ["hdf5", "arrow", "parquet"]


def zoo(name: str, **options: Any) -> str:
    """Collect their/own-v0 of an environment; its name."""
    env_id = f"minari_zoo:{name}-v0"
    collected(gymnasium.make(env_id), jpeg_encoding=False, **options)
    return env_id


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", OBSERVATIONS)
def test_what_minari_wrote_of_any_space_lives_again(
    name: str, data_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    env_id = zoo(name, data_format=data_format)
    args = ("--from", "minari", "--env", env_id, "--out", "i")
    assert demos("import", "their/own-v0", *args) == 0
    for command in ("verify", "stats", "list", "card"):
        assert demos(command, "i") == 0
    kept = Dataset.open(Path("i"))
    assert kept.metadata.replayable and len(kept.episodes()) == 3
    for it, data in zip(kept.episodes(), minari.load_dataset("their/own-v0"), strict=True):
        assert np.array_equal(it.actions, data.actions)
        assert np.array_equal(it.rewards, data.rewards.astype(np.float32))
        assert (it.terminated, it.seed is not None) == (bool(data.terminations[-1]), True)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", ["Numbers", "Few", "Dict", "Tuple", "Nested", "Photo", "Matrix"])
def test_an_agent_learns_from_what_minari_wrote(
    name: str, data_format: str, tmp_path: Path
) -> None:
    """Without seeds, so that it learns from Minari's own observations."""
    env_id = zoo(name, data_format=data_format, seeded=False, steps=4)
    args = ("--from", "minari", "--env", env_id, "--out", "i")
    assert demos("import", "their/own-v0", *args) == 0 and demos("verify", "i") == 0
    kept = Dataset.open(Path("i")).episodes()
    assert [len(each) for each in kept] == [6, 6, 4]
    space, _ = envs.spaces_of(env_id)
    assert all(each.observations is not None for each in kept)
    assert kept[0].observations is not None and kept[0].observations.shape == (7, *space.shape)
    command = ["--env", env_id, "--demos", "i", *QUIET, "--total-steps", "16", "--batch-size", "8"]
    command += ["--eval-every-steps", "0", "--runs-dir", str(tmp_path / "runs")]
    assert train("bc", command) == 0


@pytest.mark.parametrize("action", ["Start", "Choices", "Force", "Force64"])
@pytest.mark.parametrize("data_format", FORMATS)
def test_actions_of_any_space_are_kept(action: str, data_format: str) -> None:
    env_id = zoo(f"Numbers{action}", data_format=data_format)
    args = ("--from", "minari", "--env", env_id, "--out", "i")
    assert demos("import", "their/own-v0", *args) == 0 and demos("verify", "i") == 0
    for it, data in zip(
        Dataset.open(Path("i")).episodes(), minari.load_dataset("their/own-v0"), strict=True
    ):
        assert np.array_equal(it.actions, data.actions)


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_what_minari_keeps_is_read_as_the_environment_reads_it(name: str) -> None:
    space = OBSERVATIONS[name]
    samples = [space.sample() for _ in range(3)]
    ours, _ = envs.spaces_of(f"minari_zoo:{name}-v0")
    rows = np.empty((3, *ours.shape), ours.dtype)
    for row, sample in zip(rows, samples, strict=True):
        reader(space).write(sample, row)
    read = plain(kept(space, samples), space, ours)
    assert read.dtype == ours.dtype and np.array_equal(read, rows)


def kept(space: spaces.Space, samples: list[Any]) -> Any:
    """Samples as Minari has them, an array for each part."""
    if isinstance(space, spaces.Dict):
        return {k: kept(part, [each[k] for each in samples]) for k, part in space.items()}
    if isinstance(space, spaces.Tuple):
        parts = enumerate(space.spaces)
        return tuple(kept(part, [each[i] for each in samples]) for i, part in parts)
    return np.stack(samples)


@pytest.mark.parametrize(
    ("space", "values", "env_id"),
    [
        (spaces.Box(0, 255, (40, 36, 3), np.float32), np.full((2, 40, 36, 3), 9.0), "Photo"),
        (spaces.Box(-2, 2, (4,), np.float32), np.zeros((2, 4)), "Numbers"),
        (spaces.Box(-2, 2, (3,), np.float32), np.zeros((2, 4)), "Numbers"),
        (spaces.Discrete(4, start=2), np.array([2, 6]), "Few"),
        (spaces.Discrete(4, start=2), np.array([2.5, 3]), "Few"),
        (spaces.Box(-2, 2, (3,), np.float32), np.array([["a", "b", "c"]]), "Numbers"),
    ],
)
def test_what_the_environment_does_not_emit_is_not_made_into_it(
    space: spaces.Space, values: np.ndarray, env_id: str
) -> None:
    ours, _ = envs.spaces_of(f"minari_zoo:{env_id}-v0")
    with pytest.raises(envs.UserError, match="observation"):
        plain(values, space, ours)


ARGUMENTS: list[tuple[str, dict[str, Any]]] = [
    ("FrozenLake-v1", {"map_name": "8x8", "is_slippery": False}),
    ("FrozenLake-v1", {"is_slippery": False}),
    ("CartPole-v1", {"sutton_barto_reward": True}),
    ("Pendulum-v1", {"g": 5.0}),
]


@pytest.mark.parametrize(("env_id", "arguments"), ARGUMENTS)
def test_the_arguments_of_an_environment_are_imported(
    env_id: str, arguments: dict[str, Any]
) -> None:
    collected(gymnasium.make(env_id, render_mode="rgb_array", **arguments))
    assert demos("import", "their/own-v0", "--from", "minari", "--out", "i") == 0
    assert demos("verify", "i") == 0
    there = Dataset.open(Path("i"))
    assert there.metadata.replayable
    assert there.metadata.spec.env_kwargs == arguments
    spaces_here = envs.spaces_of(there.metadata.spec)
    assert spaces_here == envs.spaces_of(envs.spec(env_id, env_kwargs=arguments))
    for it, data in zip(there.episodes(), minari.load_dataset("their/own-v0"), strict=True):
        assert np.array_equal(it.rewards, data.rewards.astype(np.float32))


@pytest.mark.parametrize(("env_id", "arguments"), ARGUMENTS)
def test_minari_builds_an_environment_again_with_its_arguments(
    env_id: str, arguments: dict[str, Any]
) -> None:
    (it,) = recorded(envs.spec(env_id, env_kwargs=arguments), 1).episodes()
    assert demos("export", "d", "--to", "minari", "--id", "it-v0") == 0
    theirs = minari.load_dataset("it-v0")
    env = theirs.recover_environment()
    assert arguments.items() <= env.spec.kwargs.items()
    env.reset(seed=it.seed)
    steps = [env.step(action) for action in theirs[0].actions]
    assert np.array_equal(np.array([each[1] for each in steps], np.float32), it.rewards)
    assert demos("import", "it-v0", "--from", "minari", "--out", "back") == 0
    assert Dataset.open(Path("back")).metadata.spec.env_kwargs == arguments


def test_the_arguments_of_an_atari_game_come_along_both_ways() -> None:
    pytest.importorskip("cv2")
    arguments = {"full_action_space": True, "mode": 8, "repeat_action_probability": 0.5}
    spec = envs.spec("Breakout", env_kwargs=arguments, max_episode_steps=5)
    recorded(spec, 1)
    assert demos("export", "d", "--to", "minari", "--id", "it-v0") == 0
    env = minari.load_dataset("it-v0").recover_environment()
    assert arguments.items() <= env.spec.kwargs.items()
    assert env.action_space == spaces.Discrete(18)
    env.reset(seed=1)
    env.close()
    kwargs = gymnasium.spec("ALE/Breakout-v5").kwargs | arguments
    raw = {"env_spec": json.dumps({"id": "ALE/Breakout-v5", "kwargs": kwargs})}
    there, variant = environment(raw, "their/own-v0", None)
    assert (there, variant) == (envs.spec("Breakout", env_kwargs=arguments), "")
    raw["env_spec"] = json.dumps({"id": "ALE/Breakout-v5", "kwargs": kwargs | {"frameskip": 7}})
    there, variant = environment(raw, "their/own-v0", None)
    assert there.mode == 8 and "'frameskip': 7" in variant


def test_arguments_are_of_the_environment_that_a_file_names() -> None:
    """Another one that a person names need not take them; nothing says that one was not given."""
    raw = {"env_spec": json.dumps({"id": "FrozenLake-v1", "kwargs": {}})}
    assert environment(raw, "their/own-v0", None) == (
        envs.spec("FrozenLake-v1"),
        "the arguments {}",
    )
    raw = {"env_spec": json.dumps({"id": "Pendulum-v1", "kwargs": {"g": 5.0}})}
    spec, variant = environment(raw, "their/own-v0", "CartPole-v1")
    assert spec.env_kwargs == {} and "'g': 5.0" in variant


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"map_name": "../a/map"}, "because a file says so: set JOYSTICK_KWARGS=map_name"),
        ({"mapname": 8}, "cannot be built here with mapname=8"),
        ({"max_episode_steps": 8}, "use --max-episode-steps"),
        ({"not a name": 8}, "which cannot name an argument"),
    ],
)
def test_arguments_that_a_file_may_not_pass_on_are_one_line(
    arguments: dict[str, Any],
    message: str,
    root: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made("FrozenLake-v1", BOX, ZEROS)

    def change(raw: dict[str, Any]) -> None:
        spec = json.loads(raw["env_spec"])
        raw["env_spec"] = json.dumps(spec | {"kwargs": spec["kwargs"] | arguments})

    changed_metadata(change, root)
    capsys.readouterr()
    assert demos("import", "their/own-v0", "--from", "minari", "--out", "i") == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not Path("i").exists()


@pytest.mark.parametrize("env_id", ["Pong", "PongNoFrameskip-v4"])
def test_minari_builds_an_atari_game_again_as_it_was_seen(env_id: str) -> None:
    pytest.importorskip("cv2")
    spec = envs.spec(env_id)
    recorded(spec, 1)
    assert demos("export", "d", "--to", "minari", "--id", "it-v0") == 0
    theirs = minari.load_dataset("it-v0")
    env = theirs.recover_environment()
    assert env.observation_space == theirs.observation_space
    assert env.action_space == theirs.action_space
    obs, _ = env.reset(seed=1)
    assert obs[-1].any() and not obs[0].any()
    env.step(theirs[0].actions[0])
    env.close()


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_minari_builds_any_environment_again(name: str) -> None:
    recorded(f"minari_zoo:{name}-v0", 1)
    assert demos("export", "d", "--to", "minari", "--id", "it-v0") == 0
    theirs = minari.load_dataset("it-v0")
    obs, _ = theirs.recover_environment().reset(seed=seeds_of(theirs)[0])
    expected = theirs[0].observations[0]
    if name == "Photo":
        expected = expected.transpose(1, 2, 0)
    assert np.array_equal(np.asarray(obs, np.float32), expected)


def exported() -> Path:
    """CartPole's own dataset as Minari's; the directory of its data."""
    recorded("CartPole-v1", 2)
    assert demos("export", "d", "--to", "minari", "--id", "their/own-v0") == 0
    return Path("minari/their/own-v0/data")


def test_every_array_and_seed_comes_back_from_there_and_from_here() -> None:
    """Twice around: the second dataset of Minari's is the first."""
    exported()
    args = ("--from", "minari", "--out", "back")
    assert demos("import", "their/own-v0", *args) == 0
    assert demos("export", "back", "--to", "minari", "--id", "their/own-v1") == 0
    first, second = (minari.load_dataset(f"their/own-v{i}") for i in range(2))
    assert first.env_spec == second.env_spec and first.env_spec is not None
    for a, b in zip(first, second, strict=True):
        for name in ("observations", "actions", "rewards", "terminations", "truncations"):
            left, right = getattr(a, name), getattr(b, name)
            assert left.dtype == right.dtype and np.array_equal(left, right)
    assert seeds_of(first) == seeds_of(second) and None not in seeds_of(first)


def seeds_of(theirs: Any) -> list[int | None]:
    about = theirs.storage.get_episode_metadata(theirs.episode_indices.tolist())
    return [each.get("seed") for each in about]


def elsewhere(data: Path, kind: Any, name: str = "rewards") -> None:
    """Put a link or another file's bytes in place of an array of the first episode."""
    with h5py.File(data / "main_data.hdf5", "a") as file:
        del file["episode_0"][name]
        if isinstance(kind, (h5py.ExternalLink, h5py.SoftLink)):
            file["episode_0"][name] = kind
        else:
            kind(file["episode_0"], name)


def raw_bytes(group: Any, name: str) -> None:
    group.create_dataset(name, (4,), "<f4", external=[("secret", 0, 16)])


def virtual(group: Any, name: str) -> None:
    layout = h5py.VirtualLayout((4,), "<f4")
    layout[:] = h5py.VirtualSource("secret.hdf5", "x", (4,))
    group.create_virtual_dataset(name, layout)


def enormous(group: Any, name: str) -> None:
    group.create_dataset(name, (1 << 20, 1 << 20), "<f4", chunks=(1024, 1024), compression="gzip")


def in_itself(group: Any, name: str) -> None:
    group[name] = group


def linked_file(data: Path) -> None:
    (data / "main_data.hdf5").rename("main_data.hdf5")
    (data / "main_data.hdf5").symlink_to(Path("main_data.hdf5").resolve())


def linked_metadata(data: Path) -> None:
    (data / "metadata.json").rename("metadata.json")
    (data / "metadata.json").symlink_to(Path("metadata.json").resolve())


def fifo(data: Path) -> None:
    os.mkfifo(data / "fifo")


def said(**values: Any) -> Callable[[Path], None]:
    def change(data: Path) -> None:
        raw = json.loads((data / "metadata.json").read_text())
        (data / "metadata.json").write_text(json.dumps({**raw, **values}))

    return change


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "external link": (lambda d: elsewhere(d, h5py.ExternalLink("x.hdf5", "/x")), "is a link in an"),
    "soft link": (lambda d: elsewhere(d, h5py.SoftLink("/episode_1/rewards")), "is a link in an"),
    "raw bytes": (lambda d: elsewhere(d, raw_bytes), "is an array in another file"),
    "virtual": (lambda d: elsewhere(d, virtual), "is an array in another file"),
    "enormous": (lambda d: elsewhere(d, enormous), "episode_0 has more than 2,147,483,648 bytes"),
    "in itself": (lambda d: elsewhere(d, in_itself), "cannot be read as a Minari dataset"),
    "linked file": (linked_file, "is a symbolic link, which is not followed"),
    "linked metadata": (linked_metadata, "is not a Minari dataset"),
    "fifo": (fifo, "fifo is not a regular file"),
    "more episodes": (said(total_episodes=10**12), "claims 1,000,000,000,000 episodes"),
    "fewer than none": (said(total_episodes=-1), "its metadata claims -1 episodes, but it has 2"),
    "episodes of text": (said(total_episodes="2"), "total_episodes: expected `int`, got `str`"),
    "a new Minari": (said(minari_version="99.0.0"), "does not support the dataset generated by"),
    "no format": (said(data_format="none"), "cannot be read as a Minari dataset"),
    "deep": (
        lambda d: (d / "metadata.json").write_text("[" * 100_000) and None,
        "nested too deeply",
    ),
    "a list": (lambda d: (d / "metadata.json").write_text("[]") and None, "got `array`"),
    "ours of text": (said(joystick="x"), "not a dataset of format"),
    "ours of another kind": (said(joystick={"joystick_demos": 2, "spec": 7}), "spec: expected"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("what", HOSTILE)
def test_what_leads_elsewhere_or_is_too_large_is_one_line(
    what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data, (change, message) = exported(), HOSTILE[what]
    Path("secret").write_bytes(b"secret of a person")
    change(data)
    capsys.readouterr()
    assert demos("import", "their/own-v0", "--from", "minari", "--out", "i") == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and len(error) < 600
    assert not Path("i").exists()


@pytest.mark.parametrize(
    ("note", "message"),
    [
        ("{", "joystick is damaged"),
        ("{}", "missing required field `policy`"),
        ('{"policy": "", "digests": [], "action_dtype": "S999999999"}', "actions are S999999999"),
        ('{"policy": "", "digests": ["zz"], "action_dtype": "|u1"}', "fromhex"),
        ('{"policy": "", "digests": [], "action_dtype": "|u1"}', "digests are"),
    ],
)
def test_what_an_episode_of_ours_says_there_is_checked(
    note: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(exported() / "main_data.hdf5", "a") as file:
        file["episode_0"].attrs["joystick"] = note
    capsys.readouterr()
    assert demos("import", "their/own-v0", "--from", "minari", "--out", "i") == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not Path("i").exists()


def test_steps_that_minari_did_not_count_are_refused(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made("CartPole-v1", BOX, ZEROS)
    with h5py.File(root / "their/own-v0/data/main_data.hdf5", "a") as file:
        file["episode_0"].attrs["total_steps"] = 7
    capsys.readouterr()
    assert demos("import", "their/own-v0", "--from", "minari", "--out", "i") == 2
    assert "it has 3 steps, but its metadata claims 7" in capsys.readouterr().err


@pytest.mark.parametrize("space", [spaces.Text(4), spaces.Sequence(spaces.Discrete(2))])
def test_spaces_without_an_array_are_refused_in_one_line(
    space: spaces.Space, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made("CartPole-v1", BOX, ZEROS)
    kind = {"type": type(space).__name__, "max_length": 4, "min_length": 1, "charset": "abcd"}
    changed_metadata(lambda raw: raw.update(observation_space=json.dumps(kind)), root)
    capsys.readouterr()
    assert demos("import", "their/own-v0", "--from", "minari", "--out", "i") == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "name", ["../x-v0", "a/../../x-v0", "/x-v0", "a//b-v0", "x\0-v0", "~/x-v0"]
)
def test_an_id_leads_nowhere_else(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    recorded("toy/Chain-v0", 1)
    before = sorted(Path().rglob("*"))
    capsys.readouterr()
    assert demos("export", "d", "--to", "minari", "--id", name, "--out", "minari") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path for path in sorted(Path().rglob("*")) if path not in before] == []
