"""Changes a file of a run, dataset or sweep, as damage or an attacker would.

It depends on the file formats, not on the code that reads them, so it works for older trees too. A
change may be sealed: then each checksum that would reveal it is corrected.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.torch
import torch
import yaml
import zstandard
from torch import Tensor

MANIFEST = "state.json"

DEPTH = 100_000

HOSTILE = (
    *("null", "true", "false", "0", "-1", "1", "2", "-5", "0.5", "-0.0", "1e999", "-1e999"),
    *("NaN", "Infinity", "-Infinity", "1e308", "1.7976931348623157e308", "1e-320", "1e5"),
    *(str(2**31), str(2**53), str(2**63), str(2**64), str(-(2**63)), "9" * 400, "9" * 5000),
    *('""', '" "', '"0"', '"-1"', '"nan"', '"None"', '"auto"', '"cuda"', '"runs"', '"."', '".."'),
    *('"../../outside/mine"', '"/dev/zero"', '"~"', '"outside.payload:X-v0"', '"%s%n{0}"'),
    *('"Pong"', '"Pendulum-v1"', '"toy/Chain-v0"', '"[/bold]"', r'"\u001b[31m\u001b]0;x\u0007"'),
    *(r'"\u0000"', r'"\ud800"', r'"\u202eabc"', '"' + "x" * 10_000 + '"', '"ß√\N{PILE OF POO}"'),
    *("[]", "{}", "[null]", "[[]]", "[-1]", "[0.5]", "[1, 2, 3]", '["x"]', '{"a": 1}'),
    *('{"$tensor": "none"}', '{"$tuple": 1}', '{"$dict": [[1]]}', "[0, 0, 0, 0, 0, 0, 0, 0, 0]"),
    *("[" * DEPTH + "]" * DEPTH, '{"a": ' * DEPTH + "1" + "}" * DEPTH),
)
"""Valid and invalid JSON values."""

TOKEN = "@@changed@@"


def change(root: Path, path: Path, chance: Random) -> str:
    """Changes one file or directory below `root`; returns a short description of the change."""
    if path.is_dir():
        return replace(path, chance)
    kinds = [replace, in_bytes]
    if meaning_of(path):
        kinds += [in_meaning] * 3
    kind = chance.choice(kinds)
    if kind is replace:
        return replace(path, chance)
    before = path.read_bytes()
    name, data = kind(path, before, chance)
    path.write_bytes(data)
    sealed = chance.random() < 0.7 and seal(root, path, before)
    return f"{name}, sealed" if sealed else name


# Replacements of a file or directory.


def replace(path: Path, chance: Random) -> str:
    """Replaces a file or directory by something else; returns a short description."""
    kind = chance.choice(tuple(REPLACEMENTS))
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    REPLACEMENTS[kind](path)
    return kind


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


def _directory(path: Path) -> None:
    path.mkdir()
    (path / "mine").write_bytes(b"mine")


REPLACEMENTS: dict[str, Callable[[Path], Any]] = {
    "missing": lambda path: None,
    "empty": Path.touch,
    "a directory": _directory,
    "a dangling link": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link outside": lambda path: path.symlink_to(outside(path)),
    "a FIFO": getattr(os, "mkfifo", Path.touch),
    "a terabyte": _sparse,
}


def outside(path: Path) -> Path:
    """A directory outside the changed files; no command may write into it."""
    return next(each / "outside" for each in path.parents if (each / "outside").is_dir())


# Changes of bytes.


def in_bytes(path: Path, data: bytes, chance: Random) -> tuple[str, bytes]:
    """Changes bytes without regard to the format; returns a description and the new bytes."""
    kind = chance.choice(tuple(BYTES))
    return kind, BYTES[kind](data, chance)


def _flipped(data: bytes, chance: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 8))):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _inserted(what: bytes) -> Callable[[bytes, Random], bytes]:
    def inserted(data: bytes, chance: Random) -> bytes:
        at = chance.randrange(len(data) + 1)
        return data[:at] + what + data[at:]

    return inserted


BYTES: dict[str, Callable[[bytes, Random], bytes]] = {
    "truncated": lambda data, chance: data[: chance.randrange(len(data) + 1)],
    "without its last byte": lambda data, chance: data[:-1],
    "bits flipped": _flipped,
    "random bytes": lambda data, chance: chance.randbytes(len(data)),
    "zeros": lambda data, chance: bytes(len(data)),
    "twice": lambda data, chance: data + data,
    "invalid UTF-8": _inserted(b"\xff\xc3\x28"),
    "a NUL": _inserted(b"\0"),
    "an escape sequence": _inserted(b"\x1b[31m[/bold]"),
    "a long line": _inserted(b"x" * 100_000),
    "nested deeply": lambda data, chance: b"[" * DEPTH,
}


# Changes of values.


def in_meaning(path: Path, data: bytes, chance: Random) -> tuple[str, bytes]:
    """Changes a value in the file's own format, or bytes if the file does not have the format."""
    meaning = meaning_of(path)
    if meaning is not None:
        # The file is empty, or has another format than its name suggests.
        with suppress(ValueError, LookupError, TypeError, struct.error):
            return meaning(data, chance)
    return in_bytes(path, data, chance)


