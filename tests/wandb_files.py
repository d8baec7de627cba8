"""What W&B wrote for later: a reader of offline `.wandb` files, whose own one it has no more."""

from __future__ import annotations

import json
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportAttributeAccessIssue]

from agents.core.runs.run import Run


def records(path: Path) -> Iterator[Record]:
    """The records of a `.wandb` file: LevelDB's log format, which W&B's own reader is no more."""
    data, block, header = path.read_bytes(), 32768, struct.Struct("<IHB")
    assert data[:4] == b":W&B"
    full, first, last = 1, 2, 4
    position, whole = 7, b""
    while position + header.size <= len(data):
        left = block - position % block
        if left < header.size:
            position += left
            continue
        checksum, length, kind = header.unpack_from(data, position)
        position += header.size
        part = data[position : position + length]
        position += length
        if position > len(data):
            return  # W&B is still writing it.
        assert zlib.crc32(part, zlib.crc32(bytes([kind]))) == checksum
        whole = part if kind in (full, first) else whole + part
        if kind in (full, last):
            yield Record.FromString(whole)


class Fragment:
    """What one offline `.wandb` file says."""

    def __init__(self, path: Path):
        self.path = path
        self.history: list[dict[str, Any]] = []
        self.config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.artifacts: list[Any] = []
        self.metrics: dict[str, Any] = {}
        for record in records(path):
            match record.WhichOneof("record_type"):
                case "run":
                    self.run = record.run
                    self.start = record.run.start_time.ToNanoseconds()
                    for item in record.run.config.update:
                        self.config[item.key] = json.loads(item.value_json)
                case "history":
                    items = record.history.item
                    self.history.append(
                        {
                            item.key or "/".join(item.nested_key): json.loads(item.value_json)
                            for item in items
                        }
                    )
                case "summary":
                    for item in record.summary.update:
                        name = item.key or "/".join(item.nested_key)
                        self.summary[name] = json.loads(item.value_json)
                case "artifact":
                    self.artifacts.append(record.artifact)
                case "metric":
                    self.metrics[record.metric.name or record.metric.glob_name] = record.metric
                case "exit":
                    self.exit_code = record.exit.exit_code


def fragments(run: Run) -> list[Fragment]:
    paths = list((run.path / "wandb").glob("offline-run-*/run-*.wandb"))
    # W&B's process writes the file to its end some milliseconds after `finish` has returned.
    deadline = time.monotonic() + 30
    while not all(is_whole(path) for path in paths) and time.monotonic() < deadline:
        time.sleep(0.02)
    return sorted(map(Fragment, paths), key=lambda fragment: fragment.start)


def is_whole(path: Path) -> bool:
    return any(record.WhichOneof("record_type") == "exit" for record in records(path))
