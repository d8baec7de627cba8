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

from agents.core.config import BaseConfig
from agents.core.evaluation import Evaluator, film_evaluation
from agents.core.log import Logger
from agents.core.run import Run
from agents.core.types import Agent, Step
from envs import TapedVectorEnv

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

    def __init__(self, agent: Agent, env: TapedVectorEnv, config: BaseConfig, run: Run):
        self.agent, self.env, self.config, self.run = agent, env, config, run
        self.evaluator = Evaluator(env.env_spec, EVALUATION_SEED, config.num_threads or None)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.obs, _ = env.reset()
        self.step, self.evaluated_step, self.best_score = 0, -1, -float("inf")
        self.returns: deque[float] = deque(maxlen=20)
        self.averages = Averages()
        self.overlap = agent.learner.device.type != "cpu"

    def train(self, logger: Logger) -> int:
        """Train to `total_steps`; returns the number of the signal that stopped it, or 0.

        Raises:
            Diverged: a loss or gradient was not finite; the checkpoints kept are from before.
        """
        config, agent, env = self.config, self.agent, self.env
        self.started_at = (self.step, time.perf_counter())
        with StopSignal() as stop:
            while self.step < config.total_steps and not stop.signum:
                action_N = agent.act(self.obs, self.generator, agent.epsilon(self.step))
                env.send(action_N)
                # A GPU learns while the emulator steps; on a CPU both want every core.
                received = None if self.overlap else env.recv()
                self.averages.add(agent.learn())
                next_obs, reward_N, terminated_N, truncated_N, info = received or env.recv()
                ends = (terminated_N, truncated_N, info["life_lost"])
                agent.observe(Step(self.obs, action_N, reward_N, *ends, info.get("final_obs")))
                self.obs, self.step = next_obs, self.step + env.num_envs
                if "episode" in info:
                    self.record_episodes(info, logger)
                if self.due(config.log_every_steps):
                    self.report(logger)
                if self.due(config.eval_every_steps):
                    self.evaluate(logger)
                if self.due(config.checkpoint_every_steps):
                    self.save(logger)
            self.save(logger)
        return stop.signum

    def due(self, every_steps: int) -> bool:
        """Whether this step of N environments crossed a multiple of `every_steps` (0: never)."""
        before = self.step - self.env.num_envs
        return every_steps > 0 and self.step // every_steps > before // every_steps

    def record_episodes(self, info: dict[str, Any], logger: Logger) -> None:
        ended = np.flatnonzero(info["_episode"])
        self.returns.extend(info["episode"]["r"][ended].tolist())
        episode = {
            "charts/episodic_return": info["episode"]["r"][ended].mean(),
            "charts/episodic_length": info["episode"]["l"][ended].mean(),
            "charts/episodic_return_20": np.mean(self.returns),
        }
        logger.metrics(self.step, {name: float(value) for name, value in episode.items()})

    def report(self, logger: Logger) -> None:
        """Log losses and speed since the last report, evaluations and checkpoints left out."""
        means, (first_step, start) = self.averages.flush(), self.started_at
        if self.step > first_step:
            speed = (self.step - first_step) / (time.perf_counter() - start)
            logger.metrics(
                self.step,
                {**means, "charts/SPS": speed, "charts/epsilon": self.agent.epsilon(self.step)},
            )
        self.started_at = (self.step, time.perf_counter())

    def evaluate(self, logger: Logger) -> None:
        """Play full games, keep the weights if they are the best so far, film the first game."""
        self.report(logger)
        result = self.evaluator.evaluate(self.agent, self.config.eval_episodes, self.step)
        self.evaluated_step = self.step
        logger.metrics(self.step, result.metrics())
        logger.message(f"evaluation: {result}")
        if result.mean > self.best_score:
            self.best_score = result.mean
            weights = self.agent.learner.weights()
            self.run.best(self.step, result.mean, weights, result.to_json())
        if self.config.video:
            path = film_evaluation(result, self.run, logger.message, TRAINING_VIDEO_STEPS)
            if path is not None:
                logger.video(self.step, path)
        self.started_at = (self.step, time.perf_counter())

    def save(self, logger: Logger) -> None:
        """Checkpoint; Diverged is raised before anything is written."""
        self.report(logger)
        self.run.checkpoint(self.step, self.state_dict, self.agent.learner.weights())
        self.started_at = (self.step, time.perf_counter())

    def state_dict(self) -> dict[str, Any]:
        return {
            "agent": self.agent.state_dict(self.run),
            "env": self.env.state_dict(),
            "generator": self.generator.get_state(),
            "best_score": self.best_score,
            "returns": list(self.returns),
        }

    def restore(self) -> None:
        """Go back to the newest whole checkpoint of the run."""
        self.step, state, weights = self.run.restore()
        self.agent.learner.load_weights(weights)
        self.agent.load_state_dict(state["agent"], self.run)
        self.obs, _ = self.env.load_state_dict(state["env"])
        self.generator.set_state(state["generator"])
        self.best_score = state["best_score"]
        self.returns.extend(state["returns"])