Meaning = Callable[[bytes, Random], tuple[str, bytes]]


def meaning_of(path: Path) -> Meaning | None:
    """The function that changes a file's content; None for an unknown format."""
    if path.name == MANIFEST:
        return _manifest
    return MEANINGS.get(path.suffix)


def _json(data: bytes, chance: Random) -> tuple[str, bytes]:
    name, text = _changed(json.loads(data), chance)
    return name, text.encode("utf-8", "surrogatepass")


def _lines(data: bytes, chance: Random) -> tuple[str, bytes]:
    lines = data.splitlines()
    at = chance.randrange(len(lines))
    name, lines[at] = _json(lines[at], chance)
    return name, b"".join(line.replace(b"\n", b" ") + b"\n" for line in lines)


def _yaml(data: bytes, chance: Random) -> tuple[str, bytes]:
    # JSON is YAML.
    name, text = _changed(yaml.safe_load(data), chance)
    return name, text.encode("utf-8", "surrogatepass")


def _manifest(data: bytes, chance: Random) -> tuple[str, bytes]:
    if chance.random() < 0.1:
        return _json(data, chance)
    name, body = _changed(json.loads(data)["body"], chance)
    return name, _signed(body)


def _signed(body: str) -> bytes:
    """A manifest with its correct checksum."""
    try:
        text = json.dumps(json.loads(body))
    except (RecursionError, ValueError):
        text = body
    crc32 = zlib.crc32(text.encode("utf-8", "surrogatepass"))
    return f'{{"crc32": {crc32}, "body": {body}}}'.encode("utf-8", "surrogatepass")


def _changed(values: Any, chance: Random) -> tuple[str, str]:
    """Changes one of some JSON values; returns a description and the new text."""
    holder: dict[str, Any] = {"all": values}
    where, key, path = _place(holder, chance)
    kind = chance.choice(("another", "another", "another", "near", "near", "missing", "added"))
    raw = ""
    if kind == "missing" and where is not holder:
        del where[key]
    elif kind == "added" and isinstance(where, dict) and where is not holder:
        where[chance.choice(("extra", "", "$tensor", "chunk", "\x1b[31m", str(key).upper()))] = None
    elif kind == "added" and isinstance(where, list):
        where.append(where[key])
    elif kind == "near":
        where[key] = _near(where[key], chance)
    else:
        raw = chance.choice(HOSTILE)
        where[key] = TOKEN
    text = json.dumps(holder["all"], indent=2).replace(f'"{TOKEN}"', raw)
    return f"{path} {kind} {raw[:30]}".strip(), text


def _place(holder: dict[str, Any], chance: Random) -> tuple[Any, Any, str]:
    """A container in nested values and a key in it; all levels are equally likely."""
    where: Any = holder
    key: Any = "all"
    path = ""
    while True:
        inner = where[key]
        if not isinstance(inner, dict | list) or not inner or (path and chance.random() < 0.2):
            return where, key, path
        where = inner
        key = (
            chance.choice(list(inner)) if isinstance(inner, dict) else chance.randrange(len(inner))
        )
        path = f"{path}.{key}"


def _near(value: Any, chance: Random) -> Any:
    """A slightly different value, often of the same type."""
    if isinstance(value, bool):
        return chance.choice((not value, int(value), str(value)))
    if isinstance(value, int | float):
        numbers = (value + 1, value - 1, -value - 1, value * 1000, value + 0.5, 0, [value])
        return chance.choice((*numbers, str(value)))
    if isinstance(value, str):
        return chance.choice((value + "x", value.upper(), value[:-1], value * 3, [value], ""))
    if isinstance(value, list):
        return chance.choice((value[:-1], value[::-1], value * 2, [value], {}, []))
    if isinstance(value, dict):
        items = list(value.items())
        return chance.choice((dict(items[1:]), [list(each) for each in items], {}, []))
    return chance.choice((0, "", [], {}))


