"""TD3's losses by hand, by a slow second formulation and by Stable-Baselines3's TD3."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import read_metrics, run_tiny
from support.actor_critics import (
    copy_critics,
    copy_layer,
    require_an_exact_resume,
    require_evaluation_and_recording,
    samples_of,
    slow_q,
)
from support.learners import make_algorithm
from torch import Tensor
from torch.distributions import Normal

from agents import td3
from agents.core.nets.deterministic import NoisyAction
from agents.core.nets.squashed import ActionScale
from agents.core.training.off_policy_actor import NoisyBatch, OffPolicyActorCritic
from agents.core.types.env_rng import EnvRng
from agents.core.types.spaces import Spaces

BATCH = 16
BOX = Spaces(
    1, (3,), torch.float32, stack=1, atari=False, num_actions=0,
    action_low=(-2.0, 0.0), action_high=(2.0, 3.0), action_shape=(2,),
)  # fmt: skip
SMALL = td3.Config(batch_size=BATCH, hidden=8, buffer_size=1_000, num_threads=1, precision="fp32")


def made(spaces: Spaces = BOX, **changed: Any) -> Any:
    torch.manual_seed(1)
    return make_algorithm(td3, replace(SMALL, **changed), spaces)


def batch_of(action_BK: Tensor) -> NoisyBatch:
    return NoisyBatch(
        obs=torch.randn(BATCH, 3),
        action_B=action_BK,
        reward_B=torch.randn(BATCH),
        discount_B=torch.full((BATCH,), 0.9) * (torch.rand(BATCH) < 0.8),
        next_obs=torch.randn(BATCH, 3),
        weight_B=torch.ones(BATCH),
        slot_B=torch.arange(BATCH),
        normal_BK=torch.randn(action_BK.shape),
        next_normal_BK=3 * torch.randn(action_BK.shape),
    )


def noisy(unit: list[float], deviation: float = 0.5) -> NoisyAction:
    return NoisyAction(torch.tensor([unit]), deviation, ActionScale(BOX))


def test_an_action_with_noise_by_hand() -> None:
    action = noisy([0.5, -0.9])
    # center + radius · unit, with centers 0 and 1.5, and radii 2 and 1.5.
    assert action.mode()[0].tolist() == pytest.approx([1.0, 0.15])
    normal = torch.tensor([[1.0, -4.0]])
    # 0.5 + 0.2, and -0.9 - 0.3, which is clipped twice: to -0.3, and to the bound.
    assert action.smoothed(normal, 0.2, 0.3)[0].tolist() == pytest.approx([1.4, 0.0])
    at = torch.tensor([[1.4, 0.6]])
    expected = Normal(torch.tensor([1.0, 0.15]), torch.tensor([1.0, 0.75]))
    assert action.log_prob(at).item() == pytest.approx(expected.log_prob(at).sum().item())
    assert action.entropy().item() == pytest.approx(expected.entropy().sum().item())


def test_noise_in_acting_has_its_deviation_and_stays_in_the_box() -> None:
    count = 4_000
    action = NoisyAction(torch.tensor([[0.0, 0.9]]).expand(count, 2), 0.1, ActionScale(BOX))
    drawn = action.sample(EnvRng(1, count), 1.0)
    assert drawn[:, 0].std().item() == pytest.approx(0.2, rel=0.05)
    assert drawn[:, 0].mean().item() == pytest.approx(0.0, abs=0.02)
    assert drawn[:, 1].max() == 3.0
    assert torch.equal(action.sample(EnvRng(1, count), 0.0), action.mode())
    quarter = action.sample(EnvRng(1, count), 0.25)
    assert quarter[:, 0].std().item() == pytest.approx(0.1, rel=0.05)
    uniform = action.sample(EnvRng(1, count), math.inf)
    share, _ = np.histogram(uniform[:, 1].numpy(), bins=4, range=(0.0, 3.0))
    assert share == pytest.approx([1_000] * 4, abs=120)


def slow_unit(actor: Any, obs: Tensor) -> Tensor:
    return torch.tanh(actor.head.unit(actor.hidden(obs.unsqueeze(0))))[0]


def slow_losses(learning: Any, batch: NoisyBatch) -> tuple[Tensor, Tensor]:
    """The losses of critics and policy, one transition at a time."""
    critic_loss = policy_loss = torch.zeros(())
    for i in range(BATCH):
        with torch.no_grad():
            noise = [max(-0.5, min(0.5, 0.2 * float(each))) for each in batch.next_normal_BK[i]]
            unit = slow_unit(learning.target["actor"], batch.next_obs[i]) + torch.tensor(noise)
            unit = torch.stack([each.clip(-1, 1) for each in unit])
            value = min(slow_q(learning.target["critic"], batch.next_obs[i], unit))
            target = batch.reward_B[i] + batch.discount_B[i] * value
        taken = torch.stack([batch.action_B[i, 0] / 2, (batch.action_B[i, 1] - 1.5) / 1.5])
        for value in slow_q(learning.critic, batch.obs[i], taken):
            critic_loss = critic_loss + (value - target) ** 2 / BATCH
        first = slow_q(learning.critic, batch.obs[i], slow_unit(learning.actor, batch.obs[i]))[0]
        policy_loss = policy_loss - first / BATCH
    return critic_loss, policy_loss


def test_losses_and_gradients_equal_a_second_formulation() -> None:
    learning = made()
    with torch.no_grad():
        for each in learning.target.parameters():
            each.add_(0.1 * torch.randn_like(each))
    batch = batch_of(torch.rand(BATCH, 2) * torch.tensor([4.0, 3.0]) - torch.tensor([2.0, 0.0]))
    losses = learning.critic_loss(batch).loss.mean(), learning.actor_loss(batch).loss.mean()
    networks = learning.critic, learning.actor
    for ours, theirs, network in zip(losses, slow_losses(learning, batch), networks, strict=True):
        torch.testing.assert_close(ours, theirs)
        parameters = list(network.parameters())
        gradients = [torch.autograd.grad(each, parameters) for each in (ours, theirs)]
        for mine, expected in zip(*gradients, strict=True):
            torch.testing.assert_close(mine, expected)


def copy_to_sb3(learning: Any, model: Any) -> None:
    """Copies our weights into Stable-Baselines3's networks."""
    for ours, theirs in (
        (learning.actor, model.actor),
        (learning.target["actor"], model.actor_target),
    ):
        layers = (ours.hidden[0][0], ours.hidden[1][0], ours.head.unit)
        for layer, their in zip(layers, theirs.mu[::2], strict=True):
            copy_layer(layer, their)
    copy_critics(learning.critic, model.critic)
    copy_critics(learning.target["critic"], model.critic_target)


