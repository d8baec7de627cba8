"""How actions are chosen with a learner's network."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.core.nets.distributions import Policy, join
from agents.core.optimize.learner import Learner
from agents.core.system.device import to_device
from agents.core.types.env_rng import EnvRng
from agents.core.types.spaces import Spaces
from agents.core.types.step import ActOutput, Obs


@torch.no_grad()
def epsilon_greedy(learner: Learner, obs: Obs, rng: EnvRng, epsilon: float) -> np.ndarray:
    """For each observation the action of highest value, or with probability ε any, int64 (N,).

    The draws are made whatever ε is, so that a run's randomness does not depend on it.
    """
    obs_N = to_device(obs, learner.device)
    q_NA = torch.cat(learner.infer(learner.acting, obs_N))
    explore_N, which_N = rng.uniform(2).unbind(dim=1)
    random_N = (which_N * q_NA.shape[1]).long()
    return torch.where(explore_N < epsilon, random_N, q_NA.argmax(dim=1).cpu()).numpy()


@torch.no_grad()
def sample_policy(
    learner: Learner,
    spaces: Spaces,
    obs: Obs,
    memory_NS: Tensor,
    rng: EnvRng,
    temperature: float,
) -> ActOutput:
    """Actions drawn from an actor-critic's policy, with what a rollout keeps of the choice."""
    obs_N = to_device(obs, learner.device)
    policy, value_1N, next_memory_NS = one_step(learner, obs_N, memory_NS)
    action_1NK = policy.sample(rng, temperature)
    extras = {
        "obs": obs_N,
        "memory": memory_NS,
        "action": action_1NK[0],
        "log_prob": policy.log_prob(action_1NK)[0],
        "value": value_1N[0],
    }
    return ActOutput(spaces.playable(action_1NK[0].cpu().numpy()), next_memory_NS, extras)


@torch.no_grad()
def imitate(
    learner: Learner, spaces: Spaces, obs: Obs, rng: EnvRng, temperature: float
) -> np.ndarray:
    """Actions drawn from a policy network, as the environments take them."""
    policy = policy_of(learner, to_device(obs, learner.device))
    return spaces.playable(policy.sample(rng, temperature).cpu().numpy())


def policy_of(learner: Learner, obs_N: Tensor) -> Policy:
    """The policy of a policy network on observations (N, ...)."""
    return join(learner.infer(learner.acting, obs_N))


@torch.no_grad()
def state_values(learner: Learner, obs: Obs, memory_NS: Tensor) -> Tensor:
    """An actor-critic's values (N,) of observations, given what it remembers."""
    return one_step(learner, to_device(obs, learner.device), memory_NS)[1][0]


def one_step(learner: Learner, obs_N: Tensor, memory_NS: Tensor) -> tuple[Policy, Tensor, Tensor]:
    """What an actor-critic says of observations, as a sequence of one step (`ActorCritic`)."""
    network: Any = learner.acting
    policies, values, memories = zip(*learner.infer(network.step, obs_N, memory_NS), strict=True)
    return join(policies), torch.cat(values, dim=1), torch.cat(memories)
