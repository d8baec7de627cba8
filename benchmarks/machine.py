"""Describes the machine of a measurement, and writes the result file with both."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import torch

from agents.core.system.device import cpu_name
from demos import provenance
from envs.files import portable_name, write_atomically
from envs.machine import available_cores

RESULTS = Path(__file__).with_name("results")

WIDTH = 100
"""Width of a result file in columns."""

PACKAGES = ("torch", "numpy", "ale-py", "gymnasium", "stable-baselines3")

LOAD_AT_START = psutil.getloadavg()[0]
"""System load at the start; above a few tenths, other work ran and the figures are too low."""


def describe() -> dict[str, Any]:
    """This machine, its software and the state of the working tree, as JSON values."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "cpu": cpu_name(),
        "cores": available_cores(),
        "cores_physical": psutil.cpu_count(logical=False),
        "cpu_flags": cpu_flags(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cuda": torch.version.cuda,
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "commit": provenance.commit() or None,
        "load_at_start": round(LOAD_AT_START, 2),
    }


def cpu_flags() -> list[str]:
    """The processor's features that decide the speed of bf16 and wide vectors."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return []
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_tile")
    return [flag for flag in wanted if flag in flags]


def version(package: str) -> str | None:
    """The installed version of a package, or None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def write_result(name: str, result: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Writes `<name>-<date>.json` with the result, command line and machine; returns its path.

    The file appears only when it is complete.
    """
    record = {
        "benchmark": name,
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
        "machine": describe(),
        "result": result,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{portable_name(name)}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    write_atomically(path, (compact_json(record) + "\n").encode())
    return path


def compact_json(value: Any, indent: int = 0) -> str:
    """JSON with lines filled up to `WIDTH` columns, so that a long curve needs few lines.

    Args:
        value: JSON values.
        indent: spaces before the closing bracket.
    """
    flat = json.dumps(value)
    if not isinstance(value, dict | list) or len(flat) + indent <= WIDTH:
        return flat
    margin = " " * indent
    if isinstance(value, dict):
        opening = "{"
        closing = "}"
        lines = [f"{json.dumps(k)}: {compact_json(v, indent + 2)}" for k, v in value.items()]
    else:
        opening = "["
        closing = "]"
        lines = _filled([compact_json(item, indent + 2) for item in value], WIDTH - indent - 2)
    body = ",\n".join(f"{margin}  {line}" for line in lines)
    return f"{opening}\n{body}\n{margin}{closing}"


def _filled(items: list[str], width: int) -> list[str]:
    """Joins items into lines of at most `width` columns; an item of several lines stays alone."""
    lines: list[str] = []
    for item in items:
        line = f"{lines[-1]}, {item}" if lines else item
        if lines and "\n" not in line and len(line) < width:
            lines[-1] = line
        else:
            lines.append(item)
    return lines