def _safetensors(data: bytes, chance: Random) -> tuple[str, bytes]:
    if chance.random() < 0.25:
        (size,) = struct.unpack("<Q", data[:8])
        name, header = _json(data[8 : 8 + size], chance)
        return f"header {name}", struct.pack("<Q", len(header)) + header + data[8 + size :]
    return _of_tensors(data, chance)


def _of_tensors(data: bytes, chance: Random) -> tuple[str, bytes]:
    tensors = safetensors.torch.load(data)
    name = chance.choice(sorted(tensors))
    kind = chance.choice(tuple(TENSORS))
    changed = TENSORS[kind](tensors.pop(name), chance)
    if changed is not None:
        key = f"{name}x" if kind == "renamed" else name
        tensors[key] = changed.contiguous()
    if kind == "added":
        tensors["extra"] = torch.zeros(3)
    return f"{name} {kind}", safetensors.torch.save(tensors)


def _filled(tensor: Tensor, value: float) -> Tensor:
    kept = tensor.clone()
    if kept.dtype == torch.bool:
        return kept.fill_(value != 0)
    if kept.dtype.is_floating_point:
        return kept.fill_(value)
    bounds = torch.iinfo(kept.dtype)
    whole = 0 if value != value else int(max(bounds.min, min(bounds.max, value)))
    return kept.fill_(whole)


TENSORS: dict[str, Callable[[Tensor, Random], Tensor | None]] = {
    "missing": lambda tensor, chance: None,
    "renamed": lambda tensor, chance: tensor,
    "added": lambda tensor, chance: tensor,
    "one axis more": lambda tensor, chance: tensor.unsqueeze(0),
    "flat": lambda tensor, chance: tensor.reshape(-1),
    "transposed": lambda tensor, chance: tensor.permute(*range(tensor.ndim - 1, -1, -1)).clone(),
    "shorter": lambda tensor, chance: (tensor[:-1] if tensor.ndim else tensor[None]).clone(),
    "longer": lambda tensor, chance: torch.cat([tensor.reshape(-1)] * 2),
    "of no size": lambda tensor, chance: tensor.reshape(-1)[:0].clone(),
    "one number": lambda tensor, chance: torch.zeros((), dtype=tensor.dtype),
    "float64": lambda tensor, chance: tensor.to(torch.float64),
    "float16": lambda tensor, chance: tensor.to(torch.float16),
    "int64": lambda tensor, chance: tensor.nan_to_num().to(torch.int64),
    "uint8": lambda tensor, chance: tensor.nan_to_num().to(torch.uint8),
    "bool": lambda tensor, chance: tensor != 0,
    "NaN": lambda tensor, chance: _filled(tensor, float("nan")),
    "infinite": lambda tensor, chance: _filled(tensor, float("inf")),
    "negative": lambda tensor, chance: _filled(tensor, -5.0),
    "zeros": lambda tensor, chance: _filled(tensor, 0.0),
    "huge": lambda tensor, chance: _filled(tensor, 3e38),
}


def _chunk(data: bytes, chance: Random) -> tuple[str, bytes]:
    compressor = zstandard.ZstdCompressor(level=1)
    if chance.random() < 0.1:
        return "half a gigabyte of zeros", compressor.compress(bytes(1 << 29))
    name, tensors = _safetensors(zstandard.ZstdDecompressor().decompress(data), chance)
    return name, compressor.compress(tensors)


def _parquet(data: bytes, chance: Random) -> tuple[str, bytes]:
    file = pq.ParquetFile(io.BytesIO(data))
    table = file.read().replace_schema_metadata(None)
    about = (file.metadata.metadata or {}).get(b"joystick", b"{}")
    if chance.random() < 0.6:
        name, changed = _json(about, chance)
        return f"about {name}", _packed(table, changed)
    column = chance.choice(table.column_names)
    kind = chance.choice(tuple(COLUMNS))
    at = table.column_names.index(column)
    made = COLUMNS[kind](table.column(column))
    rest = table.remove_column(at)
    if made is not None:
        short = min(len(made), len(rest)) if rest.num_columns else len(made)
        rest = rest.slice(0, short).add_column(at, column, made.slice(0, short))
    return f"{column} {kind}", _packed(rest, about)


def _packed(table: pa.Table, about: bytes) -> bytes:
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema, compression="zstd", store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({b"joystick": about})
    return sink.getvalue()


