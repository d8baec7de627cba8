"""What is no regular file in a run keeps neither `report` nor a request of `--serve` waiting."""

from __future__ import annotations

import base64
import json
import os
import signal
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
import torch

from agents.core.runs import snapshots
from agents.core.runs.run import Run
from agents.report import __main__ as command
from agents.report import page
from agents.report.parsing import MOST_METRICS_BYTES
from agents.report.reading import read_run
from benchmarks.report_page import make_runs
from envs import locks

NAME = "ALE-Pong-v5__ppo__1__20260101-000004"
SECRET = b"a secret from elsewhere"
SECONDS = 120


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Fails instead of waiting for good."""

    def give_up(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"it waits for more than {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link(path: Path) -> None:
    outside = path.parents[3] / "outside"
    outside.mkdir(exist_ok=True)
    secret = outside / f"{path.name}.secret"
    secret.write_bytes(SECRET)
    path.symlink_to(secret)


def linked_folder(path: Path) -> None:
    outside = path.parents[3] / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "000000000700.mp4").write_bytes(SECRET)
    path.symlink_to(outside)


def loop(path: Path) -> None:
    path.symlink_to(path)


def folder(path: Path) -> None:
    path.mkdir()


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def one_line(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MOST_METRICS_BYTES // 8)


KINDS = [fifo, device, link, linked_folder, loop, folder, huge, one_line]
PLACES = [
    *("config.json", "metrics.jsonl", "eval.json", "videos", "videos/000000000900.mp4"),
    *("dataset.json", locks.NAME, "unknown"),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "a" / "runs"
    path.mkdir(parents=True)
    make_runs(path, 12, 20)
    return path


def placed(root: Path, place: str, make: Callable[[Path], None]) -> Path:
    path = root / NAME / place
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    make(path)
    return path


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("place", PLACES)
def test_a_page_is_made_whatever_a_run_holds(
    root: Path, tmp_path: Path, place: str, make: Callable[[Path], None]
):
    placed(root, place, make)
    out = tmp_path / "report.html"
    with within(SECONDS), pytest.raises(SystemExit) as ended:
        command.main([str(root), "-o", str(out), "--demo-films", "0"])
    assert ended.value.code == 0
    text = out.read_text("utf-8")
    assert NAME in text
    assert SECRET.decode() not in text
    assert base64.b64encode(SECRET).decode() not in text


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("place", ["config.json", "metrics.jsonl", "eval.json"])
def test_a_file_that_is_not_read_is_named(root: Path, place: str, make: Callable[[Path], None]):
    placed(root, place, make)
    with within(SECONDS):
        problems = read_run(root / NAME, root).problems
    if (make, place) != (one_line, "metrics.jsonl"):
        assert any(each.startswith(place) for each in problems)


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_a_folder_of_runs_that_is_something_else_is_left_alone(
    root: Path, make: Callable[[Path], None]
):
    make(root / "ALE-Pong-v5__ppo__9__20260101-000004")
    with within(SECONDS):
        content = command.maker(command.Arguments(runs=root, demo_films=0))()
    names = [run["name"] for run in content.data["runs"]]
    assert len(names) == (13 if make is folder else 12)


def test_a_linked_run_is_not_in_the_page(root: Path, tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    make_runs(other, 1, 20)
    (run,) = other.iterdir()
    (root / "linked").symlink_to(other)
    (root / "linked-run").symlink_to(run)
    content = command.maker(command.Arguments(runs=root, demo_films=0))()
    assert len(content.data["runs"]) == 12
    assert content.data["foreign"] == ["linked", "linked-run"]


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_a_server_answers_while_files_become_something_else(
    root: Path, tmp_path: Path, make: Callable[[Path], None]
):
    pytest.importorskip("httpx")
    testing = pytest.importorskip("starlette.testclient")
    from agents.report.serve import application

    film = root / NAME / "videos" / "000000000900.mp4"
    film.parent.mkdir()
    film.write_bytes(b"film" * 100)
    reading = command.maker(command.Arguments(runs=root, demo_films=0))
    app = application(reading, 0.0, tmp_path)
    with within(SECONDS), testing.TestClient(app, base_url="http://127.0.0.1") as client:
        number = reading().films.index(film)
        assert client.get(f"/film/{number}").content == b"film" * 100
        for place in ("videos/000000000900.mp4", "metrics.jsonl", "eval.json", "config.json"):
            placed(root, place, make)
            answer = client.get(f"/film/{number}")
            # A film of zeros is a regular file.
            assert answer.status_code == (200 if make is one_line else 404)
            for path in ("/data.json", "/"):
                answer = client.get(path)
                assert answer.status_code == 200
                assert SECRET not in answer.content


def test_a_film_behind_a_linked_folder_is_not_read(root: Path, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    film = tmp_path / "elsewhere" / "000000000900.mp4"
    film.write_bytes(SECRET)
    (root / NAME / "videos").symlink_to(film.parent)
    assert page.read_film(root / NAME / "videos" / film.name, 1000) == b""


def test_nothing_behind_a_link_is_uploaded(root: Path, tmp_path: Path):
    run = Run(root / NAME, "ppo")
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_bytes(SECRET)
    (run.path / "eval.json").unlink()
    (run.path / "eval.json").symlink_to(secret / "key")
    run.best(900, 1.0, {"w": torch.ones(2)}, {})
    best = run.path / "best" / "000000000900"
    whole = run.shared_files()
    assert [path.name for path in whole] == ["state.json", "weights.safetensors", "config.json"]
    (run.path / "best" / "000000000901").symlink_to(secret)
    (best / "notes.txt").write_text("a person's own")
    assert run.shared_files() == whole
    for name in ("weights.safetensors", "state.json"):
        (secret / name).write_bytes((best / name).read_bytes())
        (best / name).unlink()
        (best / name).symlink_to(secret / name)
        assert run.shared_files() == []
        (best / name).unlink()
        (best / name).write_bytes((secret / name).read_bytes())
    files = {"../../../secret/key": snapshots.proof(SECRET)}
    body = json.dumps({"step": 900, "files": files}).encode()
    (best / "state.json").write_bytes(b'{"crc32": %d, "body": %b}' % (zlib.crc32(body), body))
    assert run.shared_files() == []
