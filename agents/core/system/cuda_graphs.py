"""CUDA graphs: the kernels of a function, recorded once and launched together from then on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from agents.core.types.batches import tensors

EAGER_CALLS = 3
"""Calls before the recording, in which libraries allocate and choose their kernels."""


class GraphedFunction:
    """A function of tensors on a GPU, recorded at its fourth call and then repeated.

    A repetition costs one launch instead of hundreds, and computes in the same memory: what the
    function returned is overwritten by the next call. All that is not a tensor is as it was when it
    was recorded, so that what changes (a step size, a clipping range) must be a tensor that is
    written in place; and the function must never wait for the device. Called within another
    recording it becomes a part of that.

    Args:
        function: of tensors, dataclasses with tensors and what else it needs, of the same shapes
            each time; returns tensors.
        captures: without it, this is the function itself.
    """

    def __init__(self, function: Callable[..., Any], captures: bool):
        self.function, self.captures = function, captures
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
        """Record the kernels of a call; nothing is computed."""
        self.given = tuple(copied(each) for each in given)
        graph = torch.cuda.CUDAGraph()
        # Other threads, which bring the next minibatch, go on meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self.result = self.function(*self.given)
        return graph


def leaves(given: Iterable[Any]) -> list[Tensor]:
    """The tensors among them, and those of the dataclasses among them."""
    return [leaf for each in given for leaf in named(each).values()]


def signature(given: Any) -> Any:
    """The shape of a tensor, and of what else was given all that a recording cannot change."""
    if isinstance(given, Tensor):
        return given.shape
    fields = vars(given).values() if named(given) else []
    return tuple(signature(value) for value in fields) or given


def copied(given: Any) -> Any:
    """The same with tensors of its own."""
    copies = {name: tensor.clone() for name, tensor in named(given).items()}
    if isinstance(given, Tensor):
        return copies[""]
    return replace(given, **copies) if copies else given


def named(given: Any) -> dict[str, Tensor]:
    """The tensors of a dataclass by name; a tensor has none."""
    if isinstance(given, Tensor):
        return {"": given}
    return tensors(given) if is_dataclass(given) else {}
