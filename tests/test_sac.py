"""SAC's losses by hand, by a slow second formulation and by Stable-Baselines3's SAC."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import run_tiny
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

from agents import sac
from agents.core.math import soft_actor_critic as losses
from agents.core.math import targets
from agents.core.policies.soft import OffPolicyActor
from agents.core.training.off_policy_actor import NoisyBatch
from agents.core.types.env_rng import EnvRng
from agents.core.types.spaces import Spaces
from agents.core.types.step import PolicyInputs
from envs import UserError

BATCH = 16
BOX = {
    "num_actions": 0,
    "action_low": (-2.0, 0.0),
    "action_high": (2.0, 3.0),
    "action_shape": (2,),
}
SMALL = sac.Config(
    batch_size=BATCH, hidden=8, buffer_size=1_000, num_threads=1, precision="fp32", alpha=0.2
)


def made(**actions: Any) -> Any:
    torch.manual_seed(1)
    spaces = Spaces(1, (3,), torch.float32, stack=1, atari=False, **actions)
    return make_algorithm(sac, SMALL, spaces)


def batch_of(action_B: Tensor, legal_BA: Tensor | None = None) -> NoisyBatch:
    dimensions = action_B.shape[1] if action_B.ndim == 2 else 0
    return NoisyBatch(
        obs=torch.randn(BATCH, 3),
        action_B=action_B,
        reward_B=torch.randn(BATCH),
        discount_B=torch.full((BATCH,), 0.9) * (torch.rand(BATCH) < 0.8),
        next_obs=torch.randn(BATCH, 3),
        weight_B=torch.ones(BATCH),
        slot_B=torch.arange(BATCH),
        legal_BA=legal_BA,
        next_legal_BA=legal_BA,
        normal_BK=torch.randn(BATCH, dimensions),
        next_normal_BK=torch.randn(BATCH, dimensions),
    )


def test_the_losses_of_two_transitions_by_hand() -> None:
    q_EB = torch.tensor([[1.0, 4.0], [2.0, 3.0]])
    log_prob_B = torch.tensor([-0.5, 1.0])
    value_B = losses.soft_value(q_EB, log_prob_B, torch.tensor(0.1))
    # min(1, 2) + 0.05 and min(4, 3) - 0.1.
    assert value_B.tolist() == pytest.approx([1.05, 2.9])
    target_B = targets.bootstrapped(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.0]), value_B)
    assert target_B.tolist() == pytest.approx([1.525, 2.0])
    # ½ (0.525² + 0.475²) and ½ (2² + 1²).
    assert losses.critic(q_EB, target_B).tolist() == pytest.approx([0.250625, 2.5])
    log_alpha = torch.tensor(-2.0, requires_grad=True)
    loss_B = losses.temperature(log_alpha, torch.tensor([0.5, -1.0]), target_entropy=-2.0)
    assert loss_B.tolist() == pytest.approx([-5.0, -2.0])
    # The entropy is above its target, so that a step down the gradient lowers α.
    (gradient,) = torch.autograd.grad(loss_B.mean(), log_alpha)
    assert gradient.item() == pytest.approx(1.75)


def test_the_value_of_discrete_actions_by_hand() -> None:
    probability_BA = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.8, 0.0]])
    q_EBA = torch.tensor([[[1.0, 3.0, 9.0], [0.0, 1.0, 9.0]], [[2.0, 2.0, 9.0], [5.0, 0.5, 9.0]]])
    value_B = losses.expected_soft_value(q_EBA, probability_BA.log(), torch.tensor(0.1))
    # ½ 1 + ½ 2 + 0.1 log 2, and 0.8 ½ + 0.1 H(0.2).
    entropy = -(0.2 * math.log(0.2) + 0.8 * math.log(0.8))
    assert value_B.tolist() == pytest.approx([1.5 + 0.1 * math.log(2), 0.4 + 0.1 * entropy])
    expected = [math.log(2), entropy]
    assert losses.entropy(probability_BA.log()).tolist() == pytest.approx(expected)


def slow_density(learning: Any, obs: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
    """An action scaled to [-1, 1] and its log-density, in the form that the paper prints."""
    moments = learning.actor.head.moments(learning.actor.hidden(obs.unsqueeze(0)))[0]
    mean = moments[:2]
    deviation = moments[2:].exp()
    u = mean + deviation * normal
    unit = torch.tanh(u)
    log_prob = Normal(mean, deviation).log_prob(u) - torch.log(1 - unit**2)
    return unit, log_prob.sum()


def slow_losses(learning: Any, batch: NoisyBatch) -> tuple[Tensor, Tensor, Tensor]:
    """The losses of the critics, the policy and the temperature, one transition at a time."""
    alpha = learning.log_alpha.detach().exp()
    critic_loss = policy_loss = alpha_loss = torch.zeros(())
    for i in range(batch.size):
        with torch.no_grad():
            action, log_prob = slow_density(learning, batch.next_obs[i], batch.next_normal_BK[i])
            value = min(slow_q(learning.target, batch.next_obs[i], action)) - alpha * log_prob
            target = batch.reward_B[i] + batch.discount_B[i] * value
        taken = torch.stack([batch.action_B[i, 0] / 2, (batch.action_B[i, 1] - 1.5) / 1.5])
        for q in slow_q(learning.critic, batch.obs[i], taken):
            critic_loss = critic_loss + 0.5 * (q - target) ** 2 / batch.size
        action, log_prob = slow_density(learning, batch.obs[i], batch.normal_BK[i])
        first, second = slow_q(learning.critic, batch.obs[i], action)
        lesser = first if first < second else second
        policy_loss = policy_loss + (alpha * log_prob - lesser) / batch.size
        error = log_prob.detach() + learning.soft.target_entropy
        alpha_loss = alpha_loss - learning.log_alpha * error / batch.size
    return critic_loss, policy_loss, alpha_loss


def part(learning: Any, name: str) -> list[Tensor]:
    return learning.learner.parts[name].parameters


def gradients(loss: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(loss, parameters, retain_graph=True))


def check_losses(learning: Any, batch: NoisyBatch, slow: tuple[Tensor, Tensor, Tensor]) -> None:
    """Compares losses and gradients with a slow formulation's."""
    critic_loss, policy_loss, alpha_loss = slow
    critic = learning.critic_loss(batch)
    actor = learning.actor_loss(batch)
    close = torch.testing.assert_close
    close(critic.loss.mean(), critic_loss, rtol=1e-5, atol=1e-5)
    close(actor.metrics["losses/actor_loss"].mean(), policy_loss, rtol=1e-5, atol=1e-5)
    close(actor.metrics["losses/alpha_loss"].mean(), alpha_loss, rtol=1e-5, atol=1e-5)
    pairs = [
        (critic.loss, critic_loss, "critic"),
        (actor.loss, policy_loss, "policy"),
        (actor.loss, alpha_loss, "temperature"),
    ]
    for loss_B, expected, name in pairs:
        parameters = part(learning, name)
        found = gradients(loss_B.mean(), parameters)
        for mine, theirs in zip(found, gradients(expected, parameters), strict=True):
            close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_losses_and_gradients_equal_a_second_formulation() -> None:
    learning = made(**BOX)
    low, high = (torch.tensor(BOX[name]) for name in ("action_low", "action_high"))
    batch = batch_of(low + (high - low) * torch.rand(BATCH, 2))
    check_losses(learning, batch, slow_losses(learning, batch))


