"""Helpers for tests of off-policy actor-critics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from conftest import run_tiny
from torch import Tensor

from agents.core.training.launch import train


def slow_q(critic: Any, obs: Tensor, unit: Tensor) -> list[Tensor]:
    """Each critic's value of one action scaled to [-1, 1], in one state."""
    return [head(torch.cat([obs, unit]).unsqueeze(0))[0, 0] for head in critic.heads]


def copy_layer(source: Any, target: Any) -> None:
    """Copies the weights of a linear layer into one of another library."""
    target.weight.data.copy_(source.weight)
    target.bias.data.copy_(source.bias)


def copy_critics(critic: Any, theirs: Any) -> None:
    """Copies our critics' weights into those of Stable-Baselines3."""
    for head, q_network in zip(critic.heads, theirs.q_networks, strict=True):
        layers = (head[0][0], head[1][0], head[2])
        for ours, layer in zip(layers, q_network[::2], strict=True):
            copy_layer(ours, layer)


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
