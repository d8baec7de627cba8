"""The training loop: the only place that owns time.

Where data comes from, environments or demonstrations, it leaves to a trainer
(`agents.core.training.trainers`).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import psutil
from torch import Tensor

from agents.core.logging.averages import Averages
from agents.core.logging.diagnostics import histograms
from agents.core.logging.reporter import Reporter
from agents.core.runs import artifacts
from agents.core.runs.run import Run
from agents.core.runs.snapshots import DamagedCheckpoint
from agents.core.system import distributed
from agents.core.training.algorithm import Algorithm
from agents.core.training.callbacks import Callbacks
from agents.core.training.config import BaseConfig
from agents.core.training.evaluation import Evaluator, film_evaluation
from agents.core.training.trainers import Trainer
from envs import EnvSpec, UserError, schema
from envs.errors import first_line
from envs.signals import Interrupted, StopSignal
from envs.text import plain

EVALUATION_SEED = 20_000
"""Evaluations in training play these games, whatever the run's seed."""

TRAINING_VIDEO_STEPS = 900
"""A minute of Atari: longer films would slow training."""


@dataclass(frozen=True)
class About:
    """What a checkpoint says of its training, beside the states of algorithm and trainer."""

    best_score: float
    owes_evaluation: bool = False

    def __post_init__(self) -> None:
        if math.isnan(self.best_score):
            raise ValueError("best_score is no number")


NO_CALLBACKS = Callbacks()


