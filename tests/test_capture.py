"""Recorded steps: what a GPU repeats must do what the function does. The recording is imitated on a
CPU by a trace, which freezes the same things: control flow, numbers and the tensors it works on."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ALGORITHMS, TINY, run_tiny
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from agents.core import learner
from agents.core.capture import EAGER_CALLS, Captured, tensors


class Eager(Captured[Any, Any]):
    """Calls the function each time, with a step size that is a tensor, as a recording needs."""

    def __call__(self, batch: Any) -> Any:
        self.calls += 1
        assert isinstance(self.function, partial)
        owner: Any = self.function.func.__self__  # pyright: ignore[reportFunctionMemberAccess]
        group = owner.optimiser.param_groups[0]
        group["lr"] = torch.as_tensor(group["lr"])
        return self.again(batch) if self.calls > EAGER_CALLS else self.function(batch)

    def again(self, batch: Any) -> Any:
        return self.function(batch)


class Traced(Eager):
    """Repeats the operations of its fourth call, as a CUDA graph repeats kernels."""

    repeated = 0

    def again(self, batch: Any) -> Any:
        if self.calls > EAGER_CALLS + 1:
            Traced.repeated += 1
            return self.trace(*tensors(batch).values())
        names = tensors(batch)

        def of_tensors(*given: Tensor) -> Any:
            self.result = self.function(replace(batch, **dict(zip(names, given, strict=True))))
            return self.result

        # Unlike that of a CUDA graph, this recording computes.
        self.trace = make_fx(of_tensors)(*names.values())
        return self.result


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_repeated_step_freezes_nothing_that_changes(
    tmp_path: Path, algo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ["--env", "toy/Catch-v0", "--total-steps", "400", "--learning-rate", "0.01"]
    if "--horizon-steps" in TINY[algo]:
        settings += ["--anneal-steps", "400"]
    if algo.startswith("ppo"):
        settings += ["--clip-end", "0.01"]

    def weights(steps: type[Eager]) -> dict[str, Tensor]:
        monkeypatch.setattr(learner, "Captured", steps)
        return run_tiny(tmp_path, algo, *settings).weights("last")[0]

    eager = weights(Eager)
    monkeypatch.setattr(Traced, "repeated", 0)
    repeated = weights(Traced)
    assert Traced.repeated > 2
    for name in eager:
        assert torch.equal(repeated[name], eager[name]), name
