"""Files of a stranger: whatever is in them is one line, and takes a bounded memory."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import random
import re
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import QUIET
from test_demos import CARTPOLE, dataset, episode, played, rewritten
from test_demos_cli import demos
from test_demos_stored import stored

import envs
from agents.core.training.launch import train
from demos import packing
from demos.dataset import Damage, Dataset, digest
from demos.frames import decode, keep, read_kept, remove_abandoned
from demos.packing import pack, unpack
from envs import UserError

STEPS = 5
ACTIONS, REWARDS = pa.array([0, 1, 0, 1, 0], pa.uint8()), pa.array([1.0] * STEPS, pa.float32())
ABOUT: dict[str, Any] = {
    "seed": 1,
    "terminated": True,
    "policy": "stranger",
    "digests": ["00" * 16],
    "action_shape": [],
}
NOT_SAID = object()


def file(columns: dict[str, Any] | None = None, about: object = None, **said: object) -> bytes:
    """A Parquet file with these columns that says this of its episode."""
    table = pa.table(columns or {"action": ACTIONS, "reward": REWARDS})
    values = {name: value for name, value in {**ABOUT, **said}.items() if value is not NOT_SAID}
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema, store_schema=False) as writer:
        writer.write_table(table)
        text = about if isinstance(about, str) else json.dumps(values)
        writer.add_key_value_metadata({"joystick": text})
    return sink.getvalue()


def action(values: list, kind: pa.DataType) -> dict[str, Any]:
    return {"action": pa.array(values, kind), "reward": REWARDS}


def seen(values: list, kind: pa.DataType) -> dict[str, Any]:
    nulls = [pa.array([*column.to_pylist(), None], column.type) for column in (ACTIONS, REWARDS)]
    return {"observation": pa.array(values, kind), "action": nulls[0], "reward": nulls[1]}


WIDE = {"observation_shape": [4], "observation_dtype": "<f4"}
LISTS = pa.list_(pa.uint8())
HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "no parquet": b"PAR1" + b"\0" * 100 + b"PAR1",
    "other columns": file({"a": ACTIONS}),
    "another column": file({"action": ACTIONS, "reward": REWARDS, "more": REWARDS}),
    "columns twice": file(about=json.dumps(ABOUT), columns={"reward": REWARDS, "action": ACTIONS}),
    "texts": file(action(["up"] * STEPS, pa.string())),
    "times": file(action([1] * STEPS, pa.timestamp("us"))),
    "decimals": file(action([1] * STEPS, pa.decimal128(9, 2))),
    "structs": file(action([{"a": 1}] * STEPS, pa.struct({"a": pa.int64()}))),
    "lists that are not said": file(action([[1]] * STEPS, LISTS)),
    "lists of lists": file(action([[[1]]] * STEPS, pa.list_(LISTS)), action_shape=[1]),
    "no lists": file(action_shape=[1]),
    "uneven lists": file(action([[1, 1], [1], [1], [1, 1], [1]], LISTS), action_shape=[1]),
    "shifted lists": file(
        action([[1], [1, 1, 1], [1, 1], [1, 1], [1, 1]], LISTS), action_shape=[2]
    ),
    "a missing list": file(action([[1], None, [1], [1], [1]], LISTS), action_shape=[1]),
    "a missing number": file(action([[1], [None], [1], [1], [1]], LISTS), action_shape=[1]),
    "a missing action": file(action([1, None, 1, 1, 1], pa.uint8())),
    "a missing reward": file({"action": ACTIONS, "reward": pa.array([None] * 5, pa.float32())}),
    "long rewards": file({"action": ACTIONS, "reward": pa.array([1.0] * 5, pa.float64())}),
    "endless rewards": file({"action": ACTIONS, "reward": pa.array([np.inf] * 5, pa.float32())}),
    "endless actions": file(action([np.inf] * STEPS, pa.float32())),
    "no steps": file({"action": ACTIONS[:0], "reward": REWARDS[:0]}),
    "negative shape": file(action([[1]] * STEPS, LISTS), action_shape=[-1, -1]),
    "empty shape": file(action([[]] * STEPS, LISTS), action_shape=[0]),
    "endless shape": file(action([[1]] * STEPS, LISTS), action_shape=[2**40] * 9),
    "too few digests": file(digests=[]),
    "too many digests": file(digests=["00" * 16] * 1000),
    "short digests": file(digests=["00"]),
    "uneven digests": file(digests=["00", "0000"]),
    "digests of other letters": file(digests=["zz" * 16]),
    "digests of other letters still": file(digests=["é" * 32]),
    "a seed of text": file(seed="1"),
    "a seed without an end": file(seed=10**400),
    "no seed": file(seed=None),
    "a large seed": file(seed=2**64),
    "a truth of 1": file(terminated=1),
    "nothing said": file(about="{}"),
    "a list said": file(about="[]"),
    "no json": file(about="{"),
    "deep json": file(about="[" * 100_000),
    "endless json": file(about=json.dumps(ABOUT).replace("1,", "1e999,")),
    "an observation said": file(**WIDE),
    "half an observation said": file(seen([b"0" * 16] * 6, pa.binary(16)), observation_shape=[4]),
    "other observations": file(seen([b"0" * 15] * 6, pa.binary(15)), **WIDE),
    "observations of any size": file(seen([b"0" * 16] * 6, pa.binary()), **WIDE),
    "observations of text": file(seen(["0" * 16] * 6, pa.string()), **WIDE),
    "a missing observation": file(seen([b"0" * 16] * 5 + [None], pa.binary(16)), **WIDE),
    "observations of objects": file(
        seen([b"0" * 32] * 6, pa.binary(32)), observation_shape=[4], observation_dtype="|O8"
    ),
    "observations of records": file(
        seen([b"0" * 32] * 6, pa.binary(32)), observation_shape=[1], observation_dtype="f4,(9)f4"
    ),
    "observations of no size": file(
        seen([b"0" * 32] * 6, pa.binary(32)), observation_shape=[1], observation_dtype="<f0"
    ),
}


def put(path: Path, data: bytes, **about: object) -> Path:
    """A dataset of one file, which its name and its list fit."""
    dataset(path)
    name = f"000000-{digest(data)}.parquet"
    (path / "episodes" / name).write_bytes(data)
    rewritten(path, lambda values: values.update(episodes=[name], **about))
    return path


@pytest.mark.parametrize("what", HOSTILE)
def test_a_file_that_is_no_episode_is_one_line(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replayable = not what.startswith(("an observation", "half", "other obs", "observations"))
    path = put(tmp_path / "d", HOSTILE[what], replayable=replayable and what != "no seed")
    assert demos("verify", path) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[0].startswith("episode 0: ") and len(lines[0]) < 400
    for command in (
        ("stats",),
        ("card",),
        ("replay", "--to", "film.gif"),
        ("filter", "--out", "x"),
    ):
        assert demos(command[0], path, *command[1:]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_the_files_of_these_tests_are_episodes_where_nothing_is_wrong() -> None:
    assert len(unpack(file(), CARTPOLE)) == STEPS
    whole = unpack(file(seen([b"0" * 16] * 6, pa.binary(16)), **WIDE), CARTPOLE)
    assert whole.observations is not None and whole.observations.shape == (6, 4)
    lists = file(action([[1]] * STEPS, LISTS), action_shape=[1])
    assert unpack(lists, CARTPOLE).actions.shape == (STEPS, 1)


def test_bytes_that_were_changed_anywhere_are_an_episode_or_one_line() -> None:
    rng, whole = random.Random(0), [pack(episode(600)), pack(stored(CARTPOLE, np.zeros((9, 4))))]
    refused = 0
    for number in range(600):
        data = bytearray(whole[number % 2])
        for _ in range(rng.randint(1, 6)):
            # Most of what a file claims is at its end.
            place = -rng.randint(5, 700) if rng.random() < 0.7 else rng.randrange(len(data))
            data[place] = rng.randrange(256)
        refused += is_refused(lambda data=bytes(data): unpack(data, CARTPOLE))
    assert refused > 100


def is_refused(act: Callable[[], object]) -> bool:
    """Whether a UserError of one line says why something cannot be done."""
    try:
        act()
    except UserError as error:
        return (str(error).count("\n") == 0 and len(str(error)) < 600) or pytest.fail(str(error))
    return False


def bomb(rows: int, num_bytes: int) -> bytes:
    """Observations that are all the same one, of which a file has a single copy."""
    column = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(rows, np.int32)), pa.array([b"\0" * num_bytes], pa.binary(num_bytes))
    )
    columns = {
        "observation": column.cast(pa.binary(num_bytes)),
        "action": pa.array([*[0] * (rows - 1), None], pa.uint8()),
        "reward": pa.array([*[0.0] * (rows - 1), None], pa.float32()),
    }
    shape = {"observation_shape": [num_bytes], "observation_dtype": "|u1"}
    return file(columns, digests=["00" * 16] * -(-(rows - 1) // 256), **shape)


def test_a_small_file_of_many_observations_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bomb(400, 1 << 20)
    assert len(data) < 1 << 20
    monkeypatch.setattr(packing, "MOST_BYTES", 100 << 20)
    before = peak_bytes()
    with pytest.raises(UserError, match=r"it would take 419,[0-9,]+ bytes, at most 104,857,600"):
        unpack(data, CARTPOLE)
    assert peak_bytes() - before < 50 << 20
    monkeypatch.setattr(packing, "MOST_STEPS", 100)
    with pytest.raises(UserError, match="it has 400 steps, at most 100 are allowed"):
        unpack(data, CARTPOLE)


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def test_no_episode_is_written_that_would_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = dataset(tmp_path / "d")
    monkeypatch.setattr(packing, "MOST_STEPS", 100)
    with pytest.raises(UserError, match="it has 300 steps, at most 100 are allowed"):
        kept.append(episode(300))
    assert not list((tmp_path / "d" / "episodes").iterdir())


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.mkdir()


def huge(path: Path) -> None:
    with open(path, "wb") as sparse:
        sparse.truncate(1 << 40)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", [fifo, device, folder, huge])
@pytest.mark.parametrize("name", ["dataset.json", "episode"])
def test_what_is_no_regular_file_is_one_line(
    kind: Callable[[Path], None], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = dataset(tmp_path / "d")
    path = kept.append(episode())
    if name == "dataset.json":
        path = tmp_path / "d" / name
    path.unlink()
    kind(path)
    assert demos("verify", tmp_path / "d") == 1
    assert len(capsys.readouterr().out.splitlines()) == (1 if name == "dataset.json" else 2)
    for command in (("stats",), ("card",), ("list",)):
        demos(*command, tmp_path / "d")
    assert demos("filter", tmp_path / "d", "--out", tmp_path / "x") == 2


TARGETS = ["dataset.json", "episodes", "episodes/.tmp-00000000-x"]


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_written_through_a_link(name: str, tmp_path: Path) -> None:
    """A stranger's dataset may be appended to, and must not reach a person's own files."""
    kept, mine = dataset(tmp_path / "d"), tmp_path / "mine"
    kept.append(episode(10))
    mine.mkdir()
    (mine / "letter").write_text("dear")
    target = tmp_path / "d" / name
    if target.exists():
        target.rename(tmp_path / "moved")
    target.symlink_to(mine if name == "episodes" else mine / "letter")
    for act in (
        lambda: kept.append(episode(20)),
        lambda: Dataset.open(tmp_path / "d").append(episode(20)),
        lambda: Dataset.open(tmp_path / "d").drop([0]),
        lambda: Dataset.as_it_is(tmp_path / "d").seal(),
    ):
        is_refused(act)
    assert [path.name for path in mine.iterdir()] == ["letter"]
    assert (mine / "letter").read_text() == "dear"


@pytest.mark.parametrize(
    "change",
    [
        {"spec": 3},
        {"spec": {}},
        {"policy": 3},
        {"replayable": "yes"},
        {"reference_scores": {"random": "1"}},
        {"reference_scores": []},
        {"sessions": [3]},
        {"sessions": [{"policy": "x"}]},
        {"episodes": "x"},
        {"episodes": [3]},
        {"digest": 3},
        {"more": 3},
        {"joystick_demos": "2"},
        {"joystick_demos": [2]},
    ],
    ids=str,
)
def test_a_dataset_that_says_something_else_is_one_line(
    change: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset(tmp_path / "d").append(episode())
    rewritten(tmp_path / "d", lambda values: values.update(change), sealed="digest" not in change)
    assert demos("verify", tmp_path / "d") == 1
    assert capsys.readouterr().out.count("\n") == 1
    for command in ("stats", "card", "replay", "export --to minari --id x-v0"):
        words = command.split()
        assert demos(words[0], tmp_path / "d", *words[1:]) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"actions": np.full(8, 7, np.uint8)}, "there is no action 7, allowed are 0 to 1"),
        ({"actions": np.ones((8, 2), np.uint8)}, "each action has shape (2,), but must have ()"),
        ({"actions": np.ones(8, np.float32)}, "actions are float32, but must be integers"),
    ],
)
def test_nothing_learns_from_actions_that_an_environment_has_not(
    parts: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """An episode with stored observations is never replayed, so nothing else would notice."""
    it = dataclasses.replace(stored(CARTPOLE, np.zeros((9, 4), np.float32)), **parts)
    path = put(tmp_path / "d", pack(it), replayable=False)
    command = ["--env", "CartPole-v1", "--demos", str(path), *QUIET, "--total-steps", "8"]
    with pytest.raises(UserError, match=re.escape(message)):
        train("bc", [*command, "--runs-dir", str(tmp_path / "runs")])


@pytest.mark.parametrize("seen_", [np.zeros((9, 5), np.float32), np.zeros((9, 4), np.int64)])
def test_nothing_learns_from_observations_that_an_environment_has_not(
    seen_: np.ndarray, tmp_path: Path
) -> None:
    path = put(tmp_path / "d", pack(stored(CARTPOLE, seen_)), replayable=False)
    command = ["--env", "CartPole-v1", "--demos", str(path), *QUIET, "--total-steps", "8"]
    with pytest.raises(UserError, match=r"but must be float32 \(4,\)"):
        train("bc", [*command, "--runs-dir", str(tmp_path / "runs")])


@pytest.mark.parametrize("env_id", ["toy/Pair-v0", "CartPole-v1"])
def test_an_action_out_of_range_is_named(env_id: str) -> None:
    space = envs.spaces_of(env_id)[1]
    actions = np.full((3, *space.shape), 200, np.uint8)
    with pytest.raises(UserError, match="there is no action .*200"):
        envs.tapes.playable_actions(space, actions)


def test_kept_frames_are_not_another_files_nor_what_a_link_leads_to(tmp_path: Path) -> None:
    rows, empty = np.arange(60, dtype=np.float32).reshape(10, 6), np.zeros((10, 6), np.float32)
    keep(tmp_path / "kept", rows)
    (tmp_path / "other").write_bytes((tmp_path / "kept").read_bytes())
    (tmp_path / "link").symlink_to("kept")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for name in ("other", "link", "fifo", "folder", "absent"):
        assert not read_kept(tmp_path / name, empty)
    keep(tmp_path / "link", rows)
    assert not (tmp_path / "link").is_symlink() and read_kept(tmp_path / "link", empty)
    for name in ("folder", "nowhere/kept"):
        keep(tmp_path / name, rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "fifo", "folder", "kept", "link", "other",
    ]  # fmt: skip


def test_a_full_disk_or_an_exchanged_cache_gives_the_same_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    episodes = played("CartPole-v1")
    first = decode(episodes, CARTPOLE, tmp_path).data.copy()
    one, other = sorted(tmp_path.glob("*.zst"))
    kept = one.read_bytes(), other.read_bytes()
    one.write_bytes(kept[1])
    other.write_bytes(kept[0])
    assert np.array_equal(decode(episodes, CARTPOLE, tmp_path).data, first)
    assert (one.read_bytes(), other.read_bytes()) == kept
    for path in (one, other):
        path.unlink()
    monkeypatch.setattr("demos.frames.write_atomically", lambda *args: os.open("/dev/full/x", 0))
    assert np.array_equal(decode(episodes, CARTPOLE, tmp_path).data, first)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_in_the_cache_goes_after_a_day(tmp_path: Path) -> None:
    for name, age_s in ((".tmp-old", 90_000), (".tmp-new", 0), ("kept", 90_000)):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (0, (tmp_path / name).stat().st_mtime - age_s))
    remove_abandoned(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tmp-new", "kept"]


def test_damage_has_the_number_that_other_commands_take(tmp_path: Path) -> None:
    kept = dataset(tmp_path / "d")
    for steps in (10, 20, 30):
        kept.append(episode(steps))
    kept.drop([0])
    kept.files()[1].write_bytes(b"")
    (found,) = (each for each in kept.scan() if isinstance(each, Damage))
    assert found.index == 1
