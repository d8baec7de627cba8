"""Devices, number formats, and settings of the process that make training fast."""

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
    """The device of a name; `auto` is CUDA if the machine has a GPU, else the CPU.

    Raises:
        UserError: the name is cuda and torch finds no GPU.
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

    Tiles (AMX) are faster, and so are AMD's dot products. Intel's dot products are slower: on an
    Emerald Rapids whose tiles a hypervisor hides, a convolution takes twice as long as in fp32. A
    CPU without both emulates bf16, at a tenth of the speed (`benchmarks/README.md`).
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

    `auto` is bf16 for convolutions on a CPU that multiplies bf16 faster, else float32. With bf16,
    the default networks of control would lose a fifth of their speed, and precision too.

    Args:
        name: auto, bf16 or fp32.
        convolves: whether the network has convolutions.
    """
    if name == "auto":
        pays = convolves and device.type == "cpu" and cpu_multiplies_bf16()
        name = "bf16" if pays else "fp32"
    return {"bf16": torch.bfloat16, "fp32": torch.float32}[name]


def to_device(array: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """Copies an array to a device without waiting; an array on the device is not copied.

    A GPU reads from pinned memory, which torch reuses only after the GPU has read it.
    """
    tensor = torch.as_tensor(array)
    if device.type == "cuda" and tensor.device.type == "cpu":
        # A copy from memory that is not pinned would wait. The pinned memory is contiguous,
        # whatever the strides of the tensor.
        pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        tensor = pinned.copy_(tensor)
    return tensor.to(device, non_blocking=True)


def reserve(
    what: str, num_bytes: int, device: torch.device, remedy: Callable[[float], str]
) -> None:
    """Raises a UserError if an object does not fit into a device's memory.

    Args:
        what: the object, in words.
        num_bytes: size of the object.
        remedy: makes the advice in the error, from the share of the object that would fit.
    """
    cuda = device.type == "cuda"
    free = torch.cuda.mem_get_info(device)[0] if cuda else psutil.virtual_memory().available
    if num_bytes > 0.9 * free:
        raise DoesNotFit(
            f"{what} needs {num_bytes / 1e9:.1f} GB and {device.type} has {free / 1e9:.1f} GB "
            f"free; {remedy(0.9 * free / num_bytes)}"
        )


def cpu_name() -> str:
    """The name of the processor."""
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
    """The number of cores to use: `num_threads`, or with 0 this process's share of the cores.

    The processes of a `torchrun` share the cores on which each may run.
    """
    return num_threads or max(1, available_cores() // distributed.local_size())


MAX_SHARDS = 4
"""The most shards of a batch."""

SHARD_SAMPLES = 32
"""The fewest samples of a shard."""

SHARD_THREADS = 4
"""The most threads of a shard; more threads do not make it faster."""


def roles(num_threads: int, beside: bool) -> tuple[int, int]:
    """The numbers of cores that learn and of cores that act and emulate.

    Args:
        num_threads: as in `cores`.
        beside: whether learning and acting overlap in time. Then each gets half of the cores, of
            which there must be two; else each gets all cores.
    """
    available = cores(num_threads)
    others = available // 2 if beside else 0
    return available - others, others or available


def share_cores(available: int, batch_size: int) -> tuple[int, int]:
    """The number of shards of a convolutional network's batch on a CPU, and of threads per shard.

    A shard has a thread of its own for its forward and backward pass. That uses cores better than
    splitting each operation, if the shard is large enough to hide the interpreter's time.

    Args:
        available: cores that learn.
        batch_size: samples in an update.
    """
    shards = max(1, min(MAX_SHARDS, available, batch_size // SHARD_SAMPLES))
    return shards, min(SHARD_THREADS, available // shards)


def tune_numbers() -> None:
    """Sets torch's settings on which results depend; call it before the first tensor."""
    torch.set_float32_matmul_precision("high")
    # One thread until a learner takes more. LAPACK, which makes initial weights orthogonal,
    # rounds differently with another number of threads.
    torch.set_num_threads(1)


def tune_process() -> None:
    """Sets the settings of the whole process; call it before the first tensor.

    By default, glibc returns a block above 128 KiB to the kernel when it is freed. Then each
    activation of a training step causes page faults, which took a third of the step. Here glibc
    keeps freed blocks, which costs the peak memory of one step.
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
    """Returns freed memory to the kernel, after work whose buffers a training step does not use.

    With the settings of `tune_process`, glibc keeps that memory. Other systems return it
    themselves.
    """
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
