"""Devices, number formats and the process settings that make the core fast."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

import torch

from envs.errors import UserError


def resolve_device(name: str) -> torch.device:
    """`auto` is CUDA when there is a GPU; a UserError when CUDA was asked for and is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"--device cuda: torch {torch.__version__} sees no CUDA device; use cpu or auto"
        )
    return torch.device(name)


def cpu_multiplies_bf16() -> bool:
    """Whether this CPU has bf16 dot products; without them bf16 is slower than fp32."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype of matrix products: `auto` is bf16 on a CPU made for it, else float32."""
    if name == "auto":
        name = "bf16" if device.type == "cpu" and cpu_multiplies_bf16() else "fp32"
    return {"bf16": torch.bfloat16, "fp32": torch.float32}[name]


def cpu_name() -> str:
    """The processor's name and core count, as reports should state it."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return name


MAX_SHARDS = 4
"""Threads a batch is split over, at most: smaller shards use a core less well."""


def share_cores(num_threads: int) -> tuple[int, int]:
    """Shards of a CPU learner's batch and the threads of each, of `num_threads` (0: all cores)."""
    available = num_threads or os.cpu_count() or 1
    shards = min(MAX_SHARDS, available)
    return shards, available // shards


def tune_process(num_threads: int = 0) -> None:
    """Settings of the whole process, before the first tensor.

    glibc hands a block above 128 KiB back to the kernel as soon as it is freed, and each
    activation of a training step is faulted in again: a third of the step went to that.
    Keeping freed blocks costs the peak of one step.
    """
    torch.set_num_threads(share_cores(num_threads)[1])
    torch.set_float32_matmul_precision("high")
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3
    mallopt(mmap_threshold, 32 << 20)
    mallopt(trim_threshold, 512 << 20)
    mallopt(top_pad, 64 << 20)
