"""Runs networks on a device, in a number format, on cores that share the work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from agents.core.system import distributed
from agents.core.system.cuda_graphs import GraphedFunction, signature
from agents.core.system.device import resolve_precision, roles, share_cores

INFERENCE_ROWS = 16
"""Fewest observations for a core of their own; fewer take less time than waking the core."""

R = TypeVar("R")


class ComputeConfig(Protocol):
    """The settings that decide how a network runs."""

    @property
    def precision(self) -> str: ...
    @property
    def num_threads(self) -> int: ...
    @property
    def overlap_learning(self) -> bool: ...
    @property
    def batch_size(self) -> int: ...


class Compute:
    """Runs a network's forward and backward passes.

    The thread pool starts when work is split for the first time. A policy that plays only a few
    games never starts it.

    Attributes:
        precision: dtype of matrix products. Parameters stay float32.
        shards: parts of a large batch, each with a thread of its own.
        threads_per_shard: threads of each part's operations.
    """

    def __init__(
        self,
        device: torch.device,
        precision: torch.dtype = torch.float32,
        shards: int = 1,
        threads_per_shard: int = 1,
    ):
        self.device = device
        self.precision = precision
        self.shards = shards
        self.threads_per_shard = threads_per_shard
        self._graphed: dict[tuple[Any, ...], GraphedFunction] = {}

    @classmethod
    def of(cls, network: nn.Module, config: ComputeConfig, device: torch.device) -> Compute:
        """Makes the compute of a config. It also sets the threads of torch's own operations.

        Threads pay off for convolutions. A small MLP takes less time than waking the threads.
        """
        convolves = any(isinstance(module, nn.Conv2d) for module in network.modules())
        learning, _ = roles(config.num_threads, config.overlap_learning)
        wide = device.type == "cpu" and convolves
        shards, threads = share_cores(learning, config.batch_size) if wide else (1, 1)
        torch.set_num_threads(threads)
        return cls(device, resolve_precision(config.precision, device, convolves), shards, threads)

    @cached_property
    def _workers(self) -> ThreadPoolExecutor:
        # Enough threads for acting too, in case learning overlaps with it.
        count = max(1, 2 * self.shards - 2)
        threads = (self.threads_per_shard,)
        return ThreadPoolExecutor(count, "compute", torch.set_num_threads, threads)

    def autocast(self) -> AbstractContextManager[Any]:
        """A context in which matrix products run in `precision`.

        Torch has one cache of cast weights for all threads. The order in which threads fill and
        empty it would change the rounding of gradients. So the cache is off, and each use casts.
        """
        if self.precision == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.precision, cache_enabled=False)

    def graphed(self, function: Callable[..., R], *given: Any) -> R:
        """Calls a function; on a GPU, as one CUDA graph for each signature of its arguments.

        The function must meet the conditions of `GraphedFunction`. Ranks that exchange gradients
        use no graph. The next call may overwrite the result.
        """
        key = (function, *(signature(each) for each in given))
        if key not in self._graphed:
            alone = self.device.type == "cuda" and distributed.size() == 1
            self._graphed[key] = GraphedFunction(function, captures=alone)
        return self._graphed[key](*given)

    def forget_graphs(self) -> None:
        """Drops all captured graphs; call it when tensors are replaced, to which graphs point."""
        self._graphed.clear()

    def shared(self, function: Callable[..., R], parts: Sequence[tuple[Any, ...]]) -> list[R]:
        """The results of a function for the arguments of each part, in order, one thread a part."""
        rest = [self._workers.submit(function, *part) for part in parts[1:]]
        first = function(*parts[0])
        return [first, *(future.result() for future in rest)]

    def infer(self, forward: Callable[..., R], *inputs: Tensor) -> list[R]:
        """The results of `forward` for inputs (N, ...), without gradients, as parts in order.

        On a CPU the cores share the rows of a convolutional network's inputs. On a GPU the next
        call may overwrite the result.
        """
        shards = max(1, min(self.shards, len(inputs[0]) // INFERENCE_ROWS))
        parts = list(zip(*(each.tensor_split(shards) for each in inputs), strict=True))
        if shards == 1:
            return [self.graphed(self._forward, forward, *parts[0])]
        return self.shared(self._forward, [(forward, *part) for part in parts])

    def _forward(self, forward: Callable[..., R], *inputs: Tensor) -> R:
        # Both settings apply only to the present thread.
        with torch.no_grad(), self.autocast():
            return forward(*inputs)
