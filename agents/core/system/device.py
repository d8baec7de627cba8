"""Devices, number formats and the process settings that make the core fast."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import torch
from torch import Tensor

from agents.core.system import distributed
from envs.errors import DoesNotFit, UserError
from envs.machine import available_cores


def resolve_device(name: str) -> torch.device:
    """The device of that name; `auto` is CUDA where there is a GPU, else the CPU.

    Raises:
        UserError: the name is cuda and there is no GPU.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"--device cuda: torch {torch.__version__} sees no CUDA device; use cpu or auto"
        )
    return torch.device(name)


def bf16_pays(cpuinfo: str) -> bool:
    """Whether the CPU that `/proc/cpuinfo` describes multiplies bf16 faster than fp32.

    Tiles (AMX) do, and AMD's dot products. Intel's dot products do not: an Emerald Rapids whose
    tiles a hypervisor hides takes twice as long for a convolution as in fp32. A CPU that has
    neither emulates them, at a tenth of the speed (`benchmarks/README.md`).
    """
    return "amx_bf16" in cpuinfo or ("avx512_bf16" in cpuinfo and "AuthenticAMD" in cpuinfo)


def cpu_multiplies_bf16() -> bool:
    """Whether bf16 is the faster format on this machine's CPU."""
    try:
        return bf16_pays(Path("/proc/cpuinfo").read_text())
    except OSError:
        return False


def resolve_precision(name: str, device: torch.device, convolves: bool) -> torch.dtype:
    """The dtype of matrix products.

    `auto` is bf16 for convolutions on a CPU made for it, else float32: the default networks of
    control lose a fifth of their speed by casting, and the digits too.

    Args:
        name: auto, bf16 or fp32.
        convolves: the network has convolutions.
    """
    if name == "auto":
        pays = convolves and device.type == "cpu" and cpu_multiplies_bf16()
        name = "bf16" if pays else "fp32"
    return {"bf16": torch.bfloat16, "fp32": torch.float32}[name]


def to_device(array: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """Copy an array to a device without waiting. Nothing is copied if it is there already.

    A GPU reads from pinned memory, which torch reuses only after the GPU has read it.
    """
    tensor = torch.as_tensor(array)
    if device.type == "cuda" and tensor.device.type == "cpu":
        # Whatever its strides: from other memory than this a copy would be waited for.
        pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        tensor = pinned.copy_(tensor)
    return tensor.to(device, non_blocking=True)


def reserve(
    what: str, num_bytes: int, device: torch.device, remedy: Callable[[float], str]
) -> None:
    """Raise a UserError where `what` would not fit, with the remedy for the share that would."""
    cuda = device.type == "cuda"
    free = torch.cuda.mem_get_info(device)[0] if cuda else psutil.virtual_memory().available
    if num_bytes > 0.9 * free:
        raise DoesNotFit(
            f"{what} needs {num_bytes / 1e9:.1f} GB and {device.type} has {free / 1e9:.1f} GB "
            f"free; {remedy(0.9 * free / num_bytes)}"
        )


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


def cores(num_threads: int) -> int:
    """Cores to use when `num_threads` were asked for; 0 is this process's share of those allowed.

    The processes of a `torchrun` share the cores that each of them may run on.
    """
    return num_threads or max(1, available_cores() // distributed.local_size())


MAX_SHARDS = 4
"""The most shards of a batch."""

SHARD_SAMPLES = 32
"""The fewest samples of a shard."""

SHARD_THREADS = 4
"""The most threads that make a shard faster."""


def roles(num_threads: int, beside: bool) -> tuple[int, int]:
    """Cores that learn, and cores that act and emulate: half of them each, or all of them both.

    Args:
        num_threads: as `cores` takes it.
        beside: learning and acting overlap in time, which takes two cores.
    """
    available = cores(num_threads)
    others = available // 2 if beside else 0
    return available - others, others or available


def share_cores(available: int, batch_size: int) -> tuple[int, int]:
    """Shards of a convolutional network's batch on a CPU, and the threads of each.

    A shard has a thread of its own for its forward and backward pass. That uses cores better
    than sharing out each operation, once the shard is large enough to hide the interpreter.

    Args:
        available: cores that learn.
        batch_size: samples of an update.
    """
    shards = max(1, min(MAX_SHARDS, available, batch_size // SHARD_SAMPLES))
    return shards, min(SHARD_THREADS, available // shards)


def tune_numbers() -> None:
    """Torch's settings that numbers depend on, before the first tensor."""
    torch.set_float32_matmul_precision("high")
    # One until a learner takes more: LAPACK, which makes initial weights orthogonal, rounds
    # differently on another number of threads.
    torch.set_num_threads(1)


def tune_process() -> None:
    """Settings of the whole process, before the first tensor.

    glibc hands a block above 128 KiB back to the kernel as soon as it is freed, and each
    activation of a training step is faulted in again: a third of the step went to that.
    Keeping freed blocks costs the peak of one step.
    """
    tune_numbers()
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    trim_threshold = -1
    top_pad = -2
    mmap_threshold = -3
    mallopt(mmap_threshold, 32 << 20)
    mallopt(trim_threshold, 512 << 20)
    mallopt(top_pad, 64 << 20)


def return_freed_memory() -> None:
    """Hand the kernel what is freed, after work whose buffers a training step does not use.

    glibc keeps it under the settings of `tune_process`. Other systems do so by themselves.
    """
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