def slow_discrete_losses(learning: Any, batch: NoisyBatch) -> tuple[Tensor, Tensor, Tensor]:
    alpha = learning.log_alpha.detach().exp()
    critic_loss = policy_loss = alpha_loss = torch.zeros(())

    def choices(obs: Tensor, legal: Tensor) -> tuple[list[int], Tensor]:
        legal_actions = legal.nonzero().flatten().tolist()
        logits = learning.actor.head.logits(learning.actor.hidden(obs.unsqueeze(0)))[0]
        return legal_actions, torch.softmax(logits[legal_actions], dim=0)

    def q(critic: Any, obs: Tensor) -> list[Tensor]:
        return [head(obs.unsqueeze(0))[0] for head in critic.heads]

    assert batch.legal_BA is not None
    for i in range(batch.size):
        with torch.no_grad():
            value = torch.zeros(())
            first, second = q(learning.target, batch.next_obs[i])
            for action, p in zip(*choices(batch.next_obs[i], batch.legal_BA[i]), strict=True):
                value = value + p * (min(first[action], second[action]) - alpha * p.log())
            target = batch.reward_B[i] + batch.discount_B[i] * value
        first, second = q(learning.critic, batch.obs[i])
        for values in (first, second):
            error = values[batch.action_B[i]] - target
            critic_loss = critic_loss + 0.5 * error**2 / batch.size
        entropy = torch.zeros(())
        for action, p in zip(*choices(batch.obs[i], batch.legal_BA[i]), strict=True):
            lesser = min(first[action], second[action]).detach()
            policy_loss = policy_loss + p * (alpha * p.log() - lesser) / batch.size
            entropy = entropy - (p * p.log()).detach()
        gap = entropy - learning.soft.target_entropy
        alpha_loss = alpha_loss + learning.log_alpha * gap / batch.size
    return critic_loss, policy_loss, alpha_loss