def test_stable_baselines_has_the_same_losses_and_takes_the_same_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On the same batches, weights and random numbers, for four updates of the critics."""
    sb3 = pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.logger import configure

    torch.manual_seed(3)
    spaces = replace(BOX, action_low=(-2.0,), action_high=(2.0,), action_shape=(1,))
    learning = made(spaces, hidden=16, gamma=0.9)
    model = sb3.TD3(
        "MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [16, 16]}, gamma=0.9,
        learning_rate=SMALL.learning_rate.start, device="cpu",
    )  # fmt: skip
    model.set_logger(configure(None, []))
    copy_to_sb3(learning, model)
    numbers: Iterator[Tensor] = iter(())
    monkeypatch.setattr(
        Tensor, "normal_", lambda self, mean, deviation: self.copy_(deviation * next(numbers))
    )
    for update in range(1, 5):
        batch = batch_of(4 * torch.rand(BATCH, 1) - 2)
        numbers = iter([batch.next_normal_BK])
        samples = samples_of(batch)
        monkeypatch.setattr(model.replay_buffer, "sample", lambda *_, s=samples, **__: s)
        model.train(1, BATCH)
        metrics = learning.improve(batch).metrics
        theirs = model.logger.name_to_value
        assert metrics["losses/critic_loss"].item() == pytest.approx(
            theirs["train/critic_loss"], abs=1e-5, rel=1e-5
        )
        if update % SMALL.target_every_updates == 0:
            # Theirs improves the policy on the critics' batch.
            metrics = learning.learner.update(learning.actor_loss, batch, ("policy",)).metrics
            OffPolicyActorCritic.renew(learning)
            assert metrics["losses/actor_loss"].item() == pytest.approx(
                theirs["train/actor_loss"], abs=1e-5, rel=1e-5
            )
    for ours, theirs in (
        (learning.actor.head.unit, model.actor.mu[4]),
        (learning.target["actor"].head.unit, model.actor_target.mu[4]),
        (learning.critic.heads[1][0][0], model.critic.q_networks[1][0]),
        (learning.target["critic"].heads[1][0][0], model.critic_target.q_networks[1][0]),
    ):
        torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-4, atol=1e-5)


CONTINUOUS = ("--env", "toy/Target-v0", "--log-every-steps", "80")


def test_the_policy_learns_and_targets_move_once_in_some_updates(tmp_path: Path) -> None:
    every = ("--target-every-updates", "4", "--total-steps", "400", "--num-envs", "1")
    run = run_tiny(tmp_path, "td3", *CONTINUOUS, *every)
    _, state, _ = run.restore()
    steps = {name: part["0"]["step"].item() for name, part in state["agent"]["learner"].items()}
    assert steps["critic"] == state["agent"]["counters"][1]
    assert steps["policy"] == steps["critic"] // 4 > 10


def test_a_tiny_run_trains_with_finite_metrics(tmp_path: Path) -> None:
    run = run_tiny(tmp_path, "td3", *CONTINUOUS, "--total-steps", "400", "--previous-inputs")
    rows = read_metrics(run)
    assert all(math.isfinite(value) for row in rows for value in row.values())
    for name in ("losses/critic_loss", "losses/actor_loss"):
        assert sum(name in row for row in rows) >= 3


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_goes_on_exactly(tmp_path: Path, precision: str) -> None:
    require_an_exact_resume(tmp_path, "td3", *CONTINUOUS, "--precision", precision)


def test_a_policy_is_evaluated_and_recorded(tmp_path: Path) -> None:
    require_evaluation_and_recording(tmp_path, "td3", 1.0)
