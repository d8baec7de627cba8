"""The training loop: the only place that owns time."""

from __future__ import annotations

import signal
import time
from collections import deque
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.core import distributed
from agents.core.acting import Draws, Group
from agents.core.config import BaseConfig
from agents.core.evaluation import Evaluator, film_evaluation
from agents.core.reporter import Reporter
from agents.core.run import Run
from agents.core.types import Agent
from envs import TapedVectorEnv
from envs.open_tapes import join_states

EVALUATION_SEED = 20_000
"""Evaluations in training play these games, whatever the run's seed."""

TRAINING_VIDEO_STEPS = 900
"""A minute of Atari: longer films would slow training."""


class Diverged(RuntimeError):
    """A loss or gradient was not finite: nothing after the last checkpoint is worth keeping."""


class Averages:
    """Means of tensors over an interval, summed on their device and fetched once."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, metrics: dict[str, Tensor]) -> None:
        for name, value in metrics.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._count += bool(metrics)

    def flush(self) -> dict[str, float]:
        """The means since the last flush; raises Diverged where one is not finite."""
        if not self._sums:
            return {}
        values = torch.stack(list(self._sums.values())).tolist()
        means = {name: v / self._count for name, v in zip(self._sums, values, strict=True)}
        self._sums, self._count = {}, 0
        for name, mean in means.items():
            if not np.isfinite(mean):
                raise Diverged(f"{name} is {mean}")
        return means


class StopSignal:
    """Turns the first SIGINT or SIGTERM into `signum`; a second one ends the process at once."""

    def __enter__(self) -> StopSignal:
        self.signum = 0
        self._previous = {s: signal.signal(s, self._stop) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum
        signal.signal(signum, self._previous[signal.Signals(signum)])

    def __exit__(self, *exception: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)


class OnlineTraining:
    """An agent learning in an environment, with everything needed to stop and go on exactly."""

    def __init__(
        self, agent: Agent, envs: list[TapedVectorEnv], config: BaseConfig, run: Run | None
    ):
        self.agent, self.envs, self.config, self.run = agent, envs, config, run
        self.evaluator = Evaluator(envs[0].env_spec, EVALUATION_SEED, config.num_threads or None)
        ours, begin = distributed.share(config.num_envs), 0
        self.groups: list[Group] = []
        for env in envs:
            rows = slice(begin, begin := begin + env.num_envs)
            of_all = slice(ours.start + rows.start, ours.start + rows.stop)
            draws = Draws(config.seed, config.num_envs, of_all)
            self.groups.append(Group(agent, env, draws, rows))
            self.groups[-1].reset()
        self.step, self.evaluated_step, self.best_score = 0, -1, -float("inf")
        self.returns: deque[float] = deque(maxlen=20)
        self.averages = Averages()
        # A GPU can learn while the emulator steps; on a CPU both want every core.
        self.overlap = agent.off_policy and agent.learner.device.type != "cpu"

    def train(self, logger: Reporter) -> int:
        """Train to `total_steps`; returns the number of the signal that stopped it, or 0.

        Raises:
            Diverged: a loss or gradient was not finite; the checkpoints kept are from before.
        """
        config = self.config
        self.started_at = (self.step, time.perf_counter())
        with StopSignal() as stop:
            while self.step < config.total_steps and not self.stopped_by(stop):
                self.collect(logger)
                if self.due(config.log_every_steps):
                    self.report(logger)
                if self.due(config.eval_every_steps):
                    self.evaluate(logger)
                if self.due(config.checkpoint_every_steps):
                    self.save(logger)
            self.save(logger)
        return self.stopped_by(stop)

    def collect(self, logger: Reporter) -> None:
        """The agent's horizon of steps, and what it learns from them.

        Of two groups one steps while actions are chosen for the other.
        """
        horizon = self.agent.horizon_steps
        for group in self.groups:
            group.send(self.agent.exploration(self.step))
        if self.overlap:
            self.averages.add(self.agent.learn())
        for t in range(1, horizon + 1):
            self.step += self.config.num_envs
            for group in self.groups:
                step, info = group.recv()
                if t < horizon:
                    group.send(self.agent.exploration(self.step))
                self.agent.observe(step)
                if "episode" in info:
                    self.record_episodes(info, logger)
        if not self.overlap:
            self.averages.add(self.agent.learn())

    def stopped_by(self, stop: StopSignal) -> int:
        """The signal that some rank received, or 0."""
        return distributed.largest(stop.signum, self.agent.learner.device)

    def due(self, every_steps: int) -> bool:
        """Whether this round of learning crossed a multiple of `every_steps` (0: never)."""
        before = self.step - self.config.num_envs * self.agent.horizon_steps
        return every_steps > 0 and self.step // every_steps > before // every_steps

    def record_episodes(self, info: dict[str, Any], logger: Reporter) -> None:
        ended = np.flatnonzero(info["_episode"])
        self.returns.extend(info["episode"]["r"][ended].tolist())
        episode = {
            "charts/episodic_return": info["episode"]["r"][ended].mean(),
            "charts/episodic_length": info["episode"]["l"][ended].mean(),
            "charts/episodic_return_20": np.mean(self.returns),
        }
        logger.metrics(self.step, {name: float(value) for name, value in episode.items()})

    def report(self, logger: Reporter) -> None:
        """Log losses and speed since the last report, evaluations and checkpoints left out."""
        means, (first_step, start) = self.averages.flush(), self.started_at
        if self.step > first_step:
            charts = {
                "charts/SPS": (self.step - first_step) / (time.perf_counter() - start),
                "charts/learning_rate": self.agent.learner.learning_rate,
                f"charts/{self.agent.explores_by}": self.agent.exploration(self.step),
            }
            logger.metrics(self.step, {**means, **charts})
        self.started_at = (self.step, time.perf_counter())

    def evaluate(self, logger: Reporter) -> None:
        """Play full games, keep the weights if they are the best so far, film the first game."""
        self.report(logger)
        self.evaluated_step = self.step
        if self.run is None or distributed.rank() > 0:
            return
        result = self.evaluator.evaluate(self.agent, self.config.eval_episodes, self.step)
        logger.metrics(self.step, result.metrics())
        logger.message(f"evaluation: {result}")
        # Of equal scores that of more training.
        if result.mean >= self.best_score:
            self.best_score = result.mean
            weights = self.agent.learner.weights()
            self.run.best(self.step, result.mean, weights, result.to_json())
        if self.config.video:
            path = film_evaluation(result, self.run, logger.message, TRAINING_VIDEO_STEPS)
            if path is not None:
                logger.video(self.step, path)
        self.started_at = (self.step, time.perf_counter())

    def save(self, logger: Reporter) -> None:
        """Checkpoint; Diverged is raised before anything is written."""
        self.report(logger)
        run, everywhere = self.run, self.gather()
        if run is not None and distributed.rank() == 0:
            # The agent's state is made under the same protection from a full disk.
            run.checkpoint(
                self.step,
                lambda: {"agent": self.agent.state_dict(run), **everywhere},
                self.agent.learner.weights(),
            )
        self.started_at = (self.step, time.perf_counter())

    def gather(self) -> dict[str, Any]:
        """The state of all ranks' environments, which does not depend on who plays them."""
        device = self.agent.learner.device
        ours = [group.state_dict() for group in self.groups]
        groups = [group for rank in distributed.gather(ours, device) for group in rank]
        return {
            "env": join_states([group["env"] for group in groups]),
            "memory": torch.cat([group["memory"] for group in groups]),
            "generator": groups[0]["generator"],
            "best_score": self.best_score,
            "returns": list(self.returns),
        }

    def restore(self, run: Run) -> None:
        """Go back to the newest whole checkpoint of the run."""
        self.step, state, weights = run.restore()
        self.agent.learner.load_weights(weights)
        self.agent.load_state_dict(state["agent"], run)
        for group in self.groups:
            group.load_state_dict(state)
        self.best_score = state["best_score"]
        self.returns.extend(state["returns"])