def test_discrete_losses_and_gradients_equal_a_second_formulation() -> None:
    learning = made(num_actions=4)
    legal_BA = torch.rand(BATCH, 4) < 0.6
    legal_BA[:, 0] = True
    batch = batch_of(torch.zeros(BATCH, dtype=torch.int64), legal_BA)
    check_losses(learning, batch, slow_discrete_losses(learning, batch))


def test_a_state_without_a_legal_action_gives_finite_losses() -> None:
    learning = made(num_actions=4)
    batch = batch_of(torch.zeros(BATCH, dtype=torch.int64), torch.zeros(BATCH, 4, dtype=torch.bool))
    assert learning.critic_loss(batch).loss.isfinite().all()
    assert learning.actor_loss(batch).loss.isfinite().all()


def copy_to_sb3(learning: Any, model: Any) -> None:
    """Copies our weights into Stable-Baselines3's networks."""
    for ours, theirs in zip(learning.actor.hidden, model.actor.latent_pi[::2], strict=True):
        copy_layer(ours[0], theirs)
    moments = learning.actor.head.moments
    for index, layer in enumerate((model.actor.mu, model.actor.log_std)):
        layer.weight.data.copy_(moments.weight.chunk(2)[index])
        layer.bias.data.copy_(moments.bias.chunk(2)[index])
    copy_critics(learning.critic, model.critic)
    copy_critics(learning.target, model.critic_target)
    model.log_ent_coef.data.copy_(learning.log_alpha.detach())


