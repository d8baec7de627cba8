"""CUDA graphs: the kernels of a function, recorded once and launched together from then on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from agents.core.batches import tensors

EAGER_CALLS = 3
"""Calls before the recording, in which libraries allocate and choose their kernels."""


class Captured:
    """A function of a minibatch on a GPU, recorded at its fourth call and then repeated.

    A repetition costs one launch instead of hundreds, and computes in the same memory: what the
    function returned is overwritten by the next call. All that is not a tensor is as it was when it
    was recorded, so that what changes (a step size, a clipping range) must be a tensor that is
    written in place; and the function must never wait for the device.

    Args:
        function: of minibatches of one shape, dataclasses with tensors; returns tensors.
        captures: without it, this is the function itself.
    """

    def __init__(self, function: Callable[[Any], Any], captures: bool):
        self.function, self.captures = function, captures
        self.calls = 0

    def __call__(self, batch: Any) -> Any:
        self.calls += 1
        if not self.captures or self.calls <= EAGER_CALLS:
            return self.function(batch)
        if self.calls == EAGER_CALLS + 1:
            self.record(batch)
        for mine, given in zip(tensors(self.batch).values(), tensors(batch).values(), strict=True):
            mine.copy_(given, non_blocking=True)
        self.graph.replay()
        return self.result

    def record(self, batch: Any) -> None:
        """Record the kernels of a call; nothing is computed."""
        self.batch = replace(batch, **{n: t.clone() for n, t in tensors(batch).items()})
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.result = self.function(self.batch)
