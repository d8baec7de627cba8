"""Data parallelism over the ranks of `torchrun`; in a single process nothing is exchanged.

Each rank plays its share of the environments and holds the same weights. Gradients are summed over
ranks. An update therefore equals the update of a single process with all environments, up to
rounding.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import safetensors.torch
import torch
import torch.distributed as dist
from torch import Tensor

from agents.core.system.codec import join, split
from envs.errors import Failure, UserError

T = TypeVar("T")

PATIENCE = timedelta(hours=2)
"""How long ranks wait for one another, for example while rank 0 evaluates."""


class LostRank(Failure):
    """Another rank is gone, so ranks cannot exchange data any more."""


def rank() -> int:
    """The rank of this process; 0 in a single process."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def share(num_envs: int) -> slice:
    """The environments of this rank; raises a UserError if the ranks cannot share them evenly."""
    if num_envs % size():
        raise UserError(f"--num-envs {num_envs}: must be a multiple of the {size()} ranks")
    each = num_envs // size()
    return slice(rank() * each, (rank() + 1) * each)


def local_size() -> int:
    """The number of the processes that run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@contextmanager
def joined(device_type: str) -> Iterator[None]:
    """A context in which the processes of torchrun are connected.

    NCCL connects GPUs, and gloo connects CPUs. Each rank takes the GPU of its local rank.

    Raises:
        UserError: the machine has fewer GPUs than ranks.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    cuda = device_type == "cuda"
    if cuda and local_size() > torch.cuda.device_count():
        raise UserError(
            f"{local_size()} ranks need a GPU each, but this machine has "
            f"{torch.cuda.device_count()}; use --device cpu or fewer ranks"
        )
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    yield
    # Only at a clean end: after an error this would wait for the other ranks.
    dist.destroy_process_group()


def leave(code: int) -> None:
    """Ends a rank's process; returns in a process that trains alone.

    gloo's threads may still hold tensors. Freeing one while the interpreter shuts down aborts the
    process (https://github.com/pytorch/pytorch/pull/179291), so this skips the shutdown.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


@contextmanager
def leaving() -> Iterator[None]:
    """A context around all work of a rank; a SystemExit within it ends the process by `leave`."""
    try:
        yield
    except SystemExit as exit:
        leave(exit.code if isinstance(exit.code, int) else int(exit.code is not None))
        raise


@contextmanager
def lost_rank_named() -> Iterator[None]:
    """A context around an exchange; its RuntimeErrors become LostRank."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise LostRank(f"another rank is gone: {error}".splitlines()[0]) from None


def make_equal(tensors: list[Tensor]) -> None:
    """Copies the first rank's values to all ranks, in place: LAPACK may round differently."""
    if dist.is_initialized():
        with lost_rank_named():
            for tensor in tensors:
                dist.broadcast(tensor, src=0)


def sum_(tensors: list[Tensor]) -> None:
    """Sums each tensor over the ranks, in place, with one message for each dtype."""
    if not dist.is_initialized():
        return
    for dtype in {t.dtype: None for t in tensors}:
        group = [t for t in tensors if t.dtype == dtype]
        flat = torch.cat([t.reshape(-1) for t in group])
        with lost_rank_named():
            dist.all_reduce(flat)
        for tensor, total in zip(group, flat.split([t.numel() for t in group]), strict=True):
            tensor.copy_(total.view_as(tensor))


def columns(local: Tensor) -> Tensor:
    """Joins the ranks' tensors (..., n) in order of rank to (..., N)."""
    if not dist.is_initialized():
        return local
    parts = [torch.empty_like(local) for _ in range(size())]
    with lost_rank_named():
        dist.all_gather(parts, local.contiguous())
    return torch.cat(parts, dim=-1)


def largest(value: int, device: torch.device) -> int:
    """The largest of the ranks' values."""
    if not dist.is_initialized():
        return value
    tensor = torch.tensor(value, device=device)
    with lost_rank_named():
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return int(tensor.item())


def on_first_rank(do: Callable[[], T], device: torch.device) -> T | None:
    """Calls a function on the first rank; returns its result there, and None on the other ranks.

    If the function raises, the first rank raises its error, and the other ranks end silently.
    """
    made = None
    raised = None
    if rank() == 0:
        try:
            made = do()
        except Exception as error:
            raised = error
    if largest(int(raised is not None), device):
        if raised is None:
            _end_with_first_rank()
        else:
            raise raised
    return made


def _end_with_first_rank() -> None:
    """Waits until the first rank is gone, then ends silently."""
    # torchrun sends SIGTERM as soon as the first rank has ended.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with suppress(RuntimeError):
        dist.barrier()
    leave(2)


def gather(state: Any, device: torch.device) -> list[Any]:
    """The states of all ranks, in order, nested as `agents.core.system.codec.split` allows.

    States are sent as JSON and safetensors, because torch's gathering of objects unpickles.
    """
    if not dist.is_initialized():
        return [state]
    plain, tensors = split(state)
    text = json.dumps(plain).encode()
    packed = len(text).to_bytes(8, "little") + text + safetensors.torch.save(tensors)
    length = torch.tensor(len(packed), device=device)
    lengths = [torch.empty_like(length) for _ in range(size())]
    with lost_rank_named():
        dist.all_gather(lengths, length)
        longest = max(int(each) for each in lengths)
        padded = np.zeros(longest, np.uint8)
        padded[: len(packed)] = np.frombuffer(packed, np.uint8)
        mine = torch.from_numpy(padded).to(device)
        parts = [torch.empty_like(mine) for _ in range(size())]
        dist.all_gather(parts, mine)
    received = zip(parts, lengths, strict=True)
    return [_unpack(part[: int(each)].cpu().numpy().tobytes()) for part, each in received]


def _unpack(packed: bytes) -> Any:
    end = 8 + int.from_bytes(packed[:8], "little")
    return join(json.loads(packed[8:end]), safetensors.torch.load(packed[end:]))
