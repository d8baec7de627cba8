"""Recorded steps: what a GPU repeats must do what the function does. The recording is imitated on a
CPU by a trace, which freezes the same things: control flow, numbers and the tensors it works on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import OFF_POLICY, module_of, on_each, run_tiny, summing
from support.learners import make_algorithm
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import register_dataclass, tree_leaves

from agents import dqn
from agents.core.nets.distributions import Categorical, DiagonalGaussian
from agents.core.optimize.learner import Learner
from agents.core.system import compute
from agents.core.system.cuda_graphs import EAGER_CALLS, GraphedFunction, leaves, named
from agents.core.types.batches import Batch, tensors
from agents.core.types.spaces import Spaces
from agents.core.types.step import Step

for policy in (Categorical, DiagonalGaussian):
    register_dataclass(policy)


class Eager(GraphedFunction):
    """Calls the function each time, with a step size that is a tensor, as a recording needs."""

    def __call__(self, *given: Any) -> Any:
        self.calls += 1
        owner: Any = self.function.__self__  # pyright: ignore[reportFunctionMemberAccess]
        if isinstance(owner, Learner):
            for part in owner.parts.values():
                group = part.optimizer.param_groups[0]
                group["lr"] = torch.as_tensor(group["lr"])
        return self.again(given) if self.calls > EAGER_CALLS else self.function(*given)

    def again(self, given: tuple[Any, ...]) -> Any:
        return self.function(*given)


class Traced(Eager):
    """Repeats the operations of its fourth call, as a CUDA graph repeats kernels: what it returned
    is overwritten."""

    repeated: Counter[str] = Counter()

    def again(self, given: tuple[Any, ...]) -> Any:
        if self.calls > EAGER_CALLS + 1:
            Traced.repeated[self.function.__name__] += 1
            again = self.trace(*leaves(given))
            # As kernels would: autograd sees nothing of it.
            for mine, theirs in zip(tensors_of(self.result), again, strict=True):
                mine.data.copy_(theirs)
            return self.result

        def of_tensors(*tensors: Tensor) -> list[Tensor]:
            self.result = self.function(*with_leaves(given, tensors))
            return tensors_of(self.result)

        # Unlike that of a CUDA graph, this recording computes.
        self.trace = make_fx(of_tensors)(*leaves(given))
        return self.result


def tensors_of(result: Any) -> list[Tensor]:
    """The tensors in what a function returned, beside names and None."""
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]


def with_leaves(given: tuple[Any, ...], tensors: tuple[Tensor, ...]) -> tuple[Any, ...]:
    """What was given, with other tensors."""
    rest = iter(tensors)
    changed = [{name: next(rest) for name in named(each)} for each in given]
    return tuple(
        names.get("", each) if not names or "" in names else replace(each, **names)
        for each, names in zip(given, changed, strict=True)
    )


@pytest.mark.parametrize(
    ("algo", "precision"),
    [
        # Torch traces each step of a sequence, which takes time.
        *on_each("fp32", quick=("a2c", "bc", "dqn", "pqn", "reinforce", "sac")),
        *(("dqn", "bf16"), ("ppo-lstm", "bf16")),
    ],
)
def test_a_repeated_step_freezes_nothing_that_changes(
    tmp_path: Path, algo: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ["--env", "toy/Catch-v0", "--total-steps", "400", "--learning-rate", "0.01"]
    settings += ["--precision", precision]
    if algo.startswith("ppo"):
        settings += ["--clip", "0.1..0.01"]
    if algo.startswith("pqn"):
        # On a CPU, torch's RAdam reads its number of steps on the host.
        settings += ["--optimizer", "adam"]
    if module_of(algo) in OFF_POLICY:
        # Two updates at a time, and one where the target is copied between them.
        settings += ["--total-steps", "160", "--num-envs", "4", "--samples-per-step", "4"]
        settings += ["--target-every-updates", "7", *summing(algo, "5..1")]

    def weights(steps: type[Eager]) -> dict[str, Tensor]:
        monkeypatch.setattr(compute, "GraphedFunction", steps)
        return run_tiny(tmp_path, algo, *settings).weights("last")[0]

    eager = weights(Eager)
    Traced.repeated.clear()
    repeated = weights(Traced)
    assert Traced.repeated["_fit" if module_of(algo) in OFF_POLICY else "_step"] > 2
    assert algo == "bc" or Traced.repeated["_forward"] > 2
    for name in eager:
        assert torch.equal(repeated[name], eager[name]), name


def weights_after_8_steps(device: torch.device) -> dict[str, Tensor]:
    """Of double DQN, while the step size falls; a GPU repeats five of them."""
    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(1)
    spaces = Spaces(1, (4, 84, 84), torch.uint8, stack=4, num_actions=6, atari=True)
    config = dqn.Config(double=True, precision="fp32", num_threads=1, buffer_size=1_000)
    learning = make_algorithm(dqn, config, spaces, device)
    for step in range(8):
        learning.learner.set_learning_rate(1e-3 * (1 - step / 8))
        batch = random_batch(generator, 32)
        given = {name: value.to(device) for name, value in tensors(batch).items()}
        metrics, priority_B = learning.learner.update(learning.loss, replace(batch, **given))
        assert metrics["losses/loss"].isfinite()
        assert priority_B.shape == (32,)
    return {name: weight.cpu() for name, weight in learning.policy.weights().items()}


def weights_after_a_life(device: torch.device) -> dict[str, Tensor]:
    """Of DQN on a replay of 200 random steps, drawn from evenly, two updates at a time."""
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    spaces = Spaces(4, (4, 84, 84), torch.uint8, stack=4, num_actions=6, atari=True)
    config = dqn.Config(
        num_envs=4,
        batch_size=32,
        samples_per_step=16.0,
        buffer_size=1_000,
        learning_starts_steps=100,
        priority_exponent=0.0,
        target_every_updates=7,
        precision="fp32",
        num_threads=1,
    )
    learning = make_algorithm(dqn, config, spaces, device)
    for _ in range(50):
        terminated_N = rng.random(4) < 0.05
        obs, final_obs = rng.integers(0, 256, (2, 4, 4, 84, 84), np.uint8)
        reward_N = rng.standard_normal(4).astype(np.float32)
        never_N = np.zeros(4, bool)
        action_N = rng.integers(0, 6, 4)
        learning.observe(Step(obs, action_N, reward_N, terminated_N, never_N, never_N, final_obs))
        learning.update()
    assert learning.updates > 40
    return {name: weight.cpu() for name, weight in learning.policy.weights().items()}


def random_batch(generator: torch.Generator, size: int) -> Batch:
    obs = torch.randint(0, 256, (2, size, 4, 84, 84), generator=generator, dtype=torch.uint8)
    action_B = torch.randint(0, 6, (size,), generator=generator)
    reward_B, discount_B, weight_B = torch.rand(3, size, generator=generator)
    slot_B = torch.arange(size)
    return Batch(obs[0], action_B, reward_B, discount_B, obs[1], weight_B, slot_B)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("weights_on", [weights_after_8_steps, weights_after_a_life])
def test_a_gpu_repeats_what_a_cpu_computes(
    weights_on: Callable[[torch.device], dict[str, Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        on_cpu, on_gpu = (weights_on(torch.device(name)) for name in ("cpu", "cuda"))
    finally:
        torch.set_float32_matmul_precision(before)
    for name in on_cpu:
        torch.testing.assert_close(on_gpu[name], on_cpu[name], rtol=1e-3, atol=1e-4)
