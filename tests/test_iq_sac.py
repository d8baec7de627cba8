"""IQ-SAC's loss by a slow second formulation, and what it never sees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny
from support.actor_critics import require_an_exact_resume
from support.devices import CPU

from agents import iq_sac
from agents.core.training import building
from agents.core.training.arguments import parse
from agents.core.training.off_policy_actor import NoisyBatch
from agents.core.training.soft_actor_critic import States


def made(*more: str) -> Any:
    """The algorithm of a tiny run with actions of a Box, before its first step."""
    words = [*tiny("iq_sac", "toy/Target-v0"), "--preset", "continuous", *more]
    config: Any = parse(iq_sac, [*words, "--num-threads", "1"]).config  # pyright: ignore
    spaces = building.spaces_of(config.spec_of(config.env_id), config.num_envs)
    torch.manual_seed(1)
    return iq_sac.make_algorithm(config, iq_sac.make_policy(config, spaces, CPU))


def batch_of(learning: Any, size: int = 8) -> NoisyBatch:
    """A minibatch whose second half is demonstrated."""
    generator = torch.Generator().manual_seed(3)
    shape = learning.policy.spaces.obs_shape
    return NoisyBatch(
        obs=torch.randn(size, *shape, generator=generator),
        action_B=torch.rand(size, 1, generator=generator) - 0.5,
        reward_B=torch.full((size,), 99.0),
        discount_B=torch.full((size,), 0.9) * (torch.arange(size) != 2),
        next_obs=torch.randn(size, *shape, generator=generator),
        weight_B=torch.ones(size),
        slot_B=torch.arange(size),
        is_demo=torch.arange(size) >= size // 2,
        normal_BK=torch.randn(size, 1, generator=generator),
        next_normal_BK=torch.randn(size, 1, generator=generator),
    )


def test_the_loss_is_its_equation() -> None:
    learning = made("--penalty", "0.25", "--alpha", "0.2", "--gamma", "0.9")
    batch = batch_of(learning)
    found = learning.critic_loss(batch).loss.mean().item()

    def value(critics: Any, obs: Any, normal: Any) -> Any:
        action, log_prob = learning.actor(obs).draw(normal)
        return critics(obs, action).amin(dim=0) - 0.2 * log_prob

    expected = 0.0
    for number in range(2):
        for b in range(batch.size):
            one = slice(b, b + 1)
            after = value(learning.target, batch.next_obs[one], batch.next_normal_BK[one])
            q = learning.critic(batch.obs[one], batch.action_B[one])[number]
            reward = (q - batch.discount_B[b] * after).item()
            start = value(learning.critic, batch.obs[one], batch.normal_BK[one]).item()
            of_all = (0.1 * start + reward**2 / (4 * 0.25)) / batch.size
            of_expert = reward / (batch.size / 2) if batch.is_demo_B[b] else 0.0
            expected += 0.5 * (of_all - of_expert)
    assert found == pytest.approx(expected, abs=1e-5)


def test_the_environments_rewards_are_never_seen() -> None:
    learning = made()
    batch = batch_of(learning)
    other = replace(batch, reward_B=-batch.reward_B)
    for loss in (learning.critic_loss, learning.actor_loss):
        assert torch.equal(loss(batch).loss, loss(other).loss)


def test_the_implied_rewards_tell_the_expert_from_the_agent() -> None:
    learning = made("--learning-rate", "1e-2")
    batch = batch_of(learning)

    def implied() -> tuple[float, float]:
        after_B = learning.soft.value(learning.target, States.after(batch), learning.alpha)
        q_EB = learning.critic(batch.obs, batch.action_B)
        reward_B = (q_EB - batch.discount_B * after_B).mean(dim=0)
        expert = batch.is_demo_B
        return reward_B[expert].mean().item(), reward_B[~expert].mean().item()

    of_expert, of_agent = implied()
    assert abs(of_expert - of_agent) < 0.5
    for _ in range(300):
        learning.learner.update(learning.critic_loss, batch, ("critic",))
    # The terms of rewards alone are least at r = 4c = 2 for the expert, and at 0 for the agent.
    of_expert, of_agent = implied()
    assert of_expert > 1.5 and abs(of_agent) < 0.5


def test_the_target_critics_take_no_gradient() -> None:
    learning = made()
    learning.critic_loss(batch_of(learning)).loss.mean().backward()
    assert all(each.grad is None for each in learning.target.parameters())
    assert all(each.grad is not None for each in learning.critic.heads.parameters())


def test_a_run_goes_on_exactly_from_its_checkpoint(tmp_path: Path) -> None:
    require_an_exact_resume(tmp_path, "iq_sac", "--env", "toy/Target-v0", "--preset", "continuous")
