"""No changed file makes a command fail otherwise than in one line; and the fuzz sees what does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from conftest import demonstrations, run_tiny

from agents.core.runs.run import Run
from benchmarks import fuzz, fuzz_calls
from benchmarks.fuzz import Arguments, Command, Fuzz, fingerprints
from benchmarks.fuzz_calls import Caller
from benchmarks.fuzz_files import change
from demos import Dataset
from demos.dataset import Damage
from envs import UserError

PATIENCE = 60.0
"""Seconds after which a call hangs, where other tests keep the machine busy."""


def test_no_changed_file_of_a_run_or_dataset_is_a_traceback_or_a_hang() -> None:
    only = ("dqn", "demos")
    result = fuzz.measure(Arguments(calls=50, seed=18, only=only, hang_seconds=PATIENCE))
    assert result["left_out"] == []
    assert result["distinct"] == []
    assert result["calls"] == 50
    assert sum(each["refused"] for each in result["found"].values()) > 10


@pytest.mark.slow
def test_no_changed_file_of_anything_is_a_traceback_or_a_hang() -> None:
    result = fuzz.measure(Arguments(calls=3000, seed=19, hang_seconds=PATIENCE))
    assert result["left_out"] == []
    assert result["distinct"] == []


PLANTED = """
import json, os, signal, sys, time

def main(kind, path=""):
    if kind == "right":
        print("error: one line")
        raise SystemExit(2)
    if kind == "raised":
        raise KeyError("planted")
    if kind == "printed":
        print("Traceback (most recent call last):", "KeyError: planted", sep="\\n", file=sys.stderr)
    if kind == "slow":
        time.sleep(60)
    if kind == "swallowed":
        try:
            time.sleep(60)
        except BaseException:
            time.sleep(60)
    if kind == "deaf":
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        time.sleep(60)
    if kind == "dead":
        os._exit(3)
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "code":
        raise SystemExit(130)
    if kind == "escape":
        print("\\x1b[31mred")
    if kind == "memory":
        bytes(1 << 45)
    if kind == "reads":
        with open(path + "/demos/D/dataset.json") as file:
            if json.load(file)["number"] < 0:
                os.remove(path + "/demos/D/other.txt")
"""


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    tree, folder = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("work")
    (tree / "planted.py").write_text(PLANTED)
    with Caller(tree, folder) as caller:
        yield caller


@pytest.mark.parametrize(
    ("kind", "fault", "what"),
    [
        ("right", "", ""),
        ("raised", "traceback", "KeyError: 'planted'"),
        ("printed", "traceback", "KeyError: planted"),
        ("memory", "traceback", "MemoryError"),
        ("slow", "hang", "it takes too long"),
        ("swallowed", "hang", "it takes too long"),
        ("deaf", "hang", "no alarm interrupts it"),
        ("dead", "died", "exit code 3"),
        ("killed", "died", "exit code -9"),
        ("code", "exit code", "exit code 130"),
        ("escape", "terminal", r"'\x1b'"),
    ],
)
def test_what_a_planted_command_does_is_seen(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, kind: str, fault: str, what: str
) -> None:
    monkeypatch.setattr(fuzz_calls, "GRACE_SECONDS", 2.0)
    ended = caller.call("planted", [kind], 0.5 if fault == "hang" else PATIENCE)
    assert ended.fault == fault
    assert what in ended.what
    if kind == "raised":
        assert ended.where.startswith("planted.py:")
    if kind == "right":
        assert (ended.code, ended.said) == (2, "error: one line\n")


def test_a_planted_traceback_hang_and_loss_are_found_by_changing_files(
    caller: Caller, tmp_path: Path
) -> None:
    found = Fuzz(caller, tmp_path, hang_seconds=0.5, only=("demos",))
    dataset = tmp_path / "base" / "demos" / "D"
    dataset.mkdir(parents=True)
    (dataset / "dataset.json").write_text('{"number": 5}')
    (dataset / "other.txt").write_text("kept")
    reads = ("demos/D/dataset.json",)
    found.victims = {"demos": {"reads": Command("planted", ("reads", "{at}"), reads)}}
    first, again = ([found.one(number, seed=0)[3] for number in range(60)] for _ in range(2))
    assert first == again
    kinds = {fault.kind for fault in first if fault is not None}
    assert kinds >= {"traceback", "hang", "altered"}
    assert any(fault is None for fault in first)
    altered = next(each for each in first if each is not None and each.kind == "altered")
    assert altered.what == "demos/D/other.txt was changed"


def test_a_command_that_fails_on_what_is_whole_measures_nothing(
    caller: Caller, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="--only cats"):
        Fuzz(caller, tmp_path, hang_seconds=1.0, only=("cats",))
    with pytest.raises(UserError, match="but has no agents"):
        fuzz.measure(Arguments(against=tmp_path))


def test_what_is_sealed_passes_every_checksum(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    every = ("--checkpoint-every-steps", "200", "--total-steps", "400")
    run = run_tiny(tmp_path, "dqn", "--env", "CartPole-v1", *every)
    sealed = 0
    for number in range(60):
        copy = Path(shutil.copytree(run.path, tmp_path / "copy" / "R"))
        (tmp_path / "copy" / "outside").mkdir()
        chance = Random(number)
        found = [each for each in sorted(copy.rglob("*/*")) if each.is_file()]
        if not change(copy, chance.choice(found), chance).endswith("sealed"):
            shutil.rmtree(tmp_path / "copy")
            continue
        sealed += 1
        said = ""
        try:
            opened = Run.open(copy)
            for reference in opened.restore()[1]["agent"]["replay"]["chunks"]:
                opened.read_chunk(reference["chunk"])
        except Exception as error:
            said = str(error)
        assert "checksum" not in said + capfd.readouterr().err
        shutil.rmtree(tmp_path / "copy")
    assert sealed > 20


def test_a_sealed_episode_has_the_name_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    sealed = 0
    for number in range(60):
        copy = Path(shutil.copytree(demonstrations("CartPole-v1"), tmp_path / "D"))
        chance = Random(number)
        file = chance.choice([*sorted((copy / "episodes").iterdir()), copy / "dataset.json"])
        if change(tmp_path, file, chance).endswith("sealed"):
            sealed += 1
            said = ""
            try:
                for each in Dataset.open(copy).scan():
                    said += each.why if isinstance(each, Damage) else ""
            except UserError as error:
                said = str(error)
            assert "changed since it was written" not in said
        shutil.rmtree(copy)
    assert sealed > 20


def test_links_and_types_of_files_are_part_of_a_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("1")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("file")
    first = fingerprints(tmp_path)
    assert set(first) == {"file", "folder", "link"}
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "file").write_text("2")
    differing = {name for name, each in fingerprints(tmp_path).items() if each != first[name]}
    assert differing == {"file", "link"}
