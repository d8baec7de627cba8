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

from agents import dqn
from agents.core import learner
from agents.core.batches import Batch
from agents.core.capture import EAGER_CALLS, Captured, tensors
from agents.core.types import Spaces


class Eager(Captured):
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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_repeats_what_a_cpu_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        on_cpu, on_gpu = (weights_after_8_steps(torch.device(name)) for name in ("cpu", "cuda"))
    finally:
        torch.set_float32_matmul_precision(before)
    for name in on_cpu:
        torch.testing.assert_close(on_gpu[name], on_cpu[name], rtol=1e-3, atol=1e-4)


def weights_after_8_steps(device: torch.device) -> dict[str, Tensor]:
    """Of double DQN, while the step size falls; a GPU repeats five of them."""
    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(1)
    spaces = Spaces(1, (4, 84, 84), torch.uint8, stack=4, num_actions=6, atari=True)
    agent = dqn.build(dqn.Config(double=True, precision="fp32", num_threads=1), spaces, device)
    for step in range(8):
        agent.learner.set_learning_rate(1e-3 * (1 - step / 8))
        batch = random_batch(generator, 32)
        given = {name: value.to(device) for name, value in tensors(batch).items()}
        metrics, values = agent.learner.update(agent.loss, replace(batch, **given))
        assert metrics["losses/loss"].isfinite()
        assert values["losses/td_error"].shape == (32,)
    return {name: weight.cpu() for name, weight in agent.learner.weights().items()}


def random_batch(generator: torch.Generator, size: int) -> Batch:
    obs = torch.randint(0, 256, (2, size, 4, 84, 84), generator=generator, dtype=torch.uint8)
    action_B = torch.randint(0, 6, (size,), generator=generator)
    reward_B, discount_B, weight_B = torch.rand(3, size, generator=generator)
    slot_B = torch.arange(size)
    return Batch(obs[0], action_B, reward_B, discount_B, obs[1], weight_B, slot_B)
