"""What is measured: our agent, a peer's, told to do the same work, and the bare learning in it.

PongNoFrameskip-v4 (or another game's), a batch of 32 every 4 steps, the Nature CNN with 512
hidden units, plain one-step targets, a target copy every 1,000 steps, Adam, a replay of 100,000
and ε at 0.05.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import nn

import envs
from agents.core import losses
from agents.core.device import resolve_device, resolve_precision, tune_process
from agents.core.launch import algorithm
from agents.core.log import Logger
from agents.core.loop import OnlineTraining
from agents.core.networks import QHead, QNetwork, nature_cnn
from agents.core.run import Run
from agents.core.types import Spaces

NEVER = 10**9

# What both sides call by the same name; the rest they express each in their own way.
SHARED: dict[str, Any] = {
    "batch_size": 32,
    "buffer_size": 100_000,
    "gamma": 0.99,
    "learning_rate": 1e-4,
    "max_grad_norm": 10.0,
}
STEPS_PER_UPDATE, STEPS_PER_TARGET_COPY, EPSILON = 4, 1_000, 0.05


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a side is to train, and where."""

    algo: str = "dqn"
    game: str = "Pong"
    num_envs: int = 8
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    learning_starts_steps: int = 1_000

    @property
    def env_id(self) -> str:
        return f"{self.game}NoFrameskip-v4"


class Side(Protocol):
    """An agent in training.

    `about` says what distinguishes it, `counts` are its environment steps and updates so far,
    `advance` trains for about as many steps and returns the seconds that took.
    """

    @property
    def about(self) -> dict[str, Any]: ...

    @property
    def counts(self) -> tuple[int, int]: ...

    def advance(self, steps: int) -> float: ...


class Joystick:
    """Our agent in its own training loop, without evaluations and W&B."""

    def __init__(self, task: Task, folder: Path):
        tune_process()
        module = algorithm(task.algo)
        self.config = module.Config(
            **SHARED,
            env_id=task.env_id,
            num_envs=task.num_envs,
            precision=task.precision,
            learning_starts_steps=task.learning_starts_steps,
            replay_ratio=SHARED["batch_size"] / STEPS_PER_UPDATE,
            target_every_updates=STEPS_PER_TARGET_COPY // STEPS_PER_UPDATE,
            epsilon_start=EPSILON,
            epsilon_end=EPSILON,
            torso="nature",
            hidden=512,
            layer_norm=False,
            dueling=False,
            double=False,
            n_step=1,
            priority_exponent=0.0,
            log_every_steps=NEVER,
            checkpoint_every_steps=NEVER,
            eval_every_steps=0,
        )
        torch.manual_seed(self.config.seed)
        env = envs.make(task.env_id, task.num_envs, self.config.seed)
        self.agent = module.build(self.config, Spaces.of(env), resolve_device(task.device))
        self.agent.prepare()
        self.run = Run.create(folder, task.env_id, task.algo, self.config.seed)
        self.logger = Logger(self.run, {}, total_steps=NEVER, wandb_mode="disabled", console=False)
        self.training = OnlineTraining(self.agent, env, self.config, self.run)

    @property
    def about(self) -> dict[str, Any]:
        precision = str(self.agent.learner.precision).removeprefix("torch.")
        return {"precision": precision, "device": self.agent.learner.device.type}

    @property
    def counts(self) -> tuple[int, int]:
        return self.training.step, self.agent.updates

    def advance(self, steps: int) -> float:
        first_step = self.training.step
        self.training.config = dataclasses.replace(self.config, total_steps=first_step + steps)
        self.training.train(self.logger)
        # The loop reports its speed once, at the end, and leaves the checkpoint out of it.
        lines = [json.loads(line) for line in self.run.metrics_path.read_text().splitlines()]
        speed = [line["charts/SPS"] for line in lines if "charts/SPS" in line][-1]
        return (self.training.step - first_step) / speed


class StableBaselines:
    """Stable-Baselines3's agent, set up for Atari as its documentation does."""

    def __init__(self, task: Task, folder: Path):
        from stable_baselines3 import DQN  # pyright: ignore[reportMissingImports]
        from stable_baselines3.common import (  # pyright: ignore[reportMissingImports]
            env_util,
            vec_env,
        )

        env = vec_env.VecFrameStack(env_util.make_atari_env(task.env_id, task.num_envs, seed=1), 4)
        # train_freq counts steps of the vector of environments.
        self.model = DQN(
            "CnnPolicy",
            env,
            **SHARED,
            learning_starts=task.learning_starts_steps,
            train_freq=max(STEPS_PER_UPDATE // task.num_envs, 1),
            gradient_steps=max(task.num_envs // STEPS_PER_UPDATE, 1),
            target_update_interval=STEPS_PER_TARGET_COPY,
            exploration_initial_eps=EPSILON,
            exploration_final_eps=EPSILON,
            device=task.device,
            seed=1,
        )

    @property
    def about(self) -> dict[str, Any]:
        return {"precision": "float32", "device": self.model.device.type}

    @property
    def counts(self) -> tuple[int, int]:
        return self.model.num_timesteps, self.model._n_updates

    def advance(self, steps: int) -> float:
        start = time.perf_counter()
        self.model.learn(steps, log_interval=NEVER, reset_num_timesteps=False)
        return time.perf_counter() - start


class TrainingLimit:
    """The bare optimisation step: no emulator, replay, priorities or logging.

    The target's pass, the online forward and backward pass and fused Adam, on one fixed batch in
    the plain loop that a tutorial shows. An agent that takes turns between learning and the rest
    cannot be faster.
    """

    def __init__(self, task: Task, folder: Path):
        del folder
        tune_process()
        self.device = resolve_device(task.device)
        self.precision = resolve_precision(task.precision, self.device)
        torch.manual_seed(1)
        shape = (4, 84, 84)
        torso = nature_cnn(shape)
        head = QHead(torso.num_features, num_actions=6, width=512, layer_norm=False)
        self.network = QNetwork(torso, head).to(self.device)
        self.target = copy.deepcopy(self.network).requires_grad_(False)
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), lr=SHARED["learning_rate"], fused=True
        )
        size = SHARED["batch_size"]
        self.obs = torch.randint(0, 256, (2, size, *shape), dtype=torch.uint8, device=self.device)
        self.action_B1 = torch.randint(0, 6, (size, 1), device=self.device)
        self.updates = 0

    @property
    def about(self) -> dict[str, Any]:
        precision = str(self.precision).removeprefix("torch.")
        return {"precision": precision, "device": self.device.type}

    @property
    def counts(self) -> tuple[int, int]:
        return self.updates * STEPS_PER_UPDATE, self.updates

    def advance(self, steps: int) -> float:
        start = time.perf_counter()
        for _ in range(-(-steps // STEPS_PER_UPDATE)):
            autocast = torch.autocast(
                self.device.type, self.precision, enabled=self.precision != torch.float32
            )
            with autocast:
                with torch.no_grad():
                    target_B = self.target(self.obs[1]).amax(dim=1)
                q_B = self.network(self.obs[0]).gather(1, self.action_B1).squeeze(1)
            self.optimiser.zero_grad()
            losses.huber(target_B - q_B).mean().backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), SHARED["max_grad_norm"])
            self.optimiser.step()
            self.updates += 1
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - start
