"""The run directory: what is saved comes back; a crash, damage or a full disk costs one save."""

from __future__ import annotations

import ast
import errno
import json
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.core.runs import snapshots
from agents.core.runs.run import FORMAT, DamagedCheckpoint, Run
from agents.core.system.codec import join, split
from envs import program
from envs.errors import UserError

SPEC = {"env_id": "ALE/Pong-v5"}


class Crash(BaseException):
    """The process died here: nothing catches it, so nothing is cleaned up."""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run.create(tmp_path / "runs", "ALE/Pong-v5", "dqn", seed=1)
    run.save_config({"seed": 1}, SPEC)
    return run


def weights_of(step: int) -> dict[str, Tensor]:
    return {"torso.weight": torch.full((3, 2), float(step)), "torso.bias": torch.arange(3.0)}


def save(run: Run, step: int) -> bool:
    """A checkpoint that holds its step everywhere: plain, tensor, array, weights and a chunk."""

    def state() -> dict:
        reference = run.append_chunk(f"{step:012d}", {"frames": torch.full((4, 4), step % 256)})
        return {
            "step": step,
            "tensor": torch.tensor([step]),
            "array": np.array([step]),
            "agent": {"replay": {"chunks": [{"chunk": reference, "first": 0}]}},
        }

    return run.checkpoint(step, state, weights_of(step))


def assert_restores(run: Run, step: int) -> None:
    restored, state, weights = run.restore()
    assert restored == state["step"] == state["tensor"].item() == state["array"].item() == step
    assert_same(weights, weights_of(step))
    (chunk,) = state["agent"]["replay"]["chunks"]
    assert (run.read_chunk(chunk["chunk"])["frames"] == step % 256).all()


def assert_same(actual: object, expected: object) -> None:
    assert type(actual) is type(expected)
    if isinstance(expected, Tensor):
        assert isinstance(actual, Tensor)
        assert actual.dtype == expected.dtype
        assert torch.equal(actual, expected)
    elif isinstance(expected, np.ndarray):
        assert isinstance(actual, np.ndarray)
        assert actual.dtype == expected.dtype
        np.testing.assert_array_equal(actual, expected)
    elif isinstance(expected, dict):
        assert isinstance(actual, dict)
        assert actual.keys() == expected.keys()
        for key, value in expected.items():
            assert_same(actual[key], value)
    elif isinstance(expected, list | tuple):
        assert isinstance(actual, list | tuple)
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_same(one, other)
    else:
        assert actual == expected or (actual != actual and expected != expected)


def every_kind_of_leaf() -> dict:
    dtypes = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8, torch.int8]
    dtypes += [torch.int16, torch.int32, torch.int64, torch.bool]
    linear = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(linear.parameters())
    linear(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    generator = np.random.default_rng(3)
    return {
        "tensors": {str(dtype): torch.tensor([[0, 1], [1, 0]]).to(dtype) for dtype in dtypes},
        "scalar tensor": torch.tensor(1.5),
        "empty tensor": torch.zeros(0, 4),
        "channels last": torch.rand(1, 3, 2, 2).to(memory_format=torch.channels_last),
        "not contiguous": torch.arange(6).reshape(2, 3).T,
        "tied": [linear.weight.detach(), linear.weight.detach()],
        "torch rng": torch.Generator().manual_seed(5).get_state(),
        "numpy rng": generator.bit_generator.state,
        "optimizer": optimizer.state_dict(),
        "arrays": [
            np.arange(5).astype(kind)[::2]
            for kind in ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "?")
        ],
        "scalar array": np.array(7, np.int32),
        "empty array": np.zeros((0, 2), np.uint8),
        "numpy scalars": [np.float32(0.1), np.int64(-3), np.bool_(True), np.float64(0.1)],
        "big": [2**127 + 1, -(2**63) - 1],
        "floats": [0.1, -0.0, 1e-310, float("inf"), float("-inf"), float("nan")],
        "plain": [None, True, False, 0, "", "π \U0001f600", [], {}, [[], {"a": [None]}]],
        "tuples": ((1, (2.5, None)), ()),
        "$tensor": {"$array": "looks like a code"},
        "numbered": {0: torch.ones(1), 1: {2: "x"}},
        "same/path": torch.tensor([1]),
        "same": {"path": torch.tensor([2])},
    }


