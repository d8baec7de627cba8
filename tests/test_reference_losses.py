"""Our losses and returns beside rlax's stored results, and beside sb3-contrib's QR-DQN.

`python -m benchmarks.reference_losses --out tests/reference/rlax.json` made the stored file.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from agents.core.math import categorical, losses, rescaling, returns, targets
from agents.core.types.batches import Batch
from agents.core.types.inputs import Inputs
from agents.qr_dqn import QRDQN, Config
from benchmarks import reference_losses

STORED = json.loads((Path(__file__).parent / "reference" / "rlax.json").read_text())


def case(name: str) -> SimpleNamespace:
    """The inputs and rlax's results of a case, as tensors."""
    tensors = {field: torch.tensor(value) for field, value in STORED["cases"][name].items()}
    return SimpleNamespace(**tensors)


def assert_near(got: Tensor, expected: Tensor, tolerance: float = 1e-5):
    assert got.shape == expected.shape
    assert torch.allclose(got, expected, rtol=tolerance, atol=tolerance), (got, expected)


def assert_gradient(loss_B: Tensor, leaf: Tensor, expected: Tensor):
    (gradient,) = torch.autograd.grad(loss_B.sum(), leaf)
    assert_near(gradient, expected)


def test_every_stored_case_has_a_test_here():
    assert [each.__name__ for each in reference_losses.CASES] == list(STORED["cases"])
    for name in STORED["cases"]:
        assert f"test_{name}_is_rlaxs" in globals()


def test_double_q_learning_is_rlaxs():
    r = case("double_q_learning")
    q_BA = r.q_BA.requires_grad_()
    next_value_B = targets.taken(r.q_next_BA, losses.greedy(r.select_BA))
    target_B = targets.bootstrapped(r.reward_B, r.discount_B, next_value_B)
    error_B = losses.td_error(q_BA, r.action_B, target_B)
    assert_near(error_B, r.result)
    assert_gradient(error_B, q_BA, r.gradient)


def test_categorical_projection_is_rlaxs():
    r = case("categorical_projection")
    assert_near(categorical.project(r.target_BZ, r.prob_BZ, r.support_Z), r.result)


def test_categorical_q_learning_is_rlaxs():
    r = case("categorical_q_learning")
    next_prob_BAZ = r.next_logits_BAZ.softmax(dim=2)
    best_B = losses.greedy(next_prob_BAZ @ r.support_Z)
    target_BZ = r.reward_B.unsqueeze(1) + r.discount_B.unsqueeze(1) * r.support_Z
    mass_BZ = categorical.project(target_BZ, targets.taken(next_prob_BAZ, best_B), r.support_Z)
    logits_BAZ = r.logits_BAZ.requires_grad_()
    log_prob_BZ = targets.taken(logits_BAZ.log_softmax(dim=2), r.action_B)
    loss_B = categorical.cross_entropy(log_prob_BZ, mass_BZ)
    assert_near(loss_B, r.result)
    assert_gradient(loss_B, logits_BAZ, r.gradient)


def test_categorical_divergence_is_rlaxs():
    r = case("categorical_divergence")
    logits_BZ = r.logits_BZ.requires_grad_()
    loss_B = categorical.kl(logits_BZ.log_softmax(dim=1), r.target_logits_BZ.softmax(dim=1))
    assert_near(loss_B, r.result)
    assert_gradient(loss_B, logits_BZ, r.gradient)


def test_quantile_q_learning_is_rlaxs():
    r = case("quantile_q_learning")
    best_B = losses.greedy(r.next_quantiles_BAI.mean(dim=2))
    next_BJ = targets.taken(r.next_quantiles_BAI, best_B)
    target_BJ = r.reward_B.unsqueeze(1) + r.discount_B.unsqueeze(1) * next_BJ
    quantiles_BAI = r.quantiles_BAI.requires_grad_()
    loss_B = losses.quantile_huber(targets.taken(quantiles_BAI, r.action_B), target_BJ)
    assert_near(loss_B, r.result)
    assert_gradient(loss_B, quantiles_BAI, r.gradient)


def test_implicit_quantiles_is_rlaxs():
    r = case("implicit_quantiles")
    quantiles_BI = r.quantiles_BI.requires_grad_()
    loss_B = losses.quantile_huber(quantiles_BI, r.target_BJ, 1.0, r.fraction_BI)
    assert_near(loss_B, r.result)
    assert_gradient(loss_B, quantiles_BI, r.gradient)


