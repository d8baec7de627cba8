"""The contenders of a benchmark: our agent, and its upper bounds, which only learn or only act."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from agents.core.logging.reporter import SilentReporter
from agents.core.system.device import resolve_device, tune_process
from agents.core.training.algorithms import algorithm
from agents.core.training.building import spaces_of
from agents.core.training.loop import Training
from agents.core.training.off_policy import ReplayAlgorithm
from agents.core.training.trainers import trainer_of
from benchmarks.workloads import workload
from envs import spec

T = TypeVar("T")


class Contender(Protocol):
    """An agent in training, whose speed is measured."""

    @property
    def about(self) -> dict[str, Any]:
        """The facts that distinguish it, as JSON values."""
        ...

    @property
    def counts(self) -> tuple[int, int]:
        """Its environment steps and its updates so far."""
        ...

    def advance(self, steps: int) -> float:
        """Trains for at least so many steps; returns the seconds that this takes."""
        ...


class UpdateCounter:
    """Counts the updates of an optimizer or the calls of a function."""

    def __init__(self) -> None:
        self.updates = 0

    def add(self, *call: object) -> None:
        """Counts one update; serves as a hook of an optimizer."""
        self.updates += 1

    def counting(self, update: Callable[..., T]) -> Callable[..., T]:
        """Wraps a function to count its calls, because a CUDA graph calls no optimizer's hook."""

        def counted(*args: Any) -> T:
            self.add()
            return update(*args)

        return counted


class Joystick:
    """Our agent in its own training loop, without evaluations, checkpoints and logs."""

    def __init__(self, algo: str, config: Any):
        tune_process()
        torch.manual_seed(config.seed)
        self.config = config
        env = spec(config.env_id)
        spaces = spaces_of(env, config.num_envs)
        module = algorithm(algo)
        policy = module.make_policy(config, spaces, resolve_device(config.device))
        self.agent: Any = module.make_algorithm(config, policy)
        self.counter = UpdateCounter()
        self.agent.learner.update = self.counter.counting(self.agent.learner.update)
        trainer = trainer_of(module).make(self.agent, env, config, run=None)
        self.training = Training(self.agent, env, trainer, config, run=None)

    @property
    def about(self) -> dict[str, Any]:
        compute = self.agent.policy.compute
        precision = str(compute.precision).removeprefix("torch.")
        return {"precision": precision, "device": compute.device.type}

    @property
    def counts(self) -> tuple[int, int]:
        # Only the agent counts the updates inside one CUDA graph.
        return self.training.step, getattr(self.agent, "updates", self.counter.updates)

    def advance(self, steps: int) -> float:
        total_steps = self.training.step + steps
        self.training.config = dataclasses.replace(self.config, total_steps=total_steps)
        start = time.perf_counter()
        # Training ends with a copy of the mean losses to the host, so the GPU has no work left.
        self.training.train(SilentReporter())
        return time.perf_counter() - start


def acting(algo: str, config: Any) -> Joystick:
    """Our agent in the same loop, which only acts: it neither stores nor learns anything."""
    contender = Joystick(algo, config)
    contender.agent.observe = lambda step: None
    contender.agent.update = dict
    return contender


def plain_update(agent: Any, batch: Any) -> Callable[[], object]:
    """The optimization step of a tutorial, with all cores on each operation."""
    compute = agent.policy.compute
    part = agent.learner.parts["policy"]
    torch.set_num_threads(compute.shards * compute.threads_per_shard)

    def update() -> None:
        with compute.autocast():
            loss_B = agent.loss(batch).loss
        part.optimizer.zero_grad()
        loss_B.mean().backward()
        nn.utils.clip_grad_norm_(part.parameters, part.max_grad_norm)
        part.optimizer.step()

    return update


def learner_update(agent: Any, batch: Any) -> Callable[[], object]:
    """The update of our agent, whose learner splits the batch between the cores."""
    if isinstance(agent, ReplayAlgorithm):
        return partial(agent.improve, batch)
    return partial(agent.learner.update, agent.loss, batch)


class TrainingLimit:
    """Our network, loss and optimizer on one fixed batch, without emulator, memory or logging.

    An agent that learns in this way, and acts in between, cannot be faster.
    """

    def __init__(self, algo: str, config: Any, how: Callable[[Any, Any], Callable[[], object]]):
        self.contender = Joystick(algo, config)
        work = workload(algo)
        while self.contender.counts[1] == 0:
            self.contender.advance(1)
        agent = self.contender.agent
        # The learning rate is 0, because thousands of updates on one batch would diverge.
        agent.learner.set_learning_rate(0.0)
        self.update = how(agent, work.batch(agent))
        self.device = agent.policy.device
        self.steps_per_update = config.batch_size / work.samples_per_step(config)
        self.updates = 0

    @property
    def about(self) -> dict[str, Any]:
        return self.contender.about

    @property
    def counts(self) -> tuple[int, int]:
        return round(self.updates * self.steps_per_update), self.updates

    def advance(self, steps: int) -> float:
        start = time.perf_counter()
        for _ in range(-int(-steps // self.steps_per_update)):
            self.update()
            self.updates += 1
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - start


CONTENDERS: dict[str, Callable[[str, Any], Contender]] = {
    "joystick": Joystick,
    "limit": partial(TrainingLimit, how=plain_update),
    "learner": partial(TrainingLimit, how=learner_update),
    "acting": acting,
}