def test_state_comes_back_equal_in_value_type_and_dtype(run: Run) -> None:
    state = every_kind_of_leaf()
    assert max(value for value in state["numpy rng"]["state"].values()) > 2**64
    assert run.checkpoint(10, state, weights_of(10)) is True
    step, restored, weights = run.restore()
    assert step == 10
    assert_same(restored, state)
    assert_same(weights, weights_of(10))


def test_restored_generators_continue_where_the_saved_ones_were(run: Run) -> None:
    torch_rng, numpy_rng = torch.Generator().manual_seed(5), np.random.default_rng(5)
    torch.rand(3, generator=torch_rng)
    numpy_rng.random(3)
    state = {"torch": torch_rng.get_state(), "numpy": numpy_rng.bit_generator.state}
    run.checkpoint(1, state, {})
    _, restored, _ = run.restore()
    other_torch, other_numpy = torch.Generator(), np.random.default_rng()
    other_torch.set_state(restored["torch"])
    other_numpy.bit_generator.state = restored["numpy"]
    assert torch.equal(torch.rand(4, generator=torch_rng), torch.rand(4, generator=other_torch))
    np.testing.assert_array_equal(numpy_rng.random(4), other_numpy.random(4))


def test_restored_tensors_can_be_written_to(run: Run) -> None:
    run.checkpoint(1, {"tensor": torch.zeros(2), "array": np.zeros(2)}, {"w": torch.zeros(2)})
    _, state, weights = run.restore()
    state["tensor"] += 1
    state["array"] += 1
    weights["w"] += 1
    assert state["tensor"].sum() == state["array"].sum() == weights["w"].sum() == 2


@pytest.mark.parametrize(
    ("leaf", "named"),
    [(object(), "state/agent/0: .* object"), (np.array(["a"]), "state/agent/0: .* numpy <U1")],
)
def test_a_leaf_that_cannot_be_held_is_named_by_its_path(leaf: object, named: str) -> None:
    with pytest.raises(TypeError, match=named):
        split({"agent": [leaf]})


def test_the_plain_part_of_a_state_is_json() -> None:
    state = every_kind_of_leaf()
    plain, tensors = split(state)
    assert_same(join(json.loads(json.dumps(plain)), tensors), state)


OPERATIONS = [(os, "fsync"), (os, "replace"), (os, "open"), (os, "mkdir"), (shutil, "rmtree")]


def fail_at(monkeypatch: pytest.MonkeyPatch, nth: int, error: BaseException) -> list[str]:
    """Let the n-th file operation from here on raise; returns the operations counted so far."""
    counted: list[str] = []

    def guard(name: str, operation):
        def wrapped(*args, **kwargs):
            counted.append(name)
            if len(counted) == nth:
                raise error
            return operation(*args, **kwargs)

        return wrapped

    for module, name in OPERATIONS:
        monkeypatch.setattr(module, name, guard(name, getattr(module, name)))
    return counted


def operations_of_a_save(path: Path) -> int:
    run = Run.create(path, "Pong", "dqn", seed=1)
    run.save_config({}, SPEC)
    for step in (100, 200):
        save(run, step)
    with pytest.MonkeyPatch.context() as monkeypatch:
        counted = fail_at(monkeypatch, 0, Crash())
        save(run, 300)
    assert {"fsync", "replace", "open", "mkdir", "rmtree"} <= set(counted)
    return len(counted)


