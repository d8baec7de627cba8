"""GAIL's losses and rewards by hand, its discriminator, and what it never sees."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import run_tiny, tiny
from support.actor_critics import require_an_exact_resume
from support.devices import CPU, DEVICES
from support.experts import expert_games
from torch import Tensor

from agents import gail
from agents.core.data.augmentation import shift, shifted
from agents.core.math import adversarial
from agents.core.nets.discriminator import Discriminator
from agents.core.training import building
from agents.core.training.arguments import parse
from agents.core.training.off_policy_actor import NoisyBatch
from agents.core.types.spaces import Spaces

VECTOR = Spaces(1, (3,), torch.float32, stack=1, atari=False, num_actions=4)
IMAGE = Spaces(1, (4, 36, 36), torch.uint8, stack=4, atari=True, num_actions=4)
BOX = Spaces(
    1, (3,), torch.float32, stack=1, atari=False, num_actions=0,
    action_low=(-2.0, 0.0), action_high=(2.0, 4.0), action_shape=(2,),
)  # fmt: skip
SMALL = gail.Config(hidden=16, num_threads=1, precision="fp32")


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_the_discriminators_loss_and_the_rewards_by_hand(device: torch.device) -> None:
    logit_B = torch.tensor([0.0, math.log(3.0), math.log(3.0)], device=device)
    is_expert_B = torch.tensor([True, True, False], device=device)
    # D is 1/2, 3/4 and 3/4.
    loss_B = adversarial.discriminator(logit_B, is_expert_B)
    assert loss_B.tolist() == pytest.approx([math.log(2), math.log(4 / 3), math.log(4)])
    assert adversarial.airl(logit_B).tolist() == pytest.approx([0.0, math.log(3), math.log(3)])
    assert adversarial.gail(logit_B).tolist() == pytest.approx([math.log(2), *[math.log(4)] * 2])
    # A logit of 0 does not say "expert".
    assert adversarial.is_right(logit_B, is_expert_B).tolist() == [0.0, 1.0, 0.0]


def test_expert_and_agent_count_half_each() -> None:
    is_expert_B = torch.tensor([True, False, False, False])
    weight_B = adversarial.balance(is_expert_B, share=0.25)
    assert weight_B.tolist() == pytest.approx([2.0, 2 / 3, 2 / 3, 2 / 3])


def test_the_gradient_penalty_by_hand() -> None:
    seen = torch.tensor([[1.0, 2.0], [3.0, 0.0]], requires_grad=True)
    scale = torch.tensor([2.0, 1.0], requires_grad=True)
    # The gradients of Σ (s x)² / 2 are s² x: (4, 2) and (12, 0).
    logit_B = 0.5 * (scale * seen).square().sum(dim=1)
    penalty_B = adversarial.gradient_penalty(logit_B, seen)
    assert penalty_B.tolist() == pytest.approx([10.0, 72.0])
    (by_scale,) = torch.autograd.grad(penalty_B.sum(), scale)
    # ½ Σ s⁴ x² has the derivative 2 s³ Σ x².
    assert by_scale.tolist() == pytest.approx([2 * 8 * 10, 2 * 4])


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_each_image_moves_as_its_numbers_say(device: torch.device) -> None:
    images = torch.randint(1, 255, (9, 2, 5, 6), dtype=torch.uint8, device=device)
    # The middles of three equal parts of [0, 1) are one pixel up, none and one down.
    middles = (1 / 6, 1 / 2, 5 / 6)
    uniform = torch.tensor([[a, b] for a in middles for b in middles], device=device)
    moved = shifted(images, uniform, most_pixels=1)
    ways = [(down, right) for down in (1, 0, -1) for right in (1, 0, -1)]
    for image, after, way in zip(images, moved, ways, strict=True):
        assert torch.equal(shift(image, *way), after), way
    assert shifted(images, uniform, most_pixels=0) is images


def test_the_top_of_images_is_hidden_and_the_batch_keeps_it() -> None:
    images = torch.ones(2, 3, 4, 4)
    hidden = gail.without_top(images, 1)
    assert hidden[:, :, 0].eq(0).all() and hidden[:, :, 1:].eq(1).all()
    assert images.eq(1).all()
    assert gail.without_top(images, 0) is images


def test_logits_depend_on_the_action() -> None:
    torch.manual_seed(1)
    discriminator = Discriminator(SMALL, VECTOR)
    seen = discriminator.seen(torch.ones(4, 3))
    assert len(discriminator(seen, torch.arange(4)).unique()) == 4
    box = Discriminator(SMALL, BOX)
    assert box.action(torch.tensor([[2.0, 2.0]])).tolist() == [[1.0, 0.0]]


def test_a_shared_torso_is_neither_trained_nor_saved() -> None:
    torch.manual_seed(1)
    own = Discriminator(SMALL, IMAGE)
    shared = Discriminator(SMALL, IMAGE, own.torso)
    names = {*shared.state_dict()}
    assert names and not any(name.startswith("torso") for name in names)
    assert any(name.startswith("torso") for name in own.state_dict())
    obs = torch.randint(0, 255, (5, 4, 36, 36), dtype=torch.uint8)
    seen = shared.seen(obs)
    assert not seen.requires_grad and seen.shape == (5, own.torso.num_features)
    assert seen.mean(dim=1).abs().max() < 1e-5
    own_seen = own.seen(obs)
    assert own_seen.shape == obs.shape and own_seen.is_floating_point()


def made(*more: str, env_id: str = "CartPole-v1") -> Any:
    """The algorithm of a tiny run, before its first step."""
    config: Any = parse(gail, [*tiny("gail", env_id), *more, "--num-threads", "1"]).config  # pyright: ignore
    spaces = building.spaces_of(config.spec_of(config.env_id), config.num_envs)
    torch.manual_seed(1)
    return gail.make_algorithm(config, gail.make_policy(config, spaces, CPU))


def batch_of(size: int = 16) -> NoisyBatch:
    """A minibatch of CartPole; its second half is demonstrated."""
    generator = torch.Generator().manual_seed(3)
    return NoisyBatch(
        obs=torch.randn(size, 4, generator=generator),
        action_B=torch.arange(size) % 2,
        reward_B=torch.full((size,), 99.0),
        discount_B=torch.full((size,), 0.5),
        next_obs=torch.randn(size, 4, generator=generator),
        weight_B=torch.ones(size),
        slot_B=torch.arange(size),
        uniform=torch.rand(size, 2, generator=generator),
        is_demo=torch.arange(size) >= size // 2,
        normal_BK=torch.empty(size, 0),
        next_normal_BK=torch.empty(size, 0),
    )


@pytest.mark.parametrize("reward", ["airl", "gail"])
def test_the_critics_targets_have_the_discriminators_rewards(reward: str) -> None:
    learning = made("--reward", reward, "--reward-scale", "2")
    batch = batch_of()
    logit_B = learning.discriminator(batch.obs, batch.action_B)
    expected = 2 * (logit_B if reward == "airl" else torch.log1p(logit_B.exp()))
    log_prob_BA = learning.actor(batch.next_obs).log_probs[0]
    q_EBA = learning.target(batch.next_obs)
    alpha = learning.alpha
    value_B = (log_prob_BA.exp() * (q_EBA.amin(dim=0) - alpha * log_prob_BA)).sum(dim=1)
    target_B = expected + 0.5 * value_B
    q_EB = learning.critic(batch.obs).gather(2, batch.action_B.expand(2, -1).unsqueeze(2))
    loss_B = 0.5 * (q_EB.squeeze(2) - target_B).square().sum(dim=0)
    output = learning.critic_loss(batch)
    torch.testing.assert_close(output.loss, loss_B, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(output.metrics["losses/rewards"], expected)


def test_the_environments_rewards_are_never_seen() -> None:
    learning = made()
    batch = batch_of()
    other = replace(batch, reward_B=-batch.reward_B)
    for loss in (learning.discriminator_loss, learning.critic_loss, learning.actor_loss):
        assert torch.equal(loss(batch).loss, loss(other).loss)


def test_the_critics_loss_does_not_train_the_discriminator() -> None:
    learning = made()
    loss = learning.critic_loss(batch_of()).loss.mean()
    parameters = list(learning.discriminator.parameters())
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    assert gradients == (None,) * len(parameters)


def judged(learning: Any, batch: NoisyBatch) -> dict[str, Tensor]:
    return learning.learner.update(learning.discriminator_loss, batch, ("discriminator",)).metrics


def test_the_discriminator_learns_to_tell_and_its_accuracy_says_so() -> None:
    learning = made("--learning-rate", "1e-2")
    batch = batch_of()
    first = last = judged(learning, batch)
    for _ in range(200):
        last = judged(learning, batch)
    assert first["losses/accuracy"] < 0.8 < 0.99 < last["losses/accuracy"]
    assert last["losses/discriminator_loss"] < first["losses/discriminator_loss"]


def test_above_its_most_accuracy_the_discriminator_has_no_gradient() -> None:
    learning = made("--most-accuracy", "0.7")
    batch = batch_of()
    parameters = list(learning.discriminator.parameters())
    for accuracy, learns in ((0.6, True), (0.8, False)):
        learning.accuracy.fill_(accuracy)
        loss = learning.discriminator_loss(batch).loss.mean()
        gradients = torch.autograd.grad(loss, parameters)
        assert any(bool(each.any()) for each in gradients) is learns


def test_an_update_trains_all_parts() -> None:
    learning = made()
    before = {
        name: [each.clone() for each in part.parameters]
        for name, part in learning.learner.parts.items()
    }
    metrics, priority_B = learning.improve(batch_of())
    assert {*before} == {"policy", "critic", "temperature", "discriminator"}
    for name, part in learning.learner.parts.items():
        pairs = zip(before[name], part.parameters, strict=True)
        assert any(not torch.equal(a, b) for a, b in pairs), name
    assert priority_B is not None and priority_B.shape == (16,)
    assert {"losses/accuracy", "losses/rewards", "losses/actor_loss"} <= {*metrics}


@pytest.mark.parametrize(
    ("env_id", "more"),
    [
        ("toy/Catch-v0", ("--shift-pixels", "1", "--hidden-rows", "1", "--most-accuracy", "0.6")),
        pytest.param("toy/Target-v0", ("--reward", "gail"), marks=pytest.mark.slow),
    ],
)
def test_a_run_goes_on_exactly_from_its_checkpoint(
    env_id: str, more: tuple[str, ...], tmp_path: Path
) -> None:
    require_an_exact_resume(tmp_path, "gail", "--env", env_id, *more)


@pytest.mark.full
def test_an_agent_without_rewards_plays_as_the_expert_does(tmp_path: Path) -> None:
    """On the best weights of the run. Random play gets 2.5."""
    args = ("--env", "toy/Identity-v0", "--demos", str(expert_games()), "--total-steps", "2000")
    quick = ("--learning-rate", "3e-3", "--batch-size", "32", "--samples-per-step", "8")
    scored = ("--eval-every-steps", "500", "--eval-episodes", "5", "--final-eval-episodes", "20")
    run = run_tiny(tmp_path, "gail", *args, *quick, *scored)
    score = json.loads((run.path / "eval.json").read_text())
    assert score["eval/return_mean"] >= 9.5
