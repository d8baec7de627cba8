"""A run's agent as it is evaluated: what scores it, and what demonstrates with it, plays the same.

Nothing in `demos` imports agents: it finds `demonstrator` as the entry point `run` of the group
`joystick.policies`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from agents.core.runs.run import Run
from agents.core.system.device import resolve_device, tune_process
from agents.core.training.agent import Agent
from agents.core.training.algorithms import algorithm
from agents.core.training.building import build
from agents.core.training.config import of_run, require
from agents.core.training.experience import spaces_of
from agents.core.types.env_rng import EnvRng
from envs import EnvSpec


def load_agent(run: Run, checkpoint: str, device: str) -> tuple[Agent, EnvSpec, int]:
    """The agent of a run, its environment's spec and the step of its weights.

    Raises:
        UserError: the environment cannot be built here as it was in training, the network does not
            fit into memory, or there are no whole weights.
    """
    spec = EnvSpec.from_json(run.config()["env_spec"])
    spec.check_reproducible()
    module = algorithm(run.algo)
    config = of_run(module.Config, run)
    agent = build(module, config, spaces_of(spec), resolve_device(device))
    _, step = run.weights(checkpoint, agent.learner.load_weights)
    return agent, spec, step


def own_exploration(agent: Agent, exploration: float | None) -> float:
    """The ε or temperature to play with, by default the config's for evaluations."""
    if exploration is None:
        return float(getattr(agent.config, f"eval_{agent.explores_by}"))
    most = 1.0 if agent.explores_by == "epsilon" else float("inf")
    allowed = f"an {agent.explores_by} from 0 to {most:g}"
    require(0 <= exploration <= most, "exploration", exploration, allowed)
    return exploration


class Demonstrator:
    """Plays N games at a time with the best weights of a run."""

    def __init__(self, run: Run, spec: EnvSpec, seed: int, exploration: float | None):
        self.agent, trained_on, step = load_agent(run, "best", "auto")
        spec.bounded().require_same(trained_on.bounded(spec.most_steps), f"{run.path} is")
        self.exploration = own_exploration(self.agent, exploration)
        self.seed, self.rounds = seed, 0
        how = f"{self.agent.explores_by} {self.exploration:g}"
        self.name = f"{run.path.name}, step {step}, {how}"

    def begin(self, games: int) -> None:
        self.rng = EnvRng(self.seed + self.rounds, games)
        self.rounds += 1
        device = self.agent.learner.device
        self.memory_NS = torch.zeros(games, self.agent.memory_size, device=device)

    def act(self, obs: np.ndarray, start: np.ndarray) -> np.ndarray:
        goes_on_N1 = torch.from_numpy(~start).unsqueeze(1)
        memory_NS = self.memory_NS * goes_on_N1.to(self.memory_NS)
        decision = self.agent.act(obs, memory_NS, self.rng, self.exploration)
        self.memory_NS = decision.memory_NS
        return decision.action_N


def demonstrator(path: str, spec: EnvSpec, seed: int, exploration: float | None) -> Demonstrator:
    """The policy of a run's directory, as `demos.recording.Policy` wants one."""
    tune_process()
    return Demonstrator(Run.open(Path(path)), spec, seed, exploration)
