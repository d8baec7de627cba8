"""Spectral normalization against the singular values, and against torch's own."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.devices import CPU
from support.learners import make_learner
from support.settings import Settings
from torch import Tensor, nn

from agents.core.nets.networks import ActorCritic
from agents.core.nets.spectral import SpectralConv2d, settle
from agents.core.nets.torsos import make_torso
from agents.core.nets.value_networks import QNetwork
from agents.core.optimize.learner import LossOutput, Part
from agents.core.optimize.transfer import initialize
from agents.core.types.batches import Batch
from agents.core.types.inputs import Inputs
from agents.core.types.spaces import Spaces

SPACES = Spaces(1, (1, 16, 16), torch.uint8, stack=1, num_actions=3, atari=False)
BTR = Settings(torso="btr", activation="relu")


def norm_of(weight: Tensor) -> float:
    return float(torch.linalg.matrix_norm(weight.detach().flatten(1), 2))


def spectral(network: nn.Module) -> list[SpectralConv2d]:
    return [each for each in network.modules() if isinstance(each, SpectralConv2d)]


def torchs(weight: Tensor) -> nn.Module:
    """Torch's own spectrally normalized convolution of a weight."""
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
    layer.weight.data.copy_(weight)
    return nn.utils.parametrizations.spectral_norm(layer)


def test_the_weights_have_the_spectral_norm_one() -> None:
    torch.manual_seed(0)
    layer = SpectralConv2d(8, 6, 3, padding=1)
    layer.iterate(500)
    assert norm_of(layer.normalized()) == pytest.approx(1.0, abs=1e-5)
    assert norm_of(layer.weight) != pytest.approx(1.0, abs=0.1)
    torch.testing.assert_close(layer.normalized() * norm_of(layer.weight), layer.weight)
    image = torch.randn(2, 8, 5, 5)
    expected = nn.functional.conv2d(image, layer.normalized(), layer.bias, padding=1)
    torch.testing.assert_close(layer(image), expected)


def test_a_new_layer_is_close_to_the_norm_one() -> None:
    torch.manual_seed(0)
    for _ in range(10):
        assert norm_of(SpectralConv2d(16, 16, 3).normalized()) == pytest.approx(1.0, abs=0.05)


def test_steps_of_training_equal_torchs() -> None:
    """Torch iterates at the beginning of a forward pass, and we after a step: the same moments."""
    torch.manual_seed(0)
    ours = SpectralConv2d(4, 6, 3, padding=1)
    theirs = torchs(ours.weight)
    state: Any = theirs.parametrizations.weight[0]  # pyright: ignore
    ours.u_O.copy_(state._u)
    ours.v_I.copy_(state._v)
    ours.after_step()
    theirs.bias.data.copy_(ours.bias)  # pyright: ignore
    optimizers = [torch.optim.SGD(each.parameters(), lr=0.1) for each in (ours, theirs)]
    for step in range(4):
        image = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(step))
        outputs = [ours(image), theirs(image)]
        torch.testing.assert_close(*outputs)
        for output, optimizer in zip(outputs, optimizers, strict=True):
            optimizer.zero_grad()
            output.square().mean().backward()
            optimizer.step()
        ours.after_step()
    original: Any = theirs.parametrizations.weight  # pyright: ignore
    torch.testing.assert_close(ours.weight, original.original)


def test_a_learner_follows_the_weights_once_a_step_and_no_forward_pass_does() -> None:
    torch.manual_seed(0)
    network = QNetwork(BTR, SPACES)
    learner = make_learner(network, Settings(learning_rate=1e-2, batch_size=4))  # pyright: ignore
    obs = torch.randint(0, 256, (4, 1, 16, 16), dtype=torch.uint8)
    zero_B = torch.zeros(4)
    batch = Batch(obs, zero_B.long(), zero_B, zero_B, obs, zero_B + 1, zero_B.long())
    layer = spectral(network)[0]
    with torch.no_grad():
        before = copy.deepcopy(network.state_dict())
        network(Inputs.of(obs))
        assert all(torch.equal(each, before[name]) for name, each in network.state_dict().items())
    expected = copy.deepcopy(layer)
    learner.update(lambda batch: LossOutput(network(batch.inputs).square().sum(dim=1)), batch)
    assert not torch.equal(layer.weight, expected.weight)
    with torch.no_grad():
        expected.weight.copy_(layer.weight)
    expected.after_step()
    assert torch.equal(layer.u_O, expected.u_O)
    assert torch.equal(layer.v_I, expected.v_I)


def test_bf16_does_not_round_the_norm() -> None:
    torch.manual_seed(0)
    layer = SpectralConv2d(16, 16, 3)
    with torch.autocast("cpu", torch.bfloat16):
        weight = layer.normalized()
        assert layer(torch.randn(1, 16, 5, 5)).dtype == torch.bfloat16
    assert torch.equal(weight, layer.normalized())


def test_networks_that_set_weights_have_norms_that_fit() -> None:
    """An actor-critic makes its weights orthogonal, and --init-from takes them from a network."""
    torch.manual_seed(0)
    networks: list[nn.Module] = [ActorCritic(BTR, SPACES)]  # pyright: ignore
    theirs = QNetwork(Settings(torso="impala", activation="relu"), SPACES)
    ours = QNetwork(BTR, SPACES)
    policy: Any = SimpleNamespace(
        network=ours, weights=ours.state_dict, load_weights=ours.load_state_dict
    )
    run: Any = SimpleNamespace(path="runs/x", weights=lambda *_: (theirs.state_dict(), 0))
    initialize(policy, run)
    assert torch.equal(spectral(ours)[0].weight, theirs.torso.stages[2].layers[2].weight)
    for network in [*networks, ours]:
        assert len(spectral(network)) == 12
        for layer in spectral(network):
            assert norm_of(layer.normalized()) == pytest.approx(1.0, abs=0.1)


def test_a_network_without_spectral_norms_has_nothing_to_follow() -> None:
    part = Part(QNetwork(Settings(torso="impala"), SPACES), Settings())  # pyright: ignore
    assert part._after_step == []
    settle(make_torso("impala", (1, 16, 16)).to(CPU))