COLUMNS: dict[str, Callable[[pa.ChunkedArray], pa.ChunkedArray | None]] = {
    "missing": lambda column: None,
    "null": lambda column: pa.chunked_array([pa.nulls(len(column), column.type)]),
    "texts": lambda column: pa.chunked_array([pa.array(["x"] * len(column))]),
    "lists": lambda column: pa.chunked_array([pa.array([[1.0]] * len(column))]),
    "NaN": lambda column: pa.chunked_array([pa.array([float("nan")] * len(column), pa.float32())]),
    "infinite": lambda column: pa.chunked_array([pa.array([float("inf")] * len(column))]),
    "negative": lambda column: pa.chunked_array([pa.array([-7] * len(column), pa.int64())]),
    "huge": lambda column: pa.chunked_array([pa.array([2**62] * len(column), pa.int64())]),
    "of no size": lambda column: column.slice(0, 0),
    "shorter": lambda column: column.slice(0, len(column) - 1),
}


def _database(data: bytes, chance: Random) -> tuple[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "copy.db"
        path.write_bytes(data)
        with closing(sqlite3.connect(path)) as base:
            name = _change_database(base, chance)
            base.commit()
        return name, path.read_bytes()


def _change_database(base: sqlite3.Connection, chance: Random) -> str:
    names = "SELECT name FROM sqlite_master WHERE type = 'table'"
    tables = sorted(name for (name,) in base.execute(names))
    table = chance.choice([each for each in tables if _rows(base, each)])
    column = chance.choice([row[1] for row in base.execute(f'PRAGMA table_info("{table}")')])
    value = chance.choice(CELLS)
    kind = chance.choice(("value", "value", "value", "value", "rows", "table"))
    with suppress(sqlite3.IntegrityError):
        if kind == "value":
            base.execute(f'UPDATE "{table}" SET "{column}" = ?', (value,))
        elif kind == "rows":
            base.execute(f'DELETE FROM "{table}"')
        else:
            base.execute(f'DROP TABLE "{table}"')
    return f"{table}.{column} {kind} {value!r}"[:60]


def _rows(base: sqlite3.Connection, table: str) -> int:
    return base.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]


CELLS = (None, "x", "", -1, 2**62, 1e308, b"\xff", "[/bold]\x1b[31m", "{}", 0)


MEANINGS: dict[str, Meaning] = {
    ".json": _json,
    ".jsonl": _lines,
    ".lock": _json,
    ".yaml": _yaml,
    ".safetensors": _safetensors,
    ".zst": _chunk,
    ".parquet": _parquet,
    ".db": _database,
}


# Checksums.


def seal(root: Path, path: Path, before: bytes) -> bool:
    """Corrects each checksum that would reveal the change; returns False if there is none."""
    if path.name == "dataset.json":
        return _seal_dataset(path)
    if path.suffix == ".parquet":
        return _seal_episode(path)
    if path.suffix == ".safetensors":
        return _seal_proofs([path.parent / MANIFEST], path, before)
    if path.suffix == ".zst":
        return _seal_proofs(sorted(root.rglob(f"checkpoints/*/{MANIFEST}")), path, before)
    return path.name == MANIFEST


def _proof(data: bytes) -> dict[str, int]:
    return {"bytes": len(data), "crc32": zlib.crc32(data)}


def _seal_proofs(manifests: list[Path], path: Path, before: bytes) -> bool:
    """Replaces a changed file's proof in each manifest that holds its former proof."""
    former = _proof(before)
    data = path.read_bytes()
    for manifest in manifests:
        body = json.loads(manifest.read_bytes())["body"]
        for each in _objects(body):
            if former.items() <= each.items():
                each.update(_proof(data))
        manifest.write_bytes(_signed(json.dumps(body)))
    return True


def _objects(values: Any) -> Iterator[dict[str, Any]]:
    inner: Any = ()
    if isinstance(values, dict):
        yield values
        inner = values.values()
    elif isinstance(values, list):
        inner = values
    for each in inner:
        yield from _objects(each)


def _seal_dataset(path: Path) -> bool:
    try:
        values = json.loads(path.read_bytes())
        digest = values["digest"]
        assert isinstance(digest, str)
        rest = {name: each for name, each in values.items() if name != "digest"}
        text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
        made = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    except (ValueError, KeyError, TypeError, AssertionError, RecursionError):
        return False
    path.write_bytes(path.read_bytes().replace(digest.encode(), made.encode()))
    return True


def _seal_episode(path: Path) -> bool:
    made = hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
    name = re.sub(r"-[0-9a-f]{16}", f"-{made}", path.name)
    about = path.parents[1] / "dataset.json"
    about.write_bytes(about.read_bytes().replace(path.name.encode(), name.encode()))
    path.rename(path.with_name(name))
    _seal_dataset(about)
    return True