@pytest.mark.parametrize("step", [200, 300], ids=["replacing", "adding"])
def test_a_crash_at_any_file_operation_leaves_a_run_that_restores(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = operations_of_a_save(tmp_path / "count") + 4
    outcomes = set()
    for nth in range(1, count + 1):
        run = Run.create(tmp_path, "Pong", "dqn", seed=nth)
        run.save_config({}, SPEC)
        for earlier in (100, 200):
            save(run, earlier)
        with monkeypatch.context() as patch:
            fail_at(patch, nth, Crash())
            try:
                save(run, step)
            except Crash:
                outcome = "crashed"
            else:
                outcome = "survived"
        restored = run.restore()[0]
        assert restored in (200, step), f"crash at operation {nth} restored {restored}"
        assert_restores(run, restored)
        outcomes.add((outcome, restored))
        assert save(run, 400)
        assert_restores(run, 400)
        assert not list(run.path.rglob(".tmp-*"))
        assert not list(run.path.rglob("*~"))
        assert len(list((run.path / "checkpoints").iterdir())) == 2
        assert len(list((run.path / "replay").iterdir())) == 2
    assert ("crashed", 200) in outcomes
    assert ("survived", step) in outcomes


def test_a_crash_in_the_first_save_leaves_no_checkpoint_and_a_run_that_can_go_on(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail_at(patch, 4, Crash())
        with pytest.raises(Crash):
            save(run, 100)
    with pytest.raises(UserError, match="no intact checkpoint in"):
        run.restore()
    assert save(run, 100)
    assert_restores(run, 100)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3] ^= 4
    path.write_bytes(data)


FILES = [
    "checkpoints/000000000200/weights.safetensors",
    "checkpoints/000000000200/state.safetensors",
    "checkpoints/000000000200/state.json",
    "replay/000000000200.zst",
]


@pytest.mark.parametrize("damage", [truncate, empty, flip_a_bit, Path.unlink])
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_named_and_the_checkpoint_before_is_used(
    run: Run, file: str, damage, capsys: pytest.CaptureFixture[str]
) -> None:
    save(run, 100)
    save(run, 200)
    damage(run.path / file)
    assert_restores(run, 100)
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 1
    assert str(run.path / file) in warnings[0]
    if file.endswith("weights.safetensors"):
        weights, step = run.weights("last")
        assert step == 100
        assert_same(weights, weights_of(100))


def test_no_single_bit_of_a_manifest_can_change_what_it_says(run: Run) -> None:
    run.checkpoint(1, {"x": 3}, {})
    path = run.path / "checkpoints" / f"{1:012d}" / "state.json"
    whole, manifest = path.read_bytes(), snapshots.read_manifest(path.parent)
    for bit in range(0, len(whole) * 8, 3):  # Every byte, and in the end every place in a byte.
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        with suppress(DamagedCheckpoint):
            assert snapshots.read_manifest(path.parent) == manifest


def test_when_every_checkpoint_is_damaged_the_error_is_one_line(run: Run) -> None:
    save(run, 100)
    flip_a_bit(run.path / "checkpoints/000000000100/state.json")
    with pytest.raises(UserError, match="no intact checkpoint in") as error:
        run.restore()
    assert "\n" not in str(error.value)


def test_training_on_after_a_fallback_replaces_the_damaged_future(run: Run) -> None:
    for step in (100, 200):
        save(run, step)
    flip_a_bit(run.path / FILES[0])
    assert_restores(run, 100)
    save(run, 150)
    assert_restores(run, 150)
    assert [path.name for path in snapshots.newest_first(run.path / "checkpoints")] == [
        "000000000150",
        "000000000100",
    ]


def test_a_damaged_chunk_raises_when_it_is_read(run: Run) -> None:
    reference = run.append_chunk("000000000001", {"frames": torch.ones(9)})
    flip_a_bit(run.path / reference["file"])
    with pytest.raises(DamagedCheckpoint, match=r"000000000001\.zst"):
        run.read_chunk(reference)


def test_a_full_disk_at_any_operation_keeps_the_old_checkpoint_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for nth in range(1, operations_of_a_save(tmp_path / "count") + 1):
        run = Run.create(tmp_path, "Pong", "dqn", seed=nth)
        run.save_config({}, SPEC)
        save(run, 100)
        save(run, 200)
        capsys.readouterr()
        with monkeypatch.context() as patch:
            fail_at(patch, nth, OSError(errno.ENOSPC, "No space left on device"))
            saved = save(run, 300)
        warnings = capsys.readouterr().err.splitlines()
        assert len(warnings) == (0 if saved else 1)
        if not saved:
            assert "disk full: checkpoint of step 300 not saved" in warnings[0]
            assert not list(run.path.rglob(".tmp-*"))
        assert_restores(run, run.restore()[0])
        assert run.restore()[0] in (200, 300)
        assert save(run, 400)
        assert_restores(run, 400)


def test_a_disk_full_for_real_keeps_the_old_checkpoint(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    if os.system(f"mount -t tmpfs -o size=256k tmpfs {mount} 2>/dev/null"):
        pytest.skip("mounting a small file system needs root")
    try:
        run = Run.create(mount, "Pong", "dqn", seed=1)
        run.save_config({}, SPEC)
        assert save(run, 100)
        assert not run.checkpoint(200, {"big": torch.rand(100_000)}, {})
        assert_restores(run, 100)
        assert not list(run.path.rglob(".tmp-*"))
        assert save(run, 300)
        assert_restores(run, 300)
    finally:
        os.system(f"umount {mount}")


@pytest.mark.parametrize("code", [errno.EIO, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_whatever_a_disk_says_is_one_line_and_training_goes_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int
) -> None:
    with monkeypatch.context() as patch:
        fail_at(patch, 1, OSError(code, os.strerror(code)))
        assert not save(run, 100)
    (warning,) = capsys.readouterr().err.splitlines()
    assert "checkpoint of step 100 not saved" in warning
    assert save(run, 200)


def test_a_run_directory_that_is_gone_is_one_line_and_is_not_made_again(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(run.path)
    assert not save(run, 100)
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not run.path.exists()


def test_the_newest_two_checkpoints_are_kept(run: Run) -> None:
    for step in (100, 200, 300):
        save(run, step)
    assert sorted(path.name for path in (run.path / "checkpoints").iterdir()) == [
        "000000000200",
        "000000000300",
    ]


def test_a_chunk_is_deleted_only_when_no_kept_checkpoint_refers_to_it(run: Run) -> None:
    names = {letter: f"{number:012d}" for number, letter in enumerate("abcd")}

    def appended(letter: str) -> dict:
        return {"chunk": run.append_chunk(names[letter], {"x": torch.ones(2)})}

    def files() -> str:
        there = {path.stem for path in (run.path / "replay").iterdir()}
        return "".join(letter for letter, name in names.items() if name in there)

    chunks = {letter: appended(letter) for letter in "abcd"}

    assert files() == "abcd"
    run.checkpoint(1, {"chunks": [chunks["a"], chunks["b"]]}, {})
    assert files() == "ab"
    chunks["c"] = appended("c")
    run.checkpoint(2, {"deep": {"er": ({"in": chunks["c"]},)}, "chunks": [chunks["b"]]}, {})
    assert files() == "abc"
    run.checkpoint(3, {"chunks": [chunks["c"]]}, {})
    assert files() == "bc"
    run.checkpoint(4, {}, {})
    assert files() == "c"
    run.checkpoint(5, {}, {})
    assert files() == ""


def test_a_chunk_comes_back_as_it_was(run: Run) -> None:
    ring = torch.randint(0, 256, (100, 84, 84), dtype=torch.uint8)
    tensors = {"frames": ring[10:20], "again": ring[10:20], "step": torch.arange(10)}
    reference = run.append_chunk("000000000010", tensors)
    assert json.loads(json.dumps(reference)) == reference
    assert reference["file"] == "replay/000000000010.zst"
    assert reference["bytes"] == (run.path / reference["file"]).stat().st_size
    assert_same(run.read_chunk(reference), tensors)


def test_best_weights_replace_the_former_best(run: Run) -> None:
    with pytest.raises(UserError, match=r"no intact checkpoint in .*best"):
        run.weights("best")
    run.best(100, 3.5, weights_of(100), {"episodes": 10})
    assert run.best(200, 4.5, weights_of(200), {"episodes": 10})
    weights, step = run.weights()
    assert step == 200
    assert_same(weights, weights_of(200))
    (snapshot,) = (run.path / "best").iterdir()
    manifest = snapshots.read_manifest(snapshot)
    assert manifest["score"] == 4.5
    assert manifest["plain"] == {"episodes": 10}


def test_a_run_that_was_not_evaluated_has_the_weights_of_its_last_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = Run.create(tmp_path, "CartPole-v1", "dqn", 1)
    with pytest.raises(UserError, match="no intact checkpoint"):
        one.weights("best")
    one.checkpoint(100, {}, {"w": torch.tensor([1.0])})
    weights, step = one.weights("best")
    assert (weights["w"].tolist(), step) == ([1.0], 100)
    assert "has not been evaluated yet" in capsys.readouterr().err
    one.best(50, 1.0, {"w": torch.tensor([2.0])}, {})
    assert one.weights("best")[0]["w"].tolist() == [2.0]
    assert capsys.readouterr().err == ""


def test_the_score_is_json_a_person_can_read(run: Run) -> None:
    run.save_score({"return_mean": 20.5})
    run.save_score({"return_mean": 21.5})
    assert json.loads((run.path / "eval.json").read_text()) == {"return_mean": 21.5}


def test_last_weights_are_those_of_the_newest_checkpoint(run: Run) -> None:
    save(run, 100)
    save(run, 200)
    assert run.weights("last")[1] == 200
    with pytest.raises(UserError, match="'best' or 'last', not 'first'"):
        run.weights("first")


def test_runs_made_in_the_same_second_have_directories_of_their_own(tmp_path: Path) -> None:
    runs = [Run.create(tmp_path, "ALE/Pong-v5", "dqn", seed=1) for _ in range(3)]
    assert len({run.path for run in runs}) == 3
    assert all(
        re.fullmatch(r"ALE-Pong-v5__dqn__1__\d{8}-\d{6}(-\d)?", run.path.name) for run in runs
    )


def test_a_runs_directory_that_cannot_be_made_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot make a run directory"):
        Run.create(tmp_path / "file", "Pong", "dqn", seed=1)


def test_an_opened_run_has_its_config_and_algorithm(run: Run) -> None:
    opened = Run.open(str(run.path))
    assert opened == run
    assert opened.algo == "dqn"
    assert opened.config() == {
        "joystick": FORMAT,
        "version": program.version(),
        "algo": "dqn",
        "config": {"seed": 1},
        "env_spec": SPEC,
    }


def make_missing(run: Run) -> Path:
    return run.path.with_name(run.path.name.replace("Pong", "Pnog"))


def make_empty(run: Run) -> Path:
    path = run.path.with_name(run.path.name + "x")
    path.mkdir()
    return path


def make_foreign(run: Run) -> Path:
    path = make_empty(run)
    (path / "config.json").write_text('{"model": "of something else"}')
    return path


def make_broken(run: Run) -> Path:
    path = make_empty(run)
    (path / "config.json").write_text('{"joystick": 1, "al')
    return path


def make_file(run: Run) -> Path:
    path = run.path.with_name(run.path.name + "x")
    path.write_text("")
    return path


@pytest.mark.parametrize("make", [make_missing, make_empty, make_foreign, make_broken, make_file])
def test_what_is_not_a_run_directory_is_one_line_with_the_nearest_match(run: Run, make) -> None:
    path = make(run)
    with pytest.raises(UserError) as error:
        Run.open(path)
    message = str(error.value)
    assert message.startswith(f"no run directory at {path}")
    assert "\n" not in message
    assert message.endswith(f"; did you mean {run.path}?")


def test_the_directory_of_runs_is_not_a_run_but_names_one(run: Run) -> None:
    named = run.path.parent.rename(run.path.parent.with_name("Pong__dqn"))
    with pytest.raises(UserError, match=f"did you mean {named / run.path.name}"):
        Run.open(named)


def test_a_run_of_a_later_format_is_refused(run: Run) -> None:
    (run.path / "config.json").write_text(json.dumps(run.config() | {"joystick": FORMAT + 1}))
    with pytest.raises(UserError, match=f"format {FORMAT + 1}, this Joystick reads {FORMAT}"):
        Run.open(run.path)


def test_truncation_drops_later_and_half_written_lines_and_returns_the_time(run: Run) -> None:
    lines = [json.dumps({"step": 10 * i, "time": 1.5 * i, "loss": 0.1}) for i in range(1, 5)]
    run.metrics_path.write_text("\n".join(lines) + '\n{"step": 20, "ti')
    assert run.truncate_metrics(30) == 4.5
    assert run.metrics_path.read_text() == "\n".join(lines[:3]) + "\n"


@pytest.mark.parametrize("text", ["", "\n", '{"st', "12\n", "\0\0\0"])
def test_truncation_tolerates_metrics_that_say_nothing(run: Run, text: str) -> None:
    run.metrics_path.write_text(text)
    assert run.truncate_metrics(30) == 0.0
    assert run.metrics_path.read_text() == ""


def test_truncation_without_metrics_makes_no_file(run: Run) -> None:
    assert run.truncate_metrics(30) == 0.0
    assert not run.metrics_path.exists()


def test_a_crash_in_truncation_keeps_the_metrics(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    before = '{"step": 1, "time": 1.0}\n{"step": 2, "time": 2.0}\n'
    run.metrics_path.write_text(before)
    fail_at(monkeypatch, 2, Crash())
    with pytest.raises(Crash):
        run.truncate_metrics(1)
    assert run.metrics_path.read_text() == before


def unsafe_names(code: str) -> list[str]:
    """What Python code imports or asks for that could unpickle or write a pickle."""
    found = []
    tree = ast.parse(code)
    # torch.load with weights_only reads tensors alone.
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    safe = [call.func for call in calls if "weights_only=True" in map(ast.unparse, call.keywords)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{name.name}" for name in node.names]
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            found.append("allow_pickle")
        elif isinstance(node, ast.Attribute) and node not in safe:
            found.append(ast.unparse(node))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "__import__",
            "eval",
            "exec",
        ):
            found.append(ast.unparse(node.func))
    roots = "c?pickle|_pickle|cloudpickle|dill|joblib|shelve|marshal|jsonpickle"
    forbidden = re.compile(
        rf"({roots})(\..*)?|torch\.(load|save)|allow_pickle|__import__|eval|exec"
    )
    return [name for name in found if forbidden.fullmatch(name)]


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "import pickle as p",
        "from pickle import loads",
        "import joblib",
        "from cloudpickle import load",
        "import dill",
        "import marshal",
        "np.load(f, allow_pickle=True)",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "torch.load(f, weights_only=True); torch.load(f)",
        "torch.save(x, f)",
        "from torch import load",
        "eval(text)",
    ],
)
def test_code_that_could_unpickle_is_found(code: str) -> None:
    assert unsafe_names(code)


@pytest.mark.parametrize(
    "code",
    [
        "import pickletools",
        "from safetensors.torch import load",
        "safetensors.torch.load(data)",
        "torch.load(io.BytesIO(data), map_location='cpu', weights_only=True)",
        "# pickle\nx = 'a pickle'",
    ],
)
def test_code_that_reads_tensors_or_looks_at_bytes_is_not(code: str) -> None:
    assert not unsafe_names(code)


def test_no_load_path_can_unpickle() -> None:
    rooms = Path(__file__).parents[1]
    sources = [
        path for room in ("agents", "demos", "envs") for path in (rooms / room).rglob("*.py")
    ]
    assert any(path.name == "run.py" for path in sources)
    for path in sources:
        assert not unsafe_names(path.read_text()), path
