"""Where training's time goes: the main thread's wall clock, by phase, measured from outside.

Methods of an agent, its parts and its environments are wrapped for a turn, and are themselves again
after it: agents know nothing of it.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any
from unittest import mock

from torch import nn

from agents.core.system.device import resolve_device
from agents.core.training import off_policy
from agents.core.training.algorithms import algorithm
from agents.core.training.arguments import parse
from agents.core.training.trainers import OnlineTrainer
from benchmarks.contenders import Joystick
from benchmarks.workloads import NEVER
from envs import UserError, spec

ELSE = "everything else"

Point = tuple[str, Any, str]
"""A phase, an object or module, and the name of its function whose time is the phase's."""

END = object()


class Phases:
    """Seconds of the thread that made it, by phase: of phases within each other the innermost's.

    On a GPU they are the host's, which goes on while kernels run and waits in whichever phase needs
    what they compute.

    Args:
        mark: makes of a phase's name a context around each of its calls, for a profiler's trace.
        clock: seconds since any moment.
    """

    def __init__(
        self,
        mark: Callable[[str], AbstractContextManager[Any]] = nullcontext,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self.mark = mark
        self.clock = clock
        self.seconds: dict[str, float] = {}
        self._thread = threading.get_ident()
        self._open = [""]
        self._since = 0.0

    @property
    def shares(self) -> dict[str, float]:
        """Of all seconds, by phase, the largest first."""
        total = sum(self.seconds.values())
        largest_first = sorted(self.seconds.items(), key=lambda item: -item[1])
        return {name: seconds / total for name, seconds in largest_first}

    @contextmanager
    def attached(self, points: Iterable[Point]) -> Iterator[None]:
        """Inside it all time counts: in the functions of the points as theirs, else as `ELSE`."""
        with ExitStack() as stack:
            for phase, owner, name in points:
                self.seconds.setdefault(phase, 0.0)
                timed = self.timed(phase, getattr(owner, name))
                stack.enter_context(mock.patch.object(owner, name, timed))
            stack.enter_context(self.phase(ELSE))
            yield

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time inside it for this phase, without the phases inside it."""
        self._count(self._open[-1])
        self._open.append(name)
        try:
            with self.mark(name):
                yield
        finally:
            self._count(self._open.pop())

    def _count(self, phase: str) -> None:
        """The time since the last change of phase was this one's."""
        now = self.clock()
        if phase:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._since
        self._since = now

    def timed(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its calls counted as the phase's; of a generator each of its items."""

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            # A worker's time passes beside the main thread's, which waits for it.
            if threading.get_ident() != self._thread:
                return function(*args, **kwargs)
            with self.phase(phase):
                return function(*args, **kwargs)

        @functools.wraps(function)
        def iterate(*args: Any, **kwargs: Any) -> Iterator[Any]:
            items = function(*args, **kwargs)
            while True:
                with self.phase(phase):
                    item = next(items, END)
                if item is END:
                    return
                yield item

        return iterate if inspect.isgeneratorfunction(function) else call


def points(contender: Joystick) -> Iterator[Point]:
    """The phases of our agents, and what is timed for each.

    - emulator: handing actions over and waiting for what they led to, new tapes included;
    - waiting for learning: where that is beside acting, in a thread that is not measured here;
    - acting: choosing actions;
    - storing: keeping a step, or valuing what lies beyond a rollout's end, and emptying it;
    - sampling: drawing and gathering minibatches, of a rollout its advantages too;
    - forward, backward: an update, all waiting for its shards included;
    - optimizer: clipping gradients, and the optimizer's step;
    - priorities, target copies, validation: where an algorithm has them;
    - learning: what is none of these, and all of it where it is one CUDA graph.
    """
    agent = contender.agent
    trainer = contender.training.trainer
    if isinstance(trainer, OnlineTrainer):
        for env in trainer.envs:
            yield from (("emulator", env, name) for name in ("send", "recv"))
        if trainer.beside:
            yield "waiting for learning", trainer, "finish_learning"
        yield from (("acting", trainer.behavior, "act"), ("storing", agent, "observe"))
    else:
        yield from (("sampling", agent.batches, "draw"), ("validation", agent, "validate"))
    if hasattr(agent, "replay"):
        yield "sampling", agent.replay, "sample"
        yield "priorities", agent.replay, "update_priorities"
        yield "target copies", off_policy, "copy_weights"
    if hasattr(agent, "rollout"):
        yield "sampling", agent.rollout, "minibatches"
        yield "storing", agent.rollout, "clear"
    yield "learning", agent, "update"
    yield "forward, backward", agent.learner, "update"
    yield "optimizer", nn.utils, "clip_grad_norm_"
    yield "optimizer", agent.learner.parts["policy"].optimizer, "step"


def settings(algo: str, env_id: str, options: list[str]) -> Any:
    """The config that a command line of the algorithm asks for, without what interrupts training.

    Raises:
        UserError: for bad options, or those that go on from another run.
    """
    command = parse(algorithm(algo), ["--env", env_id, *options])
    config = command.config
    if command.resumed is not None or config.init_from:
        raise UserError("--resume and --init-from: a measurement begins with an agent of its own")
    spec(config.env_id)
    resolve_device(config.device)
    never = {"log_every_steps": NEVER, "checkpoint_every_steps": NEVER, "eval_every_steps": 0}
    if hasattr(config, "patience"):
        never["patience"] = 0
    return dataclasses.replace(config, **never)


def warm_up(contender: Joystick) -> None:
    """Train until updates are made as they will be from then on."""
    while contender.counts[1] == 0:
        contender.advance(1)
    # A GPU's update is recorded at its fourth call.
    contender.advance(4 * contender.config.batch_size)