def test_value_rescaling_is_rlaxs():
    r = case("value_rescaling")
    assert_near(rescaling.rescale(r.x), r.result)
    assert_near(rescaling.unscale(r.x), r.inverse)


def test_lambda_returns_is_rlaxs():
    r = case("lambda_returns")
    columns = (each.unsqueeze(1) for each in (r.reward_T, r.discount_T, r.next_value_T, r.ended_T))
    return_TN = returns.q_lambda(*columns, r.trace_lambda.item())
    assert_near(return_TN[:, 0], r.result)


def test_retrace_returns_is_rlaxs():
    r = case("retrace_returns")
    rows = (r.reward_T, r.discount_T, r.next_value_T, r.taken_T, r.trace_T, r.ended_T)
    assert_near(returns.retrace(*(each.unsqueeze(1) for each in rows))[:, 0], r.result)


def test_without_rlax_the_command_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as leaving:
        reference_losses.main([])
    assert leaving.value.code == 2
    assert capsys.readouterr().err.endswith("pip install 'jax[cpu]' rlax\n")


class ActionsFirst(torch.nn.Module):
    """sb3-contrib's network (B, I, A) as ours, (B, A, I)."""

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network = network

    def forward(self, inputs: Inputs) -> Tensor:
        return self.network(inputs.obs_BL.squeeze(1)).transpose(1, 2)


def test_the_loss_and_gradient_of_qr_dqn_are_sb3_contribs():
    contrib = pytest.importorskip("sb3_contrib")
    from stable_baselines3.common.type_aliases import ReplayBufferSamples

    theirs = contrib.QRDQN(
        "MlpPolicy",
        "CartPole-v1",
        gamma=0.9,
        seed=3,
        device="cpu",
        policy_kwargs={"n_quantiles": 7, "net_arch": [16]},
    )
    draw = torch.Generator().manual_seed(3)
    for weight in theirs.quantile_net_target.parameters():
        weight.data += 0.5 * torch.randn(weight.shape, generator=draw)
    obs, next_obs = 2 * torch.randn(2, 32, 4, generator=draw)
    action_B = torch.randint(2, (32,), generator=draw)
    reward_B = 2 * torch.randn(32, generator=draw)
    done_B = (torch.rand(32, generator=draw) < 0.25).float()

    network: Any = ActionsFirst(theirs.quantile_net)
    target: Any = ActionsFirst(theirs.quantile_net_target)
    config = Config()
    batch = Batch(
        obs=obs,
        action_B=action_B,
        reward_B=reward_B,
        discount_B=0.9 * (1 - done_B),
        next_obs=next_obs,
        weight_B=torch.ones(32),
        slot_B=torch.arange(32),
    )
    # Both sum over quantiles, and average over targets and the minibatch.
    loss = QRDQN(config, network, target).loss(batch).loss.mean()
    weights = list(theirs.quantile_net.parameters())
    gradients = torch.autograd.grad(loss, weights)

    action_B1, done_B1, reward_B1 = (each.unsqueeze(1) for each in (action_B, done_B, reward_B))
    samples = ReplayBufferSamples(obs, action_B1, next_obs, done_B1, reward_B1)
    theirs.replay_buffer.sample = lambda *arguments, **settings: samples
    theirs._setup_learn(total_timesteps=1)
    theirs.train(gradient_steps=1, batch_size=32)

    assert loss.item() == pytest.approx(theirs.logger.name_to_value["train/loss"], abs=1e-5)
    for gradient, weight in zip(gradients, weights, strict=True):
        assert gradient.abs().max() > 1e-3
        assert_near(gradient, weight.grad)


def test_the_quantile_loss_with_fractions_is_sb3_contribs():
    utils = pytest.importorskip("sb3_contrib.common.utils")
    draw = torch.Generator().manual_seed(4)
    quantiles_BI = torch.randn(6, 5, generator=draw).requires_grad_()
    target_BJ = 2 * torch.randn(6, 8, generator=draw)
    fraction_BI = torch.rand(6, 5, generator=draw)
    loss = losses.quantile_huber(quantiles_BI, target_BJ, 1.0, fraction_BI).mean()
    theirs = utils.quantile_huber_loss(quantiles_BI, target_BJ, fraction_BI.unsqueeze(2))
    assert loss.item() == pytest.approx(theirs.item(), abs=1e-5)
    (expected,) = torch.autograd.grad(theirs, quantiles_BI)
    assert_gradient(loss, quantiles_BI, expected)
