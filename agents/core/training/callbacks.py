"""Callbacks: methods of a Python program that training calls."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from agents.core.runs.run import Run
from agents.core.training.algorithm import Algorithm
from agents.core.training.evaluation import Evaluation


class Training(Protocol):
    """The attributes of a training that callbacks may use (`agents.core.training.loop.Training`).

    Attributes:
        agent: the algorithm; `agent.policy` acts.
        run: the run's directory; None if nothing is saved.
        step: environment steps so far, over all environments.
    """

    agent: Algorithm
    run: Run | None
    step: int


class Callback:
    """Base class of callbacks; override the methods that you need.

    The methods run in the training thread, which waits for them. An exception in a method ends
    training.
    """

    def on_step(self, training: Training) -> bool | None:
        """Called after each round: the steps that all environments take between two updates.

        Args:
            training: `training.step`, `training.agent.policy` and `training.run` among others.

        Returns:
            True ends training; then a checkpoint is written and the run is scored.
        """
        return None

    def on_evaluation(self, training: Training, evaluation: Evaluation) -> None:
        """Called after each evaluation in training; `evaluation.mean` is its mean return."""

    def on_checkpoint(self, training: Training, path: Path) -> None:
        """Called after each checkpoint of the run at `path`."""


class Callbacks(Callback):
    """Several callbacks as one; it calls each, and each may end training.

    Attributes:
        watches_steps: whether a callback overrides `on_step`; else rounds call no callback.
    """

    def __init__(self, callbacks: tuple[Callback, ...] = ()):
        self.callbacks = callbacks
        self.watches_steps = any(type(each).on_step is not Callback.on_step for each in callbacks)

    def on_step(self, training: Training) -> bool:
        answers = [each.on_step(training) for each in self.callbacks]
        return True in answers

    def on_evaluation(self, training: Training, evaluation: Evaluation) -> None:
        for each in self.callbacks:
            each.on_evaluation(training, evaluation)

    def on_checkpoint(self, training: Training, path: Path) -> None:
        for each in self.callbacks:
            each.on_checkpoint(training, path)
