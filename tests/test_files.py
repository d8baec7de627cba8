"""Reading what may come from a stranger, and writing without following links."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from envs import UserError, files, schema
from envs.text import plain

MOST = 1000


def made(folder: Path, kind: str) -> Path:
    """A path of that kind in a folder."""
    path = folder / kind
    if kind == "link":
        (folder / "target").write_bytes(b"secret")
        path.symlink_to(folder / "target")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(1 << 40)
    return path


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "device", "large", "absent"])
def test_what_is_no_small_regular_file_is_refused_at_once(tmp_path: Path, kind: str):
    path = made(tmp_path, kind)
    with pytest.raises(OSError, match=str(path)) as error:
        files.read_regular(path, MOST)
    assert error.value.strerror


def test_devices_are_refused():
    with pytest.raises(files.Unreadable, match="not a regular file"):
        files.read_regular(Path("/dev/zero"), MOST)


def test_a_regular_file_of_the_most_bytes_is_read(tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * MOST)
    assert files.read_regular(path, MOST) == b"x" * MOST
    with pytest.raises(files.Unreadable, match="1,000 bytes, at most 999"):
        files.read_regular(path, MOST - 1)


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "", "link/x", "x\0y"])
def test_a_reference_cannot_leave_its_directory(tmp_path: Path, name: str):
    (tmp_path / "link").symlink_to("/")
    with pytest.raises(files.Unreadable):
        files.within(tmp_path, name)


def test_a_reference_below_its_directory_is_taken(tmp_path: Path):
    assert files.within(tmp_path, "replay/a.zst") == tmp_path / "replay" / "a.zst"


def test_entries_of_a_link_to_a_directory_are_none(tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(outside)
    assert files.entries(outside) == [outside / "file"]
    assert files.entries(tmp_path / "link") == []
    assert files.entries(tmp_path / "absent") == []


def test_removing_a_link_leaves_what_it_leads_to(tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(outside)
    files.remove(inside)
    assert not inside.exists()
    (tmp_path / "link").symlink_to(outside)
    files.remove(tmp_path / "link")
    assert (outside / "file").exists()


@pytest.mark.parametrize("writer", [files.write, files.write_atomically])
def test_writing_replaces_a_link_and_does_not_follow_it(tmp_path: Path, writer):
    outside = tmp_path / "outside"
    outside.write_bytes(b"theirs")
    (tmp_path / "file").symlink_to(outside)
    writer(tmp_path / "file", b"ours")
    assert outside.read_bytes() == b"theirs"
    assert (tmp_path / "file").read_bytes() == b"ours"
    assert not (tmp_path / "file").is_symlink()


def test_a_write_that_fails_leaves_nothing_beside(tmp_path: Path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError("full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="full"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@dataclass(frozen=True)
class Example:
    count: int
    share: float = 0.5
    folder: Path = Path("runs")
    kind: Literal["a", "b"] = "a"


def test_json_becomes_a_dataclass():
    text = '{"count": 3, "share": 1, "folder": "x", "kind": "b"}'
    assert schema.parse(text, Example, "f") == Example(3, 1.0, Path("x"), "b")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "f is damaged"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("[]", "expected `object`"),
        ("{}", "missing required field `count`"),
        ('{"count": "3"}', "count: expected `int`, got `str`"),
        ('{"count": 3.5}', "count: expected `int`, got `float`"),
        ('{"count": true}', "count: expected `int`, got `bool`"),
        ('{"count": 1e999}', "1e999 is not a finite number"),
        ('{"count": 1, "share": NaN}', "NaN is not a finite number"),
        ('{"count": 1, "kind": "c"}', "kind: invalid enum value 'c'"),
        ('{"count": 1, "folder": 3}', "folder: expected `Path`"),
        ("1" * 5000, "f is damaged"),
        (b"\xff\xfe", "f is damaged"),
        ('{"count": "\x1b[31m"}', "f is damaged"),
    ],
)
def test_json_of_another_type_is_one_line(text: str | bytes, says: str):
    with pytest.raises(UserError) as error:
        schema.parse(text, Example, "f")
    line = str(error.value)
    assert says in line
    assert line.isprintable()
    assert len(line) < 300


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("Pong", "Pong"),
        ("é 中", "é 中"),
        ("\x1b[31mred\x07", "?[31mred?"),
        ("two\nlines\r", "two?lines?"),
        ("\u202egnp\u2066", "?gnp?"),
        ("\ud800", "?"),
        ("x" * 1000, "x" * 199 + "…"),
        ("\x00" * 1000, "?" * 199 + "…"),
    ],
)
def test_text_from_a_file_is_made_safe(text: str, safe: str):
    assert plain(text) == safe
