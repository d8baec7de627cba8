"""Files that are no checkpoint, or that mean harm: one line, two seconds, a bounded memory."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save as safetensors
from test_demos_sb3 import Leaves, archive, load, refusal, saved, settings, tensors

RAN = Path(tempfile.mkdtemp()) / "ran"
MOST_SECONDS, MOST_MORE_BYTES = 10.0, 2**30


def members(path: Path, how: int = zipfile.ZIP_STORED, **contents: bytes) -> Path:
    """A checkpoint with some of its members replaced, or others beside them."""
    whole = {"data": json.dumps(settings()).encode(), "policy_pth": saved(tensors())}
    with zipfile.ZipFile(path, "w", how) as file:
        for name, content in (whole | contents).items():
            file.writestr(name.replace("_pth", ".pth"), content)
    return path


class Bytes:
    """A pickle that asks for a gigabyte of zeros, and for another."""

    def __reduce__(self) -> tuple:
        return (bytearray, (2**33,))


class Zeros:
    """A pickle of a tensor of more numbers than its storage has."""

    def __reduce__(self) -> tuple:
        return (torch.zeros, (2**33,))


def of_many_entries(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for number in range(30_000):
            file.writestr(f"{number:060}", b"")


def twice(path: Path) -> None:
    archive(path)
    with zipfile.ZipFile(path, "a") as file, pytest.warns(match="Duplicate"):
        file.writestr("data", json.dumps(settings() | {"policy_class": None}))


def encrypted(path: Path) -> None:
    data = bytearray(archive(path).read_bytes())
    at = data.rindex(b"PK\x01\x02")
    while at >= 0:
        data[at + 8] |= 1
        at = data.rfind(b"PK\x01\x02", 0, at)
    path.write_bytes(data)


def inner(change: Callable[[zipfile.ZipFile], None], how: int = zipfile.ZIP_STORED) -> bytes:
    """A `policy.pth` whose archive was changed."""
    file = io.BytesIO(saved(tensors()))
    with zipfile.ZipFile(file, "a", how) as opened:
        change(opened)
    return file.getvalue()


def claims_more_numbers() -> bytes:
    """Tensors whose pickle tells a shape of 2**31 numbers, of a storage of 32."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved(tensors()))) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("data.pkl"):
                # Eight rows become 2**31 - 1: an integer of four bytes for one of one byte.
                assert b"K\x08K\x04\x86" in content
                content = content.replace(b"K\x08K\x04\x86", b"J\xff\xff\xff\x7fK\x04\x86")
            new.writestr(name, content)
    return changed.getvalue()


def fifo(path: Path) -> None:
    os.mkfifo(path)


