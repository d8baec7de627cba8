"""One process at a time writes into a run, a dataset or a sweep; the next may, however it ended."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import QUIET, module_of, run_tiny, tiny
from support import refusals
from test_demos_cli import demos

from agents.core.runs import artifacts
from agents.core.runs.run import Run
from agents.core.training.launch import main, train
from demos import Dataset
from demos import dataset as dataset_module
from envs import UserError, locks
from envs.locks import NAME, alone

HOLD = """
import sys
from pathlib import Path
from envs.locks import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process holds the directory's lock."""
    pipe = subprocess.PIPE
    argv = [sys.executable, "-c", HOLD, str(directory)]
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def refusal(directory: Path) -> str:
    return refusals.refusal(alone(directory).__enter__)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    every = ("--checkpoint-every-steps", "200", "--total-steps", "400")
    return run_tiny(tmp_path_factory.mktemp("runs"), "dqn", "--env", "CartPole-v1", *every)


def test_a_second_process_is_refused_in_a_line_that_names_the_first(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted((run.path / "checkpoints").iterdir())
    with held_elsewhere(run.path) as process, pytest.raises(SystemExit) as raised:
        main("dqn", ["--resume", str(run.path), "--total-steps", "800"])
    assert raised.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"error: process {process.pid} is at work in {run.path}; wait until it ends"
    assert sorted((run.path / "checkpoints").iterdir()) == before


def test_what_only_reads_needs_no_lock(run: Run) -> None:
    with held_elsewhere(run.path):
        assert Run.open(run.path).restore()[0] == 400
        assert Run.open(run.path).weights("last")[1] == 400


@pytest.mark.parametrize("algo", ["dqn", "ppo"])
def test_a_run_is_locked_from_its_first_checkpoint_to_its_death(tmp_path: Path, algo: str) -> None:
    """The lock of a process that SIGKILL ended holds nobody up."""
    argv = [sys.executable, "-m", f"agents.{module_of(algo)}", "--runs-dir", str(tmp_path)]
    argv += [*tiny(algo, "CartPole-v1"), *QUIET, "--eval-every-steps", "0"]
    argv += ["--checkpoint-every-steps", "200", "--total-steps", "10000000"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as process:
        try:
            while not list(tmp_path.glob("*/checkpoints/0*/state.json")):
                assert process.poll() is None
                time.sleep(0.02)
            (path,) = tmp_path.iterdir()
            with pytest.raises(UserError, match=f"process {process.pid} is at work in"):
                train(module_of(algo), ["--resume", str(path)])
        finally:
            process.send_signal(signal.SIGKILL)
    step = Run.open(path).restore()[0]
    assert train(module_of(algo), ["--resume", str(path), "--total-steps", str(step + 200)]) == 0


def test_a_holder_on_another_machine_is_named_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held_elsewhere(tmp_path) as process:
        here = socket.gethostname()
        monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
        assert refusal(tmp_path).startswith(f"process {process.pid} on {here} is at work in")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', '{"pid": 1}', "x" * 10_000])
def test_whatever_the_lock_file_says_the_refusal_is_a_line(tmp_path: Path, text: str) -> None:
    with held_elsewhere(tmp_path):
        (tmp_path / NAME).write_text(text)
        assert refusal(tmp_path).startswith("another process is at work in")


def test_nothing_in_the_lock_file_acts_on_a_terminal(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path):
        (tmp_path / NAME).write_text(json.dumps({"pid": 1, "host": "\x1b[2J\nerror: all is lost"}))
        assert "\x1b" not in refusal(tmp_path)


def test_a_lock_that_was_left_is_taken_and_signed_anew(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(json.dumps({"pid": 1, "host": "a machine that is gone"}))
    with alone(tmp_path):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()
    with alone(tmp_path):
        pass


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    for where in (precious, tmp_path / "absent"):
        (tmp_path / NAME).symlink_to(where)
        assert "is a link" in refusal(tmp_path)
        (tmp_path / NAME).unlink()
    assert precious.read_text() == "kept"
    assert not (tmp_path / "absent").exists()


def test_another_name_of_a_file_is_not_written_over(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    os.link(precious, tmp_path / NAME)
    assert "is a link" in refusal(tmp_path)
    assert precious.read_text() == "kept"


def test_a_child_that_outlives_its_parent_holds_no_lock(tmp_path: Path) -> None:
    # The child speaks once it has let go of the lock, which the fork gave it.
    fork = "import os, time; os.fork() or (print('child', flush=True), time.sleep(60))"
    argv = [sys.executable, "-c", HOLD.replace("    sys.stdin", f"    {fork}\n    sys.stdin")]
    pipe = subprocess.PIPE
    children: list[psutil.Process] = []
    with subprocess.Popen([*argv, str(tmp_path)], stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            assert process.stdout.readline() == "child\n"
            children = psutil.Process(process.pid).children()
            assert children
            process.kill()
            process.wait()
            with alone(tmp_path):
                pass
        finally:
            process.kill()
            for child in children:
                child.kill()


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFDIR])
def test_what_is_no_file_is_named(tmp_path: Path, kind: int) -> None:
    if kind == stat.S_IFIFO:
        os.mkfifo(tmp_path / NAME)
    else:
        (tmp_path / NAME).mkdir()
    assert "not a regular file" in refusal(tmp_path)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.ESTALE])
def test_a_place_that_cannot_be_locked_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(self: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks.FileLock, "acquire", refuse)
    assert refusal(tmp_path) == f"{tmp_path} cannot be locked: {os.strerror(number)}"


@pytest.mark.parametrize("number", sorted(locks.NO_LOCKS))
def test_a_file_system_without_locks_is_trained_on_with_a_warning(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    import fcntl

    def refuse(*given: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with alone(tmp_path):
        (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: the file system of {tmp_path} has no locks")


def test_the_lock_is_no_part_of_an_artifact(run: Run) -> None:
    assert (run.path / NAME).is_file()
    files = artifacts.model(run, {}).files
    named = [file for path in files.values() for file in (path, *path.rglob("*"))]
    assert NAME not in {file.name for file in named}
    assert run.path not in files.values()


PLAY = ("record", "--env", "toy/Chain-v0", "--num-envs", "1", "--episodes", "2")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    assert demos(*PLAY, "--out", tmp_path / "chain") == 0
    return tmp_path / "chain"


def contents(directory: Path) -> dict[Path, bytes]:
    """All files below a directory but its lock's, which the holder has signed."""
    found = [path for path in directory.rglob("*") if path.is_file() and path.name != NAME]
    return {path: path.read_bytes() for path in found}


WRITERS = [(*PLAY, "--append", "--out"), ("drop", "--episodes", "0"), ("seal",)]


@pytest.mark.parametrize("command", WRITERS, ids=lambda command: command[0])
def test_who_would_write_into_a_dataset_is_told_which_process_does(
    dataset: Path, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(dataset)
    capsys.readouterr()
    with held_elsewhere(dataset) as process:
        assert demos(*command, dataset) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"error: process {process.pid} is at work in {dataset}; wait until it ends"
    assert contents(dataset) == before
    assert demos(*command, dataset) == 0


OLDER = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
print("held", flush=True)
sys.stdin.read()
"""
"""What versions before the lock's file did with a dataset."""


def test_an_older_version_and_this_one_keep_each_other_out(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe, argv = subprocess.PIPE, [sys.executable, "-c", OLDER, str(dataset)]
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        capsys.readouterr()
        assert demos("seal", dataset) == 2
        process.kill()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: an older version of Joystick is at work in")
    with dataset_module.alone(dataset):
        refused = subprocess.run(argv, capture_output=True, text=True, input="")
    assert "BlockingIOError" in refused.stderr


READERS = [("verify",), ("stats",), ("card",), ("filter", "--out")]


@pytest.mark.parametrize("command", READERS, ids=lambda command: command[0])
def test_who_reads_a_dataset_needs_no_lock_and_leaves_none(
    dataset: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a folder that cannot be written to, where the shipped ones may be."""
    (dataset / NAME).unlink()

    def refuse(self: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(locks.FileLock, "acquire", refuse)
    words = [command[0], dataset, *command[1:]]
    assert demos(*words, *([dataset.with_name("other")] if "--out" in words else [])) == 0
    assert not (dataset / NAME).exists()
    # While one writes, others read.
    with monkeypatch.context() as undone:
        undone.undo()
        with held_elsewhere(dataset):
            assert demos("verify", dataset) == 0


def test_the_lock_is_no_part_of_a_dataset(dataset: Path) -> None:
    assert (dataset / NAME).is_file()
    opened = Dataset.open(dataset)
    assert opened.problems() == []
    files = artifacts.demonstrations(opened, opened.episodes()).files
    assert NAME not in {file.name for file in files.values()}
    assert demos("filter", dataset, "--out", dataset.with_name("copy")) == 0
    assert not (dataset.with_name("copy") / NAME).exists()


def test_an_empty_dataset_goes_with_its_lock(dataset: Path) -> None:
    empty = Dataset.create(dataset.with_name("empty"), Dataset.open(dataset).metadata)
    with dataset_module.alone(empty.path):
        empty.remove_empty()
    assert not empty.path.exists()


SWEEP = """
method: random
metric: {name: eval/return_mean, goal: maximize}
command: [python, -m, agents.reinforce, --env=CartPole-v1, "${args}"]
parameters: {seed: {distribution: int_uniform, min: 1, max: 9}}
"""


def test_a_second_sweep_of_a_folder_is_refused_and_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would take the first one's trial for one that was lost."""
    pytest.importorskip("optuna")
    from agents.sweep import __main__ as command
    from agents.sweep import study

    file, out = tmp_path / "sweep.yaml", tmp_path / "out"
    file.write_text(SWEEP)
    ended: list[object] = []

    def sweep() -> None:
        with pytest.raises(SystemExit) as raised:
            command.main([str(file), "--trials", "1", "--out", str(out)])
        ended.append(raised.value.code)

    def try_another(opened: Any, plan: Any, folder: Path, seed: int) -> None:
        opened.ask(plan.parameters)
        before = contents(folder)
        sweep()
        assert contents(folder) == before
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "one_trial", try_another)
    sweep()
    assert ended == [2, 130]
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"error: process {os.getpid()} is at work in {out}; wait until it ends"
