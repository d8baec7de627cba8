"""Measures how the main thread's wall-clock time splits into phases of training.

Methods of an agent, its parts and its environments are wrapped during a turn and restored after it.
So agents need no code for this.
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
from agents.core.training.algorithms import algorithm
from agents.core.training.arguments import parse
from agents.core.training.rounds import RoundsTrainer
from agents.core.training.trainers import OnlineTrainer
from benchmarks.contenders import Joystick
from benchmarks.workloads import NEVER
from envs import UserError, spec

ELSE = "everything else"

Point = tuple[str, Any, str]
"""A phase, an object or module, and the name of its function whose time counts for the phase."""

END = object()


class Phases:
    """The seconds of one thread by phase; nested phases count for the innermost one.

    With a GPU they are the seconds of the host, which continues while kernels run. The host waits
    in the phase that needs their results.

    Args:
        mark: makes a context from a phase's name, around each call, for a profiler's trace.
        clock: returns seconds since some fixed moment.
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
        """The share of each phase in all seconds, largest first."""
        total = sum(self.seconds.values())
        largest_first = sorted(self.seconds.items(), key=lambda item: -item[1])
        return {name: seconds / total for name, seconds in largest_first}

    @contextmanager
    def attached(self, points: Iterable[Point]) -> Iterator[None]:
        """Counts time inside the context, for the phase of the running point, or for `ELSE`."""
        with ExitStack() as stack:
            for phase, owner, name in points:
                self.seconds.setdefault(phase, 0.0)
                timed = self.timed(phase, getattr(owner, name))
                stack.enter_context(mock.patch.object(owner, name, timed))
            stack.enter_context(self.phase(ELSE))
            yield

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Counts the time inside the context for this phase, except for nested phases."""
        self._count(self._open[-1])
        self._open.append(name)
        try:
            with self.mark(name):
                yield
        finally:
            self._count(self._open.pop())

    def _count(self, phase: str) -> None:
        """Counts the time since the last change of phase for this phase."""
        now = self.clock()
        if phase:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._since
        self._since = now

    def timed(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wraps a function to count its calls for a phase; for a generator, each of its items."""

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            # Other threads do not count: the main thread's wait for them does.
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
    """Yields the timed functions of our agents, with these phases:

    - emulator: sending actions and waiting for the outcome, including new tapes;
    - waiting for learning: if learning runs in another thread, which is not measured here;
    - acting: choosing actions;
    - playing: the games of a round, with the emulator and the expert;
    - storing: storing a step, bootstrapping at a rollout's end, and clearing the rollout;
    - sampling: drawing and gathering minibatches, and the advantages of a rollout;
    - forward, backward: an update, including the wait for its shards;
    - optimizer: clipping gradients, and the optimizer's step;
    - priorities, target copies, validation: if the algorithm has them;
    - learning: the rest of an update; or all of it, if it is one CUDA graph.
    """
    agent = contender.agent
    trainer = contender.training.trainer
    if isinstance(trainer, OnlineTrainer):
        for env in trainer.envs:
            yield from (("emulator", env, name) for name in ("send", "recv"))
        if trainer.beside:
            yield "waiting for learning", trainer, "finish_learning"
        yield from (("acting", trainer.behavior, "act"), ("storing", agent, "observe"))
    elif isinstance(trainer, RoundsTrainer):
        yield from (("playing", trainer, "played"), ("storing", agent, "add"))
        yield "sampling", agent.data, "draw"
    else:
        yield from (("sampling", agent.batches, "draw"), ("validation", agent, "validate"))
    if hasattr(agent, "replay"):
        yield "sampling", agent.replay, "sample"
        yield "priorities", agent.replay, "update_priorities"
        yield "target copies", agent, "renew"
    if hasattr(agent, "rollout"):
        yield "sampling", agent.rollout, "minibatches"
        yield "storing", agent.rollout, "clear"
    yield "learning", agent, "update"
    yield "forward, backward", agent.learner, "update"
    yield "optimizer", nn.utils, "clip_grad_norm_"
    for part in agent.learner.parts.values():
        yield "optimizer", part.optimizer, "step"


def settings(algo: str, env_id: str, options: list[str]) -> Any:
    """The config of an algorithm's command line, without logs, checkpoints and evaluations.

    Raises:
        UserError: an option is wrong, or continues from another run.
    """
    command = parse(algorithm(algo), ["--env", env_id, *options])
    config = command.config
    if command.resumed is not None or config.init_from:
        raise UserError("--resume and --init-from: a measurement needs a new agent; omit them")
    spec(config.env_id)
    resolve_device(config.device)
    never = {"log_every_steps": NEVER, "checkpoint_every_steps": NEVER, "eval_every_steps": 0}
    if hasattr(config, "patience"):
        never["patience"] = 0
    return dataclasses.replace(config, **never)


def warm_up(contender: Joystick) -> None:
    """Trains until updates have their final speed."""
    while contender.counts[1] == 0:
        contender.advance(1)
    # The fourth call of an update on a GPU captures its CUDA graph.
    contender.advance(4 * contender.config.batch_size)