def nested_folder(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("model/data", json.dumps(settings()))
        file.writestr("model/policy.pth", saved(tensors()))


def stable_baselines_2(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name in ("data", "parameter_list", "parameters"):
            file.writestr(name, "{}")


def text(content: bytes) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(content)


def with_members(**contents: bytes) -> Callable[[Path], Any]:
    return lambda path: members(path, **contents)


def deflated(**contents: bytes) -> Callable[[Path], Any]:
    return lambda path: members(path, zipfile.ZIP_DEFLATED, **contents)


LEGACY = {"_use_new_zipfile_serialization": False}
HOSTILE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "directory": (lambda path: path.mkdir(), "is a directory"),
    "fifo": (fifo, "is not a regular file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is not a regular file"),
    "link to itself": (lambda path: path.symlink_to(path), "is a symbolic link, which is not"),
    "dangling link": (lambda path: path.symlink_to("absent"), "does not exist"),
    "empty": (text(b""), "is empty"),
    "text": (text(b"weights of my agent\n"), "is not a zip archive but a text"),
    "noise": (text(b"\xfe\xba\x00\x01" * 99), "is not a zip archive, or only a part of one"),
    "git lfs": (text(b"version https://git-lfs.github.com/spec/v1\noid"), "a pointer of Git LFS"),
    "page": (text(b"<!DOCTYPE html><html>"), "is not a zip archive but a web page"),
    "gzip": (text(b"\x1f\x8b\x08" + bytes(90)), "is not a zip archive but a gzip archive"),
    "hdf5": (text(b"\x89HDF\r\n\x1a\n" + bytes(90)), "is not a zip archive but an HDF5 file"),
    "pickle": (text(pickle.dumps({"a": 1})), "a bare pickle, which is never read"),
    "safetensors": (text(safetensors(tensors())), "is not a zip archive but a safetensors file"),
    "truncated": (lambda path: path.write_bytes(archive(path).read_bytes()[:900]), "only a part"),
    "torch.save": (text(saved(tensors())), "is a file of torch.save, not a checkpoint of Sta"),
    "folder in a zip": (nested_folder, "is an archive of a folder (zip the files in it)"),
    "stable baselines 2": (stable_baselines_2, "a model of the older Stable Baselines, whose"),
    "many entries": (of_many_entries, "only a part of a zip archive, or a damaged one"),
    "data twice": (twice, "is damaged: it has 2 members called data"),
    "encrypted": (encrypted, "has a data that is encrypted"),
    "a list of 60 MB": (
        with_members(data=b"{}," * 20_000_000),
        "bytes of data, at most 16,777,216",
    ),
    "packed 60 MB": (deflated(data=b'{"a":[' + b"{}," * 20_000_000), "bytes of data, at most 16,7"),
    "a list of 16 MB": (with_members(data=b"{}," * 5_000_000), "is damaged: its data"),
    "an object of 16 MB": (
        with_members(data=b'{"policy_kwargs": [' + b"{}," * 5_000_000 + b"{}]}"),
        "has a policy from ''",
    ),
    "deep data": (with_members(data=b'{"a":' * 500_000), "its data is nested too deeply"),
    "a huge number": (with_members(data=b'{"a":' + b"9" * 10_000 + b"}"), "its data is damaged"),
    "a bomb of data": (deflated(data=bytes(2**24 + 1)), "bytes of data, at most"),
    "a bomb of tensors": (deflated(policy_pth=bytes(2**28)), "weights never shrink so much"),
    "a bomb in the tensors": (
        with_members(
            policy_pth=inner(lambda z: z.writestr("b/1", bytes(2**28)), zipfile.ZIP_DEFLATED)
        ),
        "bytes of tensors, at most 268,435,456 are allowed",
    ),
    "empty tensors": (with_members(policy_pth=b""), "has a policy.pth that is empty"),
    "safetensors inside": (
        with_members(policy_pth=safetensors(tensors())),
        "has a policy.pth that is not a zip archive but a safetensors file",
    ),
    "a pickle inside": (
        with_members(policy_pth=pickle.dumps(Leaves(RAN))),
        "has a policy.pth that is not a zip archive but a bare pickle, which is never read",
    ),
    "old torch inside": (
        with_members(policy_pth=saved(tensors(), **LEGACY)),
        "has a policy.pth that is not a zip archive but a file of a PyTorch older than 1.6",
    ),
    "code in old torch": (
        with_members(policy_pth=saved(Leaves(RAN), **LEGACY)),
        "a file of a PyTorch older than 1.6",
    ),
    "no tensors": (with_members(policy_pth=saved([1, 2])), "or holds more than tensors"),
    "pytorch_variables": (with_members(policy_pth=saved({"log_std": 1})), "holds more than tens"),
    "an optimizer": (
        with_members(policy_pth=saved(torch.optim.Adam([torch.ones(3)]).state_dict())),
        "holds more than tensors",
    ),
    "a bytearray of 8 GiB": (with_members(policy_pth=saved({"a": Bytes()})), "more than tensors"),
    "a tensor of 32 GiB": (with_members(policy_pth=saved({"a": Zeros()})), "more than tensors"),
    "a shape of 32 GiB": (with_members(policy_pth=claims_more_numbers()), "more than tensors"),
    "a pickle of 1 MB": (
        with_members(policy_pth=saved({f"{i:0200}": torch.ones(0) for i in range(2000)})),
        "bytes of archive/data.pkl, at most 262,144 are allowed",
    ),
    "two pickles": (
        with_members(policy_pth=inner(lambda z: z.writestr("b/data.pkl", b"."))),
        "holds more than tensors",
    ),
    "another network": (with_members(policy_pth=saved({"w": torch.ones(3)})), "has a tensor 'w'"),
    "escape sequences": (
        with_members(policy_pth=saved({"\x1b[2J\n\u202e": torch.ones(3)})),
        "has a tensor '?[2J??'",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_file_that_is_no_checkpoint_is_said_for_what_it_is(tmp_path: Path, what: str) -> None:
    make, message = HOSTILE[what]
    path = tmp_path / "model.zip"
    make(path)
    before = sorted(tmp_path.rglob("*"))
    assert message in refusal(path)
    assert sorted(tmp_path.rglob("*")) == before
    assert not RAN.exists()


MEASURED = """
import resource, sys, time
from pathlib import Path
from demos.sb3 import checkpoint
import envs
spec = envs.spec("CartPole-v1")
load = lambda path: checkpoint(f"sb3:{path}", spec, 0, 0.0)
first, *paths = sys.argv[1:]
load(first)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
began_with = peak()
for path in paths:
    start = time.process_time()
    try:
        load(path)
    except envs.UserError:
        print(time.process_time() - start, peak() - began_with, path, sep="\\t")
"""


def test_no_file_takes_long_or_fills_the_memory(tmp_path: Path) -> None:
    paths = [tmp_path / f"{what.replace(' ', '-')}.zip" for what in HOSTILE]
    for (make, _), path in zip(HOSTILE.values(), paths, strict=True):
        make(path)
    good = archive(tmp_path / "good.zip")
    ran = subprocess.run(
        [sys.executable, "-c", MEASURED, good, *paths], capture_output=True, text=True, timeout=300
    )
    rows = [line.split("\t") for line in ran.stdout.splitlines()]
    assert len(rows) == len(HOSTILE), ran.stderr
    for seconds, more_bytes, path in rows:
        assert float(seconds) < MOST_SECONDS, path
        assert int(more_bytes) < MOST_MORE_BYTES, path


def test_names_that_lead_elsewhere_write_nothing(tmp_path: Path) -> None:
    others = {"../../escaped": b"1", "/tmp/escaped-sb3": b"2", "a" * 5000: b"3"}
    path = members(tmp_path / "model.zip", **others)
    assert load(path).name.startswith("sb3:model.zip, DQN, ")
    assert sorted(tmp_path.rglob("*")) == [path]
    assert not Path("/tmp/escaped-sb3").exists() and not (tmp_path.parent / "escaped").exists()


def test_a_checkpoint_that_was_packed_again_plays(tmp_path: Path) -> None:
    with open(tmp_path / "model.zip", "wb") as file:
        file.write(b"#!/bin/sh\n")
    with zipfile.ZipFile(tmp_path / "model.zip", "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("data", json.dumps(settings() | {"max_grad_norm": float("inf")}))
        file.writestr("policy.pth", saved(tensors()))
        file.comment = b"mine" * 100
    assert load(tmp_path / "model.zip").name.startswith("sb3:model.zip, DQN, ")


def test_what_is_no_name_of_a_file_is_said(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "x.zip")
    with pytest.raises(ValueError, match="cannot be read: embedded null byte"):
        load(Path("a\0b.zip"))
    with pytest.raises(ValueError, match="cannot be read: File name too long"):
        load(Path("a" * 5000))
