"""Loads a trained policy from a run directory, for evaluation and recording.

`demos` does not import agents. It finds `demonstrator` through the entry point `run` of the group
`joystick.policies`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from agents.core.policies.policy import Policy
from agents.core.runs.run import Run
from agents.core.system.device import resolve_device, tune_process
from agents.core.training.algorithms import algorithm
from agents.core.training.building import build_policy, spaces_of
from agents.core.training.config import of_run, require
from agents.core.types.env_rng import EnvRng
from agents.core.types.step import PolicyInputs
from envs import EnvSpec


class Loaded(NamedTuple):
    """A trained policy with the environment and config of its run.

    Attributes:
        step: training step of the weights.
        config: the config of the run.
    """

    policy: Policy
    spec: EnvSpec
    step: int
    config: Any


def load_policy(run: Run, checkpoint: str = "best", device: str = "auto") -> Loaded:
    """Loads the policy of a run.

    Args:
        checkpoint: "best" or "last".
        device: "auto", "cpu" or "cuda".

    Raises:
        UserError: the environment cannot be rebuilt here, the network does not fit into memory, or
            no weights are intact.
    """
    spec = EnvSpec.from_json(run.config()["env_spec"])
    spec.check_reproducible()
    module = algorithm(run.algo)
    config = of_run(module.Config, run)
    policy = build_policy(module, config, spaces_of(spec), resolve_device(device))
    _, step = run.weights(checkpoint, policy.load_weights)
    return Loaded(policy, spec, step, config)


def own_exploration(policy: Policy, exploration: float | None) -> float:
    """The ε or temperature to play with; None gives the policy's default in evaluations.

    Raises:
        UserError: the value is out of range.
    """
    if exploration is None:
        return policy.eval_exploration
    most = policy.most_exploration
    allowed = f"an {policy.explores_by} from 0 to {most:g}"
    require(0 <= exploration <= most, "exploration", exploration, allowed)
    return exploration


class Player:
    """Plays N games at a time with a policy, as a `demos.recording.Policy`.

    Args:
        name: the player, as datasets name it.
        seed: seed of the policy's random numbers.
        exploration: ε or temperature; None takes the policy's own of evaluations.
    """

    def __init__(self, policy: Policy, name: str, seed: int, exploration: float | None = None):
        self.policy = policy
        self.exploration = own_exploration(policy, exploration)
        self.name = f"{name}, {policy.explores_by} {self.exploration:g}"
        self.seed = seed
        self.rounds = 0

    def begin(self, games: int) -> None:
        """Begins new games, N at a time."""
        self.rng = EnvRng(self.seed + self.rounds, games)
        self.rounds += 1
        self.state = self.policy.initial_state(games)
        self.action_N = self.policy.spaces.remembered_none(games)

    def act(
        self,
        obs: np.ndarray,
        start: np.ndarray,
        reward: np.ndarray | None = None,
        legal: np.ndarray | None = None,
    ) -> np.ndarray:
        self.action_N[start] = 0
        reward_N = np.zeros(len(obs), np.float32) if reward is None else reward
        legal_NA = None if legal is None else torch.from_numpy(legal)
        inputs = PolicyInputs(obs, reward_N, start, legal_NA, self.action_N)
        output = self.policy.act(inputs, self.state, self.rng, self.exploration)
        self.state = output.state
        self.action_N = self.policy.spaces.remembered(output.action_N)
        return output.action_N


class Demonstrator(Player):
    """Plays with the weights of a run.

    Raises:
        UserError: as `load_policy`, or the run was trained in another environment.
    """

    def __init__(
        self,
        run: Run,
        spec: EnvSpec,
        seed: int,
        exploration: float | None,
        checkpoint: str = "best",
        device: str = "auto",
    ):
        policy, trained_on, step, _ = load_policy(run, checkpoint, device)
        spec.bounded().require_same(trained_on.bounded(spec.most_steps), f"{run.path} is")
        super().__init__(policy, f"{run.path.name}, step {step}", seed, exploration)


def demonstrator(path: str, spec: EnvSpec, seed: int, exploration: float | None) -> Demonstrator:
    """Loads the policy in a run's directory as a `demos.recording.Policy`."""
    tune_process()
    return Demonstrator(Run.open(Path(path)), spec, seed, exploration)
