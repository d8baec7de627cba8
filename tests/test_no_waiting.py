"""Nothing in a step waits for the device, but for the actions that the environments need.

Without a GPU that is shown on the `meta` device, whose tensors have no values: whoever asked for
one, or for a shape that depends on one, would raise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import ALGORITHMS, KINDS, OFF_POLICY, module_of, slow_where, summing, tiny
from support.learners import make_algorithm
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import envs
from agents.core.optimize import learner
from agents.core.training.algorithms import algorithm
from agents.core.training.arguments import parse
from agents.core.training.env_group import EnvGroup
from agents.core.types.env_rng import EnvRng
from agents.core.types.spaces import Spaces
from agents.core.types.step import PolicyInputs, Step

ENVS = 8
ONLINE = [algo for algo in ALGORITHMS if algorithm(module_of(algo)).TRAINER == "online"]
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


class NoWaiting(TorchDispatchMode):
    """Raises where an operation would copy between devices and wait until that is done.

    Attributes:
        pixels: how many were copied from host to device, in images.
    """

    pixels = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        leaves = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        devices = {each.device.type for each in leaves if each.ndim or each.device.type != "cpu"}
        if func is torch.ops.aten._to_copy.default and kwargs.get("device") is not None:
            devices.add(torch.device(kwargs["device"]).type)
            if kwargs.get("non_blocking"):
                if args[0].dtype == torch.uint8 and args[0].ndim > 2:
                    self.pixels += args[0].numel()
                return func(*args, **kwargs)
        assert len(devices) <= 1, f"{func} waits: {devices}"
        return func(*args, **kwargs)


def algorithm_on(algo: str, device: torch.device) -> Any:
    module = algorithm(module_of(algo))
    flags = [*tiny(algo, "Pong"), "--num-threads", "1"]
    if module_of(algo) in OFF_POLICY:
        flags += ["--samples-per-step", "2", *summing(algo, "10")]
    config = parse(module, flags).config
    spaces = Spaces(ENVS, (4, 84, 84), torch.uint8, stack=4, num_actions=6, atari=True)
    return make_algorithm(module, config, spaces, device)


def life(learning: Any, steps: int) -> dict[str, Tensor]:
    """Acts, observes and learns; returns the last that was learned."""
    chance = np.random.default_rng(0)
    rng = EnvRng(1, ENVS)
    learned: dict[str, Tensor] = {}
    policy = learning.policy
    state = policy.initial_state(ENVS)
    began_N = np.ones(ENVS, bool)
    reward_N = np.zeros(ENVS, np.float32)
    obs = chance.integers(0, 256, (ENVS, 4, 84, 84), np.uint8)
    for t in range(1, steps + 1):
        previous_N = policy.spaces.remembered_none(ENVS)
        inputs = PolicyInputs(obs, reward_N, began_N, None, previous_N)
        output = policy.act(inputs, state, rng, 0.5)
        ends = chance.random((3, ENVS)) < 0.05
        reward_N = chance.standard_normal(ENVS).astype(np.float32)
        final_obs, next_obs = chance.integers(0, 256, (2, *obs.shape), np.uint8)
        step = Step(
            obs=obs,
            action_N=np.zeros(ENVS, np.int64),
            reward_N=reward_N,
            terminated_N=ends[0],
            truncated_N=ends[1] & ~ends[0],
            life_lost_N=ends[2],
            final_obs=final_obs,
            next_obs=next_obs,
            next_state=output.state,
            extras=output.extras,
            rows=slice(ENVS),
        )
        learning.observe(step)
        obs = next_obs
        state = output.state
        began_N = step.terminated_N | step.truncated_N
        if t % learning.horizon_steps == 0:
            learned = learning.update() or learned
    return learned


@pytest.mark.parametrize("algo", slow_where(lambda algo: algo not in (*KINDS, "pqn"), ONLINE))
def test_only_the_actions_are_waited_for(algo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []

    def cpu(tensor: Tensor) -> Tensor:
        fetched.append(tensor.shape)
        return torch.zeros(tensor.shape, dtype=tensor.dtype)

    # What works on all parameters in one kernel knows no meta tensors.
    def plain(parameters: Any, *settings: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=settings[0], foreach=False)

    clip = nn.utils.clip_grad_norm_
    monkeypatch.setattr(Tensor, "cpu", cpu)
    monkeypatch.setattr(learner, "OPTIMIZERS", dict.fromkeys(learner.OPTIMIZERS, plain))
    one_by_one = lambda parameters, norm, foreach: clip(parameters, norm, foreach=False)  # noqa: E731
    monkeypatch.setattr(nn.utils, "clip_grad_norm_", one_by_one)
    learning = algorithm_on(algo, torch.device("meta"))
    with NoWaiting():
        learned = life(learning, steps=32)
    assert learned["losses/loss"].is_meta
    assert len(fetched) == 32


@pytest.mark.parametrize("algo", ["dqn", "ppo"])
def test_of_each_environment_one_frame_travels_a_step(
    algo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tensor, "cpu", lambda tensor: torch.zeros(tensor.shape, dtype=tensor.dtype))
    learning = algorithm_on(algo, torch.device("meta"))
    env = envs.make("Pong", ENVS)
    group = EnvGroup(learning.policy, env, EnvRng(1, ENVS))
    group.reset()
    with NoWaiting() as watch:
        # One less than a rollout, at whose end what lies beyond it is valued.
        for _ in range(7):
            group.send(0.5)
            step, _ = group.recv()
            learning.observe(step)
            assert isinstance(step.next_obs, Tensor)
            assert step.next_obs.is_meta
    env.close()
    assert watch.pixels == 7 * ENVS * 84 * 84


@CUDA
@pytest.mark.parametrize("algo", ONLINE)
def test_on_a_gpu_only_the_actions_are_waited_for(
    algo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_host = Tensor.cpu

    def cpu(tensor: Tensor) -> Tensor:
        torch.cuda.set_sync_debug_mode("default")
        try:
            return to_host(tensor)
        finally:
            torch.cuda.set_sync_debug_mode("error")

    learning = algorithm_on(algo, torch.device("cuda"))
    life(learning, steps=32)  # Libraries set themselves up, and the update is recorded.
    monkeypatch.setattr(Tensor, "cpu", cpu)
    torch.cuda.set_sync_debug_mode("error")
    try:
        learned = life(learning, steps=24)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert learned["losses/loss"].isfinite()
