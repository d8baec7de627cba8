"""Trainers: they supply an algorithm with data in rounds, and call its updates.

An algorithm's module names its trainer: `TRAINER = "online"`. A new trainer is a subclass of
`Trainer` and a member of `TRAINERS`.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

import envs
from agents.core.logging.averages import Averages
from agents.core.logging.reporter import Reporter
from agents.core.policies.policy import copy_weights, joined
from agents.core.runs.run import Run
from agents.core.system import distributed
from agents.core.system.device import cores, resolve_device, roles
from agents.core.training.algorithm import OfflineAlgorithm, OnlineAlgorithm
from agents.core.training.config import BaseConfig, require
from agents.core.training.env_group import EnvGroup
from agents.core.training.rounds import RoundsTrainer
from agents.core.training.trainer import Trainer, not_shared, require_alone
from agents.core.types.env_rng import EnvRng
from envs import EnvSpec, TapedVectorEnv, UserError, schema
from envs.errors import did_you_mean
from envs.tape_recorder import join_states


class OnlineTrainer(Trainer):
    """Steps the policy in environments, and hands each step to the algorithm.

    The environments form groups: while one group steps, the policy chooses actions for another.
    """

    name = "online"
    steps_environments = True
    job_type = "train"
    needs = ("observe", "end_episodes", "can_overlap")

    @classmethod
    def check(cls, name: str, algorithm: Any, config: BaseConfig, fresh_episodes: bool) -> None:
        super().check(name, algorithm, config, fresh_episodes)
        if distributed.size() > 1 and algorithm.can_overlap:
            raise not_shared(name)
        if config.overlap_learning and not algorithm.can_overlap:
            raise UserError(f"--overlap-learning: {name} has no replay to learn from while it acts")

    @classmethod
    def make(
        cls, algorithm: Any, spec: EnvSpec, config: BaseConfig, run: Run | None
    ) -> OnlineTrainer:
        return cls(algorithm, make_groups(spec, config), config)

    def __init__(self, agent: OnlineAlgorithm, envs: list[TapedVectorEnv], config: BaseConfig):
        self.agent = agent
        self.envs = envs
        self.num_envs = config.num_envs
        # When learning overlaps with acting, a copy acts with the weights before the update.
        overlaps = overlaps_learning(config)
        self.behavior = (agent.policy.copy() if overlaps else agent.policy).exploring()
        self.groups = self._make_groups(config)
        self.round_steps = config.num_envs * agent.horizon_steps
        self.returns: deque[float] = deque(maxlen=20)
        # Learning runs while the emulator steps. On a CPU this also keeps the other cores busy
        # while one thread works alone.
        self.overlap = agent.can_overlap
        self.beside: ThreadPoolExecutor | None = None
        if overlaps:
            threads = (agent.policy.compute.threads_per_shard,)
            self.beside = ThreadPoolExecutor(1, "learning", torch.set_num_threads, threads)

    def _make_groups(self, config: BaseConfig) -> list[EnvGroup]:
        """Makes and resets a group for each vector environment, with its rows of random numbers."""
        ours = distributed.share(config.num_envs)
        groups: list[EnvGroup] = []
        first = 0
        for env in self.envs:
            rows = slice(first, first + env.num_envs)
            of_all_ranks = slice(ours.start + rows.start, ours.start + rows.stop)
            rng = EnvRng(config.seed, config.num_envs, of_all_ranks)
            group = EnvGroup(self.behavior, env, rng, rows)
            group.reset()
            groups.append(group)
            first = rows.stop
        return groups

    def train_round(self, step: int, logger: Reporter) -> dict[str, Tensor]:
        """Steps each environment `horizon_steps` times and updates the algorithm; returns metrics.

        While one group steps, the policy chooses actions for the other.
        """
        horizon = self.agent.horizon_steps
        metrics: dict[str, Tensor] = {}
        learning = self.begin_learning(self.beside) if self.beside else None
        for group in self.groups:
            group.send(self.agent.exploration(step))
        if self.overlap:
            metrics = self.finish_learning(learning)
        for t in range(1, horizon + 1):
            step += self.num_envs
            for group in self.groups:
                taken, info = group.recv()
                if t < horizon:
                    group.send(self.agent.exploration(step))
                self.agent.observe(taken)
                if "episode" in info:
                    self.record_episodes(step, info, logger)
        return metrics if self.overlap else self.agent.update()

    def begin_learning(self, beside: ThreadPoolExecutor) -> Future[dict[str, Tensor]]:
        """Starts an update in another thread; meanwhile a copy of the present weights acts.

        The actions are the same as when the update runs after the round.
        """
        copy_weights(self.agent.policy.network, self.behavior.network)
        return beside.submit(self.agent.update)

    def finish_learning(self, begun: Future[dict[str, Tensor]] | None) -> dict[str, Tensor]:
        """Waits for the update that began, or runs one now; returns its metrics."""
        return begun.result() if begun else self.agent.update()

    def record_episodes(self, step: int, info: dict[str, Any], logger: Reporter) -> None:
        """Logs return and length of ended episodes, and the mean of the last 20 returns."""
        ended = np.flatnonzero(info["_episode"])
        self.returns.extend(info["episode"]["r"][ended].tolist())
        episode = {
            "charts/episodic_return": info["episode"]["r"][ended].mean(),
            "charts/episodic_length": info["episode"]["l"][ended].mean(),
            "charts/episodic_return_20": np.mean(self.returns),
        }
        logger.metrics(step, {name: float(value) for name, value in episode.items()})

    def state_dict(self) -> dict[str, Any]:
        """The state of all ranks' environments; it does not depend on groups or ranks."""
        ours = [group.state_dict() for group in self.groups]
        groups = [
            group for rank in distributed.gather(ours, self.agent.policy.device) for group in rank
        ]
        return {
            "env": join_states([group["env"] for group in groups]),
            "state": joined([group["state"] for group in groups]),
            "action": np.concatenate([group["action"] for group in groups]),
            "reward": np.concatenate([group["reward"] for group in groups]),
            "is_first": np.concatenate([group["is_first"] for group in groups]),
            "generator": groups[0]["generator"],
            "returns": list(self.returns),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        returns = schema.convert(state["returns"], list[float], "returns")
        for group in self.groups:
            group.load_state_dict(state)
        self.returns.extend(returns)

    def begin_anew(self, state: dict[str, Any]) -> None:
        returns = schema.convert(state["returns"], list[float], "returns")
        self.agent.end_episodes()
        for group in self.groups:
            group.begin_anew(state)
        self.returns.extend(returns)

    def close(self) -> None:
        if self.beside:
            self.beside.shutdown()
        for env in self.envs:
            env.close()


class OfflineTrainer(Trainer):
    """Trains on demonstrations: each demonstrated step in a minibatch counts as a step.

    Training ends early when `patience` validations in a row do not lower the least loss; or, as
    `stop_by` says, when so many evaluations do not raise the best mean return.
    """

    name = "offline"
    steps_environments = False
    job_type = "imitate"
    needs = ("validate",)

    @classmethod
    def check(cls, name: str, algorithm: Any, config: BaseConfig, fresh_episodes: bool) -> None:
        super().check(name, algorithm, config, fresh_episodes)
        require_alone(name, config)
        if fresh_episodes:
            raise UserError(
                f"--fresh-episodes: {name} plays no episodes; it learns from recordings"
            )

    @classmethod
    def make(
        cls, algorithm: Any, spec: EnvSpec, config: BaseConfig, run: Run | None
    ) -> OfflineTrainer:
        return cls(algorithm)

    def __init__(self, agent: OfflineAlgorithm):
        self.agent = agent
        self.round_steps = agent.horizon_steps
        self.every_steps = agent.config.validate_every_steps
        self.patience = agent.config.patience or float("inf")
        self.stop_by = agent.config.stop_by
        self.least_loss = float("inf")
        self.best_return = -float("inf")
        self.in_vain = 0

    @property
    def exhausted(self) -> bool:
        return self.in_vain >= self.patience

    def train_round(self, step: int, logger: Reporter) -> dict[str, Tensor]:
        metrics = self.agent.update()
        reached = step + self.round_steps
        if self.every_steps and reached // self.every_steps > step // self.every_steps:
            self.validate(reached, logger)
        return metrics

    def validate(self, step: int, logger: Reporter) -> None:
        averages = Averages()
        averages.add(self.agent.validate())
        means = averages.flush()
        if not means:
            return
        logger.metrics(step, means)
        if self.agent.confusion is not None:
            logger.confusion(step, self.agent.confusion)
        loss = means["validation/loss"]
        self.count("loss", loss < self.least_loss)
        self.least_loss = min(self.least_loss, loss)

    def evaluated(self, score: float) -> None:
        self.count("return", score > self.best_return)
        self.best_return = max(self.best_return, score)

    def count(self, measured: str, better: bool) -> None:
        """Counts a measurement for the patience, if the config stops by it."""
        if measured == self.stop_by:
            self.in_vain = 0 if better else self.in_vain + 1

    def state_dict(self) -> dict[str, Any]:
        return {
            "least_loss": self.least_loss,
            "best_return": self.best_return,
            "in_vain": self.in_vain,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.least_loss = schema.convert(state["least_loss"], float, "least_loss")
        # Version 0.1 had no best return.
        best = state.get("best_return", -float("inf"))
        self.best_return = schema.convert(best, float, "best_return")
        self.in_vain = schema.natural(state["in_vain"], "in_vain")


TRAINERS: dict[str, type[Trainer]] = {
    each.name: each for each in (OnlineTrainer, OfflineTrainer, RoundsTrainer)
}
"""The trainers by the name that an algorithm's module has as `TRAINER`."""


def trainer_of(module: ModuleType) -> type[Trainer]:
    """The trainer of an algorithm's module.

    Raises:
        UserError: no trainer has that name.
    """
    name = module.TRAINER
    if name not in TRAINERS:
        known = ", ".join(TRAINERS)
        near = did_you_mean(str(name), TRAINERS)
        raise UserError(f"{module.__name__}: TRAINER is '{name}' (known: {known}){near}")
    return TRAINERS[name]


def overlaps_learning(config: BaseConfig) -> bool:
    """Whether some cores learn while others act.

    False on a GPU: its updates take no core, so all cores act.
    """
    on_cpu = resolve_device(config.device).type == "cpu"
    return config.overlap_learning and on_cpu and cores(config.num_threads) > 1


def make_groups(spec: EnvSpec, config: BaseConfig) -> list[TapedVectorEnv]:
    """Makes this rank's environments, in groups that step in turn."""
    ours = distributed.share(config.num_envs)
    each, left = divmod(ours.stop - ours.start, config.env_splits)
    require(left == 0, "num_envs", config.num_envs, f"shared evenly by {config.env_splits} groups")
    _, acting = roles(config.num_threads, overlaps_learning(config))
    threads = min(each, acting)
    return [
        envs.make(spec, each, config.seed, num_threads=threads, first_env=first)
        for first in range(ours.start, ours.stop, each)
    ]
