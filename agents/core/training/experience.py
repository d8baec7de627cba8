"""Where experience comes from: environments that an agent acts in, or what others did."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

import envs
from agents.core.logging.averages import Averages
from agents.core.logging.reporter import Reporter
from agents.core.optimize.learner import copy_weights
from agents.core.system import distributed
from agents.core.system.device import cores, resolve_device, roles
from agents.core.training.agent import OfflineAgent, OnlineAgent
from agents.core.training.config import BaseConfig, require
from agents.core.training.env_group import EnvGroup
from agents.core.types.env_rng import EnvRng
from agents.core.types.spaces import Spaces
from envs import EnvSpec, TapedVectorEnv, schema
from envs.tape_recorder import join_states


class Experience(Protocol):
    """A source of experience, in rounds.

    Attributes:
        round_steps: how much further a round is, over all ranks.
        exhausted: there is no more to learn from it.
    """

    round_steps: int

    @property
    def exhausted(self) -> bool: ...

    def collect(self, step: int, logger: Reporter) -> dict[str, Tensor]:
        """A round from `step` on, and what the agent learns from it; returns what to average."""
        ...

    def compared(self, score: float) -> dict[str, float]:
        """An evaluation's mean return beside what it is to be measured by."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            NotReproduced: the environments do not lead to where they were.
        """
        ...

    def begin_anew(self, state: dict[str, Any]) -> None:
        """Go on from a saved state with new episodes in place of those that were under way.

        The agent has its own state already.
        """
        ...

    def close(self) -> None: ...


class Collector:
    """An agent's own life in environments, in groups of which one steps while others choose."""

    exhausted = False

    def __init__(self, agent: OnlineAgent, envs: list[TapedVectorEnv], config: BaseConfig):
        self.agent, self.envs, self.num_envs = agent, envs, config.num_envs
        ours, begin = distributed.share(config.num_envs), 0
        self.groups: list[EnvGroup] = []
        for env in envs:
            rows = slice(begin, begin := begin + env.num_envs)
            of_all = slice(ours.start + rows.start, ours.start + rows.stop)
            rng = EnvRng(config.seed, config.num_envs, of_all)
            self.groups.append(EnvGroup(agent, env, rng, rows))
            self.groups[-1].reset()
        self.round_steps = config.num_envs * agent.horizon_steps
        self.returns: deque[float] = deque(maxlen=20)
        # While the emulator steps: on a CPU too, where what one thread does alone would else leave
        # the other cores with nothing to do.
        self.overlap = agent.can_overlap
        self.beside: ThreadPoolExecutor | None = None
        if overlaps_learning(config):
            threads = (agent.learner.threads_per_shard,)
            self.beside = ThreadPoolExecutor(1, "learning", torch.set_num_threads, threads)
            self.frozen = agent.learner.target_copy()

    def collect(self, step: int, logger: Reporter) -> dict[str, Tensor]:
        """The agent's horizon of steps, and what it learns from them.

        Of two groups one steps while actions are chosen for the other.
        """
        horizon, metrics = self.agent.horizon_steps, {}
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
        return metrics if self.overlap else self.agent.learn()

    def begin_learning(self, beside: ThreadPoolExecutor) -> Future[dict[str, Tensor]]:
        """Learn from now on, and act with a copy of the weights of now: the same actions as those
        of an agent that learns after it chose them.
        """
        learner = self.agent.learner
        copy_weights(learner.network, self.frozen)
        learner.acting = self.frozen
        return beside.submit(self.agent.learn)

    def finish_learning(self, begun: Future[dict[str, Tensor]] | None) -> dict[str, Tensor]:
        """Wait for what began to learn, or learn."""
        return begun.result() if begun else self.agent.learn()

    def record_episodes(self, step: int, info: dict[str, Any], logger: Reporter) -> None:
        ended = np.flatnonzero(info["_episode"])
        self.returns.extend(info["episode"]["r"][ended].tolist())
        episode = {
            "charts/episodic_return": info["episode"]["r"][ended].mean(),
            "charts/episodic_length": info["episode"]["l"][ended].mean(),
            "charts/episodic_return_20": np.mean(self.returns),
        }
        logger.metrics(step, {name: float(value) for name, value in episode.items()})

    def compared(self, score: float) -> dict[str, float]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        """The state of all ranks' environments, which does not depend on who plays them."""
        ours = [group.state_dict() for group in self.groups]
        groups = [
            group for rank in distributed.gather(ours, self.agent.learner.device) for group in rank
        ]
        return {
            "env": join_states([group["env"] for group in groups]),
            "memory": torch.cat([group["memory"] for group in groups]),
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


class OfflineTrainer:
    """Learning from demonstrations: a step is a demonstrated step that was trained on.

    It ends early when `patience` validations in a row had no smaller loss than the least.
    """

    def __init__(self, agent: OfflineAgent):
        self.agent, self.round_steps = agent, agent.horizon_steps
        self.every_steps = agent.config.validate_every_steps
        self.patience = agent.config.patience or float("inf")
        self.least_loss, self.in_vain = float("inf"), 0

    @property
    def exhausted(self) -> bool:
        return self.in_vain >= self.patience

    def collect(self, step: int, logger: Reporter) -> dict[str, Tensor]:
        metrics, reached = self.agent.learn(), step + self.round_steps
        if self.every_steps and reached // self.every_steps > step // self.every_steps:
            self.validate(reached, logger)
        return metrics

    def validate(self, step: int, logger: Reporter) -> None:
        averages = Averages()
        averages.add(self.agent.validate())
        if not (means := averages.flush()):
            return
        logger.metrics(step, means)
        better = means["validation/loss"] < self.least_loss
        self.least_loss = min(self.least_loss, means["validation/loss"])
        self.in_vain = 0 if better else self.in_vain + 1

    def compared(self, score: float) -> dict[str, float]:
        """Of the way from random play to the demonstrator, 1.0 is as good as it."""
        random, demonstrator = self.agent.reference_scores
        if demonstrator == random:
            return {}
        return {"eval/of_demonstrator": (score - random) / (demonstrator - random)}

    def state_dict(self) -> dict[str, Any]:
        return {"least_loss": self.least_loss, "in_vain": self.in_vain}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.least_loss = schema.convert(state["least_loss"], float, "least_loss")
        self.in_vain = schema.natural(state["in_vain"], "in_vain")

    def begin_anew(self, state: dict[str, Any]) -> None:
        self.load_state_dict(state)

    def close(self) -> None: ...


def overlaps_learning(config: BaseConfig) -> bool:
    """Whether some cores learn while others act; beside a GPU, which only hears what to do, all
    cores act.
    """
    on_cpu = resolve_device(config.device).type == "cpu"
    return config.overlap_learning and on_cpu and cores(config.num_threads) > 1


def make_groups(spec: EnvSpec, config: BaseConfig) -> list[TapedVectorEnv]:
    """This rank's environments, in groups that step in turn."""
    ours = distributed.share(config.num_envs)
    each, left = divmod(ours.stop - ours.start, config.env_splits)
    require(left == 0, "num_envs", config.num_envs, f"shared evenly by {config.env_splits} groups")
    _, acting = roles(config.num_threads, overlaps_learning(config))
    threads = min(each, acting)
    return [
        envs.make(spec, each, config.seed, num_threads=threads, first_env=first)
        for first in range(ours.start, ours.stop, each)
    ]


def spaces_of(spec: EnvSpec, num_envs: int = 1) -> Spaces:
    """What an agent for so many environments is built for."""
    return Spaces.of(spec, num_envs, *envs.spaces_of(spec))
