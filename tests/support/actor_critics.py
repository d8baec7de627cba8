"""Helpers for tests of off-policy actor-critics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from conftest import run_tiny
from torch import Tensor

from agents import evaluate
from agents.core.training.demonstrator import demonstrator, load_policy
from agents.core.training.launch import train
from agents.core.training.off_policy_actor import NoisyBatch
from demos.recording import record


def slow_q(critic: Any, obs: Tensor, unit: Tensor) -> list[Tensor]:
    """Each critic's value of one action scaled to [-1, 1], in one state."""
    return [head(torch.cat([obs, unit]).unsqueeze(0))[0, 0] for head in critic.heads]


def copy_layer(source: Any, target: Any) -> None:
    """Copies the weights of a linear layer into one of another library."""
    target.weight.data.copy_(source.weight)
    target.bias.data.copy_(source.bias)


def copy_critics(critic: Any, theirs: Any) -> None:
    """Copies the weights of our critics into the critics of Stable-Baselines3."""
    for head, q_network in zip(critic.heads, theirs.q_networks, strict=True):
        layers = (head[0][0], head[1][0], head[2])
        for ours, layer in zip(layers, q_network[::2], strict=True):
            copy_layer(ours, layer)


def samples_of(batch: NoisyBatch) -> Any:
    """The batch as Stable-Baselines3's; its actions in [-2, 2] become actions in [-1, 1]."""
    from stable_baselines3.common.buffers import ReplayBufferSamples

    return ReplayBufferSamples(
        batch.obs,
        batch.action_B / 2,
        batch.next_obs,
        (batch.discount_B == 0).float().unsqueeze(1),
        batch.reward_B.unsqueeze(1),
    )


def require_evaluation_and_recording(
    folder: Path, algo: str, exploration: float | None = None
) -> None:
    """A continuous policy is evaluated repeatably, and a demonstration is recorded from it.

    Args:
        exploration: the temperature of the demonstration; None is the policy's own.
    """
    run = run_tiny(folder, algo, "--env", "toy/Target-v0", "--total-steps", "160")
    arguments = evaluate.Arguments(run=run.path, episodes=3, checkpoint="last", video=False)
    first = evaluate.evaluate(arguments)
    assert first.exploration == 0.0
    assert first.to_json() == evaluate.evaluate(arguments).to_json()
    _, spec, _, _ = load_policy(run, "last")
    player = demonstrator(str(run.path), spec, 0, exploration)
    (episode,) = record(spec, player, episodes=1, seed=0, num_envs=1)
    assert episode.actions.shape == (10, 1)
    assert episode.actions.dtype == np.float32
    assert np.abs(episode.actions).max() <= 1
    assert len(np.unique(episode.actions)) > 1


def require_an_exact_resume(folder: Path, algo: str, *settings: str) -> None:
    """A run that is resumed after 200 steps has at 400 the state of a whole run."""
    whole = run_tiny(folder, algo, *settings, "--total-steps", "400")
    half = run_tiny(folder, algo, *settings, "--total-steps", "200")
    assert train(algo, ["--resume", str(half.path), "--total-steps", "400"]) == 0
    first, first_state, _ = whole.restore()
    second, second_state, _ = half.restore()
    assert first == second == 400
    for name in ("learner", "target", "drawn_actions"):
        require_equal(first_state["agent"][name], second_state["agent"][name])
    require_equal(whole.weights("last")[0], half.weights("last")[0])


def require_equal(first: Any, second: Any) -> None:
    """Two states have the same names and the same numbers."""
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for name in first:
            require_equal(first[name], second[name])
    else:
        assert torch.equal(torch.as_tensor(first), torch.as_tensor(second))
