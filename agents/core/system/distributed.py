"""Data parallelism over the ranks of `torchrun`: every function is a no-op in a single process.

Each rank plays its share of the environments and holds the same weights. Sums over ranks make
an update the one that a single process would have made with all environments, up to rounding.
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
"""How long ranks wait for one another: rank 0 evaluates while the others do."""


class LostRank(Failure):
    """Another rank is gone, so that nothing can be added up any more."""


def rank() -> int:
    """This process's number, 0 in a single process."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def share(num_envs: int) -> slice:
    """The environments of this rank; a UserError when they cannot be shared out evenly."""
    if num_envs % size():
        raise UserError(f"--num-envs {num_envs}: must be a multiple of the {size()} ranks")
    each = num_envs // size()
    return slice(rank() * each, (rank() + 1) * each)


def local_size() -> int:
    """How many of the processes run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@contextmanager
def joined(device_type: str) -> Iterator[None]:
    """Inside it, the processes that torchrun started know one another.

    NCCL joins GPUs, of which each rank takes the one of its local number, and gloo joins CPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    cuda = device_type == "cuda"
    if cuda and local_size() > torch.cuda.device_count():
        raise UserError(
            f"{local_size()} ranks need a GPU each and {torch.cuda.device_count()} are here; "
            "use --device cpu or fewer ranks"
        )
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    yield
    # Only at a clean end: after an error the others are elsewhere, and would be waited for.
    dist.destroy_process_group()


def leave(code: int) -> None:
    """End a rank's process; return in a process that trains alone.

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
    """Around all that a rank does: where it exits, it leaves."""
    try:
        yield
    except SystemExit as exit:
        leave(exit.code if isinstance(exit.code, int) else int(exit.code is not None))
        raise


@contextmanager
def lost_rank_named() -> Iterator[None]:
    """Around an exchange: what fails in it is another rank."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise LostRank(f"another rank is gone: {error}".splitlines()[0]) from None


def make_equal(tensors: list[Tensor]) -> None:
    """Give every rank the first one's values, in place: LAPACK may round otherwise elsewhere."""
    if dist.is_initialized():
        with lost_rank_named():
            for tensor in tensors:
                dist.broadcast(tensor, src=0)


def sum_(tensors: list[Tensor]) -> None:
    """Add each tensor up over the ranks, in place, in one message for each dtype."""
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
    """The ranks' tensors (..., n), side by side in order of rank: (..., N)."""
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
    """What a function returns that only the first rank calls; None on the other ranks.

    Where it raises, the first rank alone says why: the other ranks end with it, in silence.
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
    """Wait until the first rank is gone, and end without a word."""
    # torchrun sends it as soon as the first rank has ended.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with suppress(RuntimeError):
        dist.barrier()
    leave(2)


def gather(state: Any, device: torch.device) -> list[Any]:
    """The states of all ranks, in order, nested as `agents.core.system.codec.split` allows.

    They travel as JSON and safetensors: torch's own gathering of objects would unpickle them.
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
