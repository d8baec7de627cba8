"""The training loop: decides when to train, report, evaluate and save.

A trainer supplies the data, from environments or demonstrations
(`agents.core.training.trainer`).
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
from agents.core.training.trainer import Trainer
from envs import EnvSpec, UserError, schema
from envs.errors import first_line
from envs.signals import Interrupted, StopSignal
from envs.text import plain

EVALUATION_SEED = 20_000
"""Seed of the evaluations in training; it does not depend on the run's seed."""

TRAINING_VIDEO_STEPS = 900
"""Most steps of a film in training, a minute of Atari; longer films would slow training."""


@dataclass(frozen=True)
class About:
    """The training loop's own state in a checkpoint, beside algorithm and trainer."""

    best_score: float
    owes_evaluation: bool = False

    def __post_init__(self) -> None:
        if math.isnan(self.best_score):
            raise ValueError("best_score is not a number")


NO_CALLBACKS = Callbacks()


class Training:
    """An algorithm in training; it stops after any round and resumes exactly.

    Attributes:
        step: steps trained so far, over all ranks.
        run: the run's directory; None if nothing is saved.
        owes_evaluation: whether the evaluation of this step is unfinished; a resumed run begins
            with it.
        saved: whether a checkpoint holds the state in which training ended.
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
        self.step = 0
        self.evaluated_step = -1
        self.best_score = -float("inf")
        self.owes_evaluation = False
        self.saved = False
        self.averages = Averages()
        self.learning_rate = config.learning_rate.until(config.total_steps)

    def train(self, logger: Reporter) -> int:
        """Trains to `total_steps`; returns the number of the signal that stopped it, or 0.

        Raises:
            Diverged: a loss or gradient is not finite; earlier checkpoints are kept.
        """
        config = self.config
        trainer = self.trainer
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
                # An evaluation can fail or take long, so training is saved before it.
                if self.owes_evaluation or self.due(config.checkpoint_every_steps):
                    self.save(logger)
                if self.owes_evaluation:
                    self.evaluate(logger)
            self.saved = self.save(logger)
        return self.stopped_by(stop)

    @property
    def finished(self) -> bool:
        """Whether training has reached its end."""
        ends = self.step >= self.config.total_steps
        return ends or self.trainer.exhausted or self.stopped_by_callback

    def stopped_by(self, stop: StopSignal) -> int:
        """The number of the signal that any rank received, or 0."""
        return distributed.largest(stop.signum, self.agent.policy.device)

    def due(self, every_steps: int) -> bool:
        """Whether the last round crossed a multiple of `every_steps`; never if that is 0."""
        before = self.step - self.trainer.round_steps
        return every_steps > 0 and self.step // every_steps > before // every_steps

    def report(self, logger: Reporter) -> None:
        """Logs losses and steps per second since the last report, and the resident memory.

        The time of evaluations and checkpoints does not count.
        """
        means = self.averages.flush()
        first_step, start = self.started_at
        if self.step > first_step:
            charts = {
                "charts/SPS": (self.step - first_step) / (time.perf_counter() - start),
                "charts/learning_rate": self.agent.learner.learning_rate,
                "charts/memory_gb": psutil.Process().memory_info().rss / 1e9,
            }
            exploration = self.agent.exploration(self.step)
            # An infinite temperature, of uniform actions, has no place on a chart.
            if math.isfinite(exploration):
                charts[f"charts/{self.agent.policy.explores_by}"] = exploration
            logger.metrics(self.step, {**means, **charts})
        self.started_at = (self.step, time.perf_counter())

    def evaluate(self, logger: Reporter) -> None:
        """Plays full games, saves the weights if they are the best so far, films the first game.

        A signal ends the evaluation early. Then its result is dropped and a resumed run repeats it.
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
        self.trainer.evaluated(result.mean)
        self.callbacks.on_evaluation(self, result)
        # At equal scores the later weights win, because they are trained for longer.
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
        """Writes a checkpoint; returns whether it is saved.

        If the disk is full or fails, a warning is printed and training goes on.

        Raises:
            Diverged: a loss or gradient is not finite; nothing is written.
        """
        self.report(logger)
        run = self.run
        everywhere = self.trainer.state_dict()
        saved = True
        if run is not None and distributed.rank() == 0:
            # A function, because the disk can also be full while the state is made.
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
        """Loads the run's newest checkpoint that is intact and fits this algorithm.

        Args:
            fresh_episodes: begin new episodes instead of the interrupted ones.

        Raises:
            NotReproduced: the environments do not reproduce their saved states.
        """
        run.restore(partial(self.take_up, fresh_episodes))

    def take_up(
        self, fresh_episodes: bool, step: int, state: dict[str, Any], weights: dict[str, Tensor]
    ) -> None:
        """Goes on from a checkpoint's content.

        Raises:
            DamagedCheckpoint: the content does not fit this algorithm, though its checksums match.
                The learner and this object are unchanged. The replay and the environments may have
                changed; loading another checkpoint replaces them.
            UserError: the environments or the demonstrations cannot be used.
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
            # Malformed content breaks torch or numpy, whose errors share no base class.
            why = f"{type(error).__name__}: {plain(first_line(error))}"
            raise DamagedCheckpoint(f"the checkpoint of step {step} does not fit: {why}") from None
        self.step = step
        self.best_score = about.best_score
        self.owes_evaluation = about.owes_evaluation
