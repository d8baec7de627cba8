"""What a Python program is told while its run trains."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from agents.core.runs.run import Run
from agents.core.training.algorithm import Algorithm
from agents.core.training.evaluation import Evaluation


class Training(Protocol):
    """A training as its callbacks see it (`agents.core.training.loop.Training`).

    Attributes:
        agent: the algorithm; `agent.policy` acts.
        run: the run's directory; None where nothing is saved.
        step: environment steps so far, over all environments.
    """

    agent: Algorithm
    run: Run | None
    step: int


class Callback:
    """A base class for what watches a training; override what you need.

    The methods run in the thread that trains, which waits for them. What they raise ends training.
    """

    def on_step(self, training: Training) -> bool | None:
        """Called after each round: after as many steps as all environments take between updates.

        Args:
            training: `training.step`, `training.agent.policy` and `training.run` among others.

        Returns:
            True ends training: the checkpoint is written, and the run is scored.
        """
        return None

    def on_evaluation(self, training: Training, evaluation: Evaluation) -> None:
        """Called after each evaluation in training; `evaluation.mean` is its mean return."""

    def on_checkpoint(self, training: Training, path: Path) -> None:
        """Called after each checkpoint of the run at `path`."""


class Callbacks(Callback):
    """Several callbacks as one; each is called, and any may end training.

    Attributes:
        watches_steps: some callback has its own `on_step`; else no round calls anything.
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