class Training:
    """An algorithm in training, with everything needed to stop and go on exactly.

    Attributes:
        step: the steps trained so far, over all ranks.
        run: the run's directory; None where nothing is kept.
        owes_evaluation: the evaluation of this step was not finished; a resumed run begins with it.
        saved: the state in which training ended is in a checkpoint.
    """

    def __init__(
        self,
        agent: Algorithm,
        spec: EnvSpec,
        trainer: Trainer,
        config: BaseConfig,
        run: Run | None,
        callbacks: Callbacks = NO_CALLBACKS,
    ):
        self.agent = agent
        self.spec = spec
        self.trainer = trainer
        self.config = config
        self.run = run
        self.callbacks = callbacks
        self.stopped_by_callback = False
        self.evaluator = Evaluator(
            spec, EVALUATION_SEED, config.num_threads or None, config.eval_most_steps
        )
        self.step, self.evaluated_step, self.best_score = 0, -1, -float("inf")
        self.owes_evaluation = False
        self.saved = False
        self.averages = Averages()
        self.learning_rate = config.learning_rate.until(config.total_steps)

    def train(self, logger: Reporter) -> int:
        """Train to `total_steps`; returns the number of the signal that stopped it, or 0.

        Raises:
            Diverged: a loss or gradient was not finite; the checkpoints kept are from before.
        """
        config, trainer = self.config, self.trainer
        self.started_at = (self.step, time.perf_counter())
        with StopSignal() as stop:
            if self.owes_evaluation:
                self.evaluate(logger)
            while not (self.finished or self.stopped_by(stop)):
                self.agent.learner.set_learning_rate(self.learning_rate(self.step))
                self.averages.add(trainer.train_round(self.step, logger))
                self.step += trainer.round_steps
                if self.callbacks.watches_steps:
                    self.stopped_by_callback = self.callbacks.on_step(self)
                if self.due(config.log_every_steps):
                    self.report(logger)
                self.owes_evaluation = self.due(config.eval_every_steps)
                # An evaluation can fail, or take long: all that is learned is saved before it.
                if self.owes_evaluation or self.due(config.checkpoint_every_steps):
                    self.save(logger)
                if self.owes_evaluation:
                    self.evaluate(logger)
            self.saved = self.save(logger)
        return self.stopped_by(stop)

    @property
    def finished(self) -> bool:
        """Whether there is no more to do."""
        ends = self.step >= self.config.total_steps
        return ends or self.trainer.exhausted or self.stopped_by_callback

    def stopped_by(self, stop: StopSignal) -> int:
        """The signal that some rank received, or 0."""
        return distributed.largest(stop.signum, self.agent.policy.device)

    def due(self, every_steps: int) -> bool:
        """Whether the last round crossed a multiple of `every_steps` (0: never)."""
        before = self.step - self.trainer.round_steps
        return every_steps > 0 and self.step // every_steps > before // every_steps

    def report(self, logger: Reporter) -> None:
        """Log losses and speed since the last report, evaluations and checkpoints left out; and
        the resident memory."""
        means = self.averages.flush()
        first_step, start = self.started_at
        if self.step > first_step:
            charts = {
                "charts/SPS": (self.step - first_step) / (time.perf_counter() - start),
                "charts/learning_rate": self.agent.learner.learning_rate,
                f"charts/{self.agent.policy.explores_by}": self.agent.exploration(self.step),
                "charts/memory_gb": psutil.Process().memory_info().rss / 1e9,
            }
            logger.metrics(self.step, {**means, **charts})
        self.started_at = (self.step, time.perf_counter())

    def evaluate(self, logger: Reporter) -> None:
        """Play full games, keep the weights if they are the best so far, film the first game.

        A signal ends it early: then nothing is kept, and the evaluation stays owed.
        """
        self.report(logger)
        if self.run is None or distributed.rank() > 0:
            self.evaluated_step = self.step
            self.owes_evaluation = False
            return
        try:
            result = self.evaluator.evaluate(
                self.agent.eval_policy, self.config.eval_episodes, self.step
            )
        except Interrupted:
            logger.message(f"the evaluation of step {self.step:,} was stopped; --resume repeats it")
            return
        self.evaluated_step = self.step
        self.owes_evaluation = False
        logger.metrics(self.step, result.metrics() | self.trainer.compared(result.mean))
        logger.message(f"evaluation: {result}")
        self.callbacks.on_evaluation(self, result)
        # Of equal scores the later wins: its weights are trained for longer.
        if result.mean >= self.best_score:
            self.best_score = result.mean
            weights = self.agent.eval_policy.weights()
            self.run.best(self.step, result.mean, weights, result.to_json())
            logger.artifact(artifacts.model(self.run, result.metrics()), ("best",))
        evaluator = self.evaluator
        policy = self.agent.policy
        logger.histograms(self.step, lambda: histograms(policy, evaluator.samples))
        if self.config.video:
            path = film_evaluation(result, self.run, logger.message, TRAINING_VIDEO_STEPS)
            if path is not None:
                logger.video(self.step, path)
        self.started_at = (self.step, time.perf_counter())

    def save(self, logger: Reporter) -> bool:
        """Checkpoint; Diverged is raised before anything is written. Returns whether it is saved.

        A disk that does not take it is reported, and training goes on.
        """
        self.report(logger)
        run = self.run
        everywhere = self.trainer.state_dict()
        saved = True
        if run is not None and distributed.rank() == 0:
            # The agent's state is made under the same protection from a full disk.
            saved = run.checkpoint(
                self.step,
                lambda: {
                    "agent": self.agent.state_dict(run),
                    "best_score": self.best_score,
                    "owes_evaluation": self.owes_evaluation,
                    **everywhere,
                },
                self.agent.eval_policy.weights(),
            )
            if saved:
                self.callbacks.on_checkpoint(self, run.path)
        self.started_at = (self.step, time.perf_counter())
        return saved

    def restore(self, run: Run, fresh_episodes: bool = False) -> None:
        """Go back to the newest checkpoint of the run that is whole and of this agent.

        Args:
            fresh_episodes: new episodes begin in place of those that were under way.

        Raises:
            NotReproduced: the environments do not lead to where they were.
        """
        run.restore(partial(self.take_up, fresh_episodes))

    def take_up(
        self, fresh_episodes: bool, step: int, state: dict[str, Any], weights: dict[str, Tensor]
    ) -> None:
        """Go on from a checkpoint's content.

        Raises:
            DamagedCheckpoint: it is not what such an agent saves, though its checksums are right.
                The learner and this object are as before. A replay and environments may not be:
                whatever is taken up next replaces them.
            UserError: as the environments or the demonstrations say.
        """
        take_up = self.trainer.begin_anew if fresh_episodes else self.trainer.load_state_dict
        try:
            about = schema.convert(state, About, f"the checkpoint of step {step}")
            with self.agent.learner.unless_refused():
                self.agent.load_weights(weights)
                self.agent.load_state_dict(state["agent"], self.run)
                take_up(state)
        except schema.Malformed as error:
            raise DamagedCheckpoint(str(error)) from None
        except (UserError, DamagedCheckpoint):
            raise
        except Exception as error:
            # Content of any other form: what it breaks in torch or numpy has no common error.
            why = f"{type(error).__name__}: {plain(first_line(error))}"
            raise DamagedCheckpoint(f"the checkpoint of step {step} does not fit: {why}") from None
        self.step = step
        self.best_score = about.best_score
        self.owes_evaluation = about.owes_evaluation
