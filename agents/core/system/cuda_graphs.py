"""CUDA graphs: the kernels of a function, recorded once and then launched together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from agents.core.types.batches import tensors

EAGER_CALLS = 3
"""Calls before the recording; in them, libraries allocate memory and choose their kernels."""


class GraphedFunction:
    """A function of tensors on a GPU, recorded at its fourth call and then replayed.

    A replay costs one launch instead of hundreds. It computes in the same memory, so the next call
    overwrites the result. The recording fixes every value that is not a tensor. A value that
    changes (a step size, a clipping range) must be a tensor that is written in place. The function
    must never wait for the device. Inside another recording, the call becomes a part of it.

    Args:
        function: a function of tensors, dataclasses with tensors, and other values. Its tensors
            have the same shapes in each call. It returns tensors.
        captures: whether to record; if False, each call is a plain call of the function.
    """

    def __init__(self, function: Callable[..., Any], captures: bool):
        self.function = function
        self.captures = captures
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, *given: Any) -> Any:
        self.calls += 1
        within = self.captures and torch.cuda.is_current_stream_capturing()
        if not self.captures or within or self.calls <= EAGER_CALLS:
            return self.function(*given)
        if self.graph is None:
            self.graph = self.record(given)
        for mine, theirs in zip(leaves(self.given), leaves(given), strict=True):
            mine.copy_(theirs, non_blocking=True)
        self.graph.replay()
        return self.result

    def record(self, given: tuple[Any, ...]) -> torch.cuda.CUDAGraph:
        """Records the kernels of a call; computes nothing."""
        self.given = tuple(copied(each) for each in given)
        graph = torch.cuda.CUDAGraph()
        # Other threads, which prepare the next minibatch, may use the GPU meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self.result = self.function(*self.given)
        return graph


def leaves(given: Iterable[Any]) -> list[Tensor]:
    """All tensors among the arguments and in dataclasses among them."""
    return [leaf for each in given for leaf in named(each).values()]


def signature(given: Any) -> Any:
    """The part of an argument that a recording fixes: a tensor's shape, or the value itself."""
    if isinstance(given, Tensor):
        return given.shape
    fields = vars(given).values() if named(given) else []
    return tuple(signature(value) for value in fields) or given


def copied(given: Any) -> Any:
    """A copy of an argument that shares no tensor with it."""
    copies = {name: tensor.clone() for name, tensor in named(given).items()}
    if isinstance(given, Tensor):
        return copies[""]
    return replace(given, **copies) if copies else given


def named(given: Any) -> dict[str, Tensor]:
    """The tensors of a dataclass by name; a tensor alone has the name ""."""
    if isinstance(given, Tensor):
        return {"": given}
    return tensors(given) if is_dataclass(given) else {}