def test_stable_baselines_has_the_same_losses_and_takes_the_same_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On the same batches, weights and random numbers, for three updates."""
    sb3 = pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.logger import configure

    torch.manual_seed(3)
    spaces = Spaces(
        1, (3,), torch.float32, 1, 0, False,
        action_low=(-2.0,), action_high=(2.0,), action_shape=(1,),
    )  # fmt: skip
    learning = make_algorithm(sac, replace(SMALL, hidden=16, gamma=0.9, alpha=1.0), spaces)
    layers = {"net_arch": [16, 16]}
    model = sb3.SAC("MlpPolicy", "Pendulum-v1", policy_kwargs=layers, gamma=0.9, device="cpu")
    model.set_logger(configure(None, []))
    copy_to_sb3(learning, model)
    numbers: Iterator[Tensor] = iter(())
    name = "torch.distributions.normal._standard_normal"
    monkeypatch.setattr(name, lambda *_, **__: next(numbers))
    for _ in range(3):
        batch = batch_of(4 * torch.rand(BATCH, 1) - 2)
        # Stable-Baselines3 draws actions in s first, and scales the stored actions to [-1, 1].
        numbers = iter([batch.normal_BK, batch.next_normal_BK])
        samples = samples_of(batch)
        monkeypatch.setattr(model.replay_buffer, "sample", lambda *_, s=samples, **__: s)
        model.train(1, BATCH)
        metrics, _ = learning.improve(batch)
        learning.renew()
        theirs = model.logger.name_to_value
        for ours, their in (
            ("losses/critic_loss", "train/critic_loss"),
            ("losses/actor_loss", "train/actor_loss"),
            ("losses/alpha_loss", "train/ent_coef_loss"),
            ("losses/alpha", "train/ent_coef"),
        ):
            assert metrics[ours].item() == pytest.approx(theirs[their], abs=1e-5, rel=1e-5), ours
    close = torch.testing.assert_close
    close(learning.log_alpha.data, model.log_ent_coef.data[0], rtol=1e-5, atol=1e-5)
    mean, log_std = learning.actor.head.moments.weight.chunk(2)
    close(mean, model.actor.mu.weight, rtol=1e-4, atol=1e-5)
    close(log_std, model.actor.log_std.weight, rtol=1e-4, atol=1e-5)
    for critic, same in ((learning.critic, model.critic), (learning.target, model.critic_target)):
        for head, q_network in zip(critic.heads, same.q_networks, strict=True):
            close(head[0][0].weight, q_network[0].weight, rtol=1e-4, atol=1e-5)


def test_the_target_follows_the_critics_by_its_share() -> None:
    learning = made(**BOX)
    before = [each.clone() for each in learning.target.parameters()]
    with torch.no_grad():
        for each in learning.critic.parameters():
            each.add_(1)
    learning.renew()
    for old, new in zip(before, learning.target.parameters(), strict=True):
        torch.testing.assert_close(new, old + SMALL.target_share)
    assert not any(each.requires_grad for each in learning.target.parameters())


def acted(policy: OffPolicyActor, temperature: float, count: int = 4_000) -> np.ndarray:
    obs = np.ones((count, 3), np.float32)
    inputs = PolicyInputs(obs, np.zeros(count, np.float32), np.ones(count, bool))
    return policy.act(inputs, {}, EnvRng(1, count), temperature).action_N


def test_until_learning_starts_actions_are_uniform() -> None:
    learning = made(**BOX)
    assert learning.exploration(SMALL.learning_starts_steps - 1) == math.inf
    assert learning.exploration(SMALL.learning_starts_steps) == 1.0
    with torch.no_grad():
        learning.actor.head.moments.bias.fill_(2.0)
    action_NK = acted(learning.policy, math.inf)
    for column, low, high in ((0, -2.0, 2.0), (1, 0.0, 3.0)):
        share, _ = np.histogram(action_NK[:, column], bins=4, range=(low, high))
        assert share.sum() == len(action_NK)
        assert share == pytest.approx([1_000] * 4, abs=120)
    assert (acted(learning.policy, 0.0) == acted(learning.policy, 0.0)[0]).all()
    discrete = made(num_actions=4)
    with torch.no_grad():
        discrete.actor.head.logits.bias.copy_(torch.tensor([9.0, 0.0, 0.0, -9.0]))
    counts = np.bincount(acted(discrete.policy, math.inf), minlength=4)
    assert counts == pytest.approx([1_000] * 4, abs=120)
    assert (acted(discrete.policy, 0.0) == 0).all()


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-math.inf, 1.0, "needs finite bounds, not -inf"),
        (-1.0, math.inf, "needs finite bounds, not inf"),
        (1.0, 1.0, "needs bounds that differ, not 1.0 twice"),
    ],
)
def test_a_box_without_bounds_is_refused(low: float, high: float, said: str) -> None:
    with pytest.raises(UserError, match=said):
        made(num_actions=0, action_low=(low,), action_high=(high,), action_shape=(1,))


CONTINUOUS = ("--env", "toy/Target-v0", "--log-every-steps", "80")


def test_a_continuous_run_goes_on_exactly(tmp_path: Path) -> None:
    require_an_exact_resume(tmp_path, "sac", *CONTINUOUS)


def test_parts_of_an_action_are_chosen_together(tmp_path: Path) -> None:
    run = run_tiny(tmp_path, "sac", "--env", "toy/Pair-v0", "--total-steps", "160")
    assert run.weights("last")[0]["head.logits.weight"].shape[0] == 12


def test_a_fixed_temperature_stays(tmp_path: Path) -> None:
    flags = ("--alpha", "0.3", "--no-learn-alpha", "--total-steps", "160")
    run = run_tiny(tmp_path, "sac", "--env", "toy/Target-v0", *flags)
    _, state, _ = run.restore()
    log_alpha = state["agent"]["learner"]["temperature"]["network"]["log_alpha"]
    assert log_alpha.item() == pytest.approx(math.log(0.3))


def test_a_continuous_policy_is_evaluated_and_recorded(tmp_path: Path) -> None:
    require_evaluation_and_recording(tmp_path, "sac")
