"""The networks: sizes verified by hand, scaling, dueling aggregation, torso choice."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from agents.core.networks import (
    ConvTorso,
    DuelingHead,
    MlpTorso,
    QHead,
    QNetwork,
    data_efficient_cnn,
    make_q_network,
    make_torso,
    nature_cnn,
)
from agents.core.types import Spaces
from envs.errors import UserError

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = [torch.device("cpu"), pytest.param(torch.device("cuda"), marks=CUDA)]
ATARI = (4, 84, 84)


@dataclass(frozen=True)
class Settings:
    torso: str = "auto"
    hidden: int = 16
    dueling: bool = False
    layer_norm: bool = False


def spaces(obs_shape: tuple[int, ...], num_actions: int = 6) -> Spaces:
    return Spaces(
        num_envs=1,
        obs_shape=obs_shape,
        obs_dtype=torch.uint8 if len(obs_shape) == 3 else torch.float32,
        stack=1,
        num_actions=num_actions,
        atari=False,
    )


def q_network(obs_shape: tuple[int, ...], num_actions: int = 6, **parts) -> QNetwork:
    return make_q_network(Settings(**parts), spaces(obs_shape, num_actions))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def fill(module: nn.Module, weight: float, bias: float) -> None:
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.fill_(weight if name.endswith("weight") else bias)


@pytest.mark.parametrize("num_actions", [4, 18])
def test_the_nature_network_has_the_parameters_of_the_paper(num_actions: int):
    network = q_network(ATARI, num_actions, torso="nature", hidden=512)
    # Convolutions: 8*8*4*32 + 32 = 8,224;  4*4*32*64 + 64 = 32,832;  3*3*64*64 + 64 = 36,928.
    assert count(network.torso) == 8_224 + 32_832 + 36_928 == 77_984
    # 84 -> (84-8)/4+1 = 20 -> (20-4)/2+1 = 9 -> (9-3)/1+1 = 7, so 7*7*64 = 3,136 features;
    # hidden layer: 3,136*512 + 512 = 1,606,144.
    assert network.torso.num_features == 3_136
    assert 77_984 + 1_606_144 == 1_684_128
    assert count(network) == 1_684_128 + 512 * num_actions + num_actions


def test_the_data_efficient_network_has_the_parameters_of_its_paper():
    # Convolutions: 5*5*4*32 + 32 = 3,232;  5*5*32*64 + 64 = 51,264.
    # Padded to 86 -> (86-5)//5+1 = 17, padded to 21 -> (21-5)//5+1 = 4: 4*4*64 = 1,024 features,
    # where the paper's, without padding, are 3*3*64.
    torso = data_efficient_cnn(ATARI)
    assert count(torso) == 3_232 + 51_264
    assert torso.num_features == 1_024


@pytest.mark.parametrize("make", [nature_cnn, data_efficient_cnn])
@pytest.mark.parametrize("shape", [(4, 84, 84), (1, 42, 42), (3, 64, 96), (2, 43, 57)])
def test_a_torso_reads_every_pixel(make, shape: tuple[int, int, int]):
    torso = make(shape)
    pixels = torch.rand(1, *shape, requires_grad=True)
    with torch.no_grad():
        for parameter in torso.parameters():
            parameter.fill_(1.0)
    torso.convolutions(pixels).sum().backward()
    assert pixels.grad is not None and bool((pixels.grad > 0).all())


def test_layer_norm_adds_a_gain_and_an_offset_for_each_hidden_unit():
    plain, normalised = (QHead(10, 3, 8, layer_norm=flag) for flag in (False, True))
    assert count(normalised) - count(plain) == 2 * 8
    assert count(DuelingHead(10, 3, 8, layer_norm=True)) == (
        2 * (10 * 8 + 8 + 2 * 8) + (8 * 1 + 1) + (8 * 3 + 3)
    )


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("torso", ["nature", "data_efficient", "mlp", "auto"])
def test_images_become_one_float32_value_per_action(torso: str, dueling: bool, device):
    network = q_network((4, 42, 42), torso=torso, dueling=dueling, layer_norm=True)
    q_BA = network.to(device)(torch.zeros(3, 4, 42, 42, dtype=torch.uint8, device=device))
    assert q_BA.shape == (3, 6)
    assert q_BA.dtype == torch.float32


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_vectors_become_one_float32_value_per_action(device: torch.device):
    network = q_network((5,), dueling=True)
    assert network.to(device)(torch.zeros(3, 5, device=device)).shape == (3, 6)


def test_values_are_float32_under_bf16_autocast():
    network = q_network((5,), dueling=True, layer_norm=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert network(torch.zeros(3, 5)).dtype == torch.float32


def test_a_byte_of_255_is_a_one_in_the_convolutions():
    torso = ConvTorso((1, 2, 2), ((1, 2, 1),))
    fill(torso, weight=1.0, bias=0.5)
    obs = torch.tensor([[[[255, 0], [51, 102]]]], dtype=torch.uint8)
    # 255/255 + 0/255 + 51/255 + 102/255 + 0.5 = 1 + 0 + 0.2 + 0.4 + 0.5
    assert torso(obs).tolist() == [[pytest.approx(2.1)]]


def test_a_byte_of_255_is_a_one_in_the_fully_connected_torso():
    torso = MlpTorso((1, 2, 2), widths=(1,))
    fill(torso, weight=1.0, bias=0.5)
    obs = torch.tensor([[[[255, 0], [51, 102]]]], dtype=torch.uint8)
    assert torso(obs).tolist() == [[pytest.approx(2.1)]]  # as in the convolutions


def test_float_vectors_are_not_scaled():
    torso = MlpTorso((2,), widths=(1,))
    fill(torso, weight=1.0, bias=0.5)
    assert torso(torch.tensor([[3.0, 4.0]])).tolist() == [[7.5]]  # 3 + 4 + 0.5


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_torso_leaves_its_observations_as_they_are(dtype: torch.dtype):
    obs = torch.full((1, 1, 4, 4), 255, dtype=dtype)
    ConvTorso((1, 4, 4), ((1, 2, 1),))(obs)
    assert (obs == 255).all()


def test_convolutions_run_in_channels_last():
    torso = nature_cnn((4, 36, 36)).to(memory_format=torch.channels_last)
    seen: list[bool] = []
    for module in torso.convolutions:
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda _module, inputs, output: seen.extend(
                    tensor.is_contiguous(memory_format=torch.channels_last)
                    for tensor in (*inputs, output)
                )
            )
    torso(torch.zeros(2, 4, 36, 36, dtype=torch.uint8))
    assert seen == [True] * 6


def test_memory_format_does_not_change_the_features():
    torch.manual_seed(0)
    torso, obs = nature_cnn((4, 36, 36)), torch.randint(0, 256, (2, 4, 36, 36), dtype=torch.uint8)
    plain = torso(obs)
    assert torch.allclose(plain, torso.to(memory_format=torch.channels_last)(obs), atol=1e-5)


def test_dueling_adds_the_advantage_less_its_mean_to_the_value():
    head = DuelingHead(num_features=1, num_actions=3, width=1, layer_norm=False)
    fill(head, weight=1.0, bias=0.0)
    with torch.no_grad():
        head.advantage[1].weight.copy_(torch.tensor([[1.0], [2.0], [6.0]]))
    # Of the feature 2: V = 2, A = (2, 4, 12), mean A = 6, Q = 2 + A - 6.
    assert head.q_values(torch.tensor([[2.0]])).tolist() == [[-2.0, 0.0, 8.0]]


def test_dueling_ignores_a_constant_added_to_every_advantage():
    torch.manual_seed(0)
    head, features = DuelingHead(4, 3, 8, layer_norm=True), torch.randn(5, 4)
    before = head.q_values(features)
    with torch.no_grad():
        head.advantage[1].bias += 10.0
    assert torch.allclose(before, head.q_values(features), atol=1e-5)


@pytest.mark.parametrize(
    ("obs_shape", "kind", "num_features"),
    [
        (ATARI, ConvTorso, 1_024),
        ((1, 42, 42), ConvTorso, 256),  # 46 -> 9, 11 -> 2, so 2*2*64
        ((1, 30, 30), ConvTorso, 256),  # 30 -> 6, 10 -> 2
        ((1, 29, 30), MlpTorso, 120),
        ((4, 10, 10), MlpTorso, 120),
        ((8,), MlpTorso, 120),
        ((), MlpTorso, 120),
    ],
)
def test_auto_takes_convolutions_for_images_and_full_connections_for_the_rest(
    obs_shape: tuple[int, ...], kind: type, num_features: int
):
    torso = make_torso("auto", obs_shape)
    assert type(torso) is kind
    assert torso.num_features == num_features


@pytest.mark.parametrize(("name", "side"), [("nature", 28), ("data_efficient", 20)])
def test_too_small_images_are_refused_with_a_torso_that_fits(name: str, side: int):
    with pytest.raises(UserError, match=rf"\(4, {side}, 84\) are too small .* --torso mlp"):
        make_torso(name, (4, side, 84))
    make_torso(name, (4, side + 1, 84))


@pytest.mark.parametrize("name", ["nature", "data_efficient"])
def test_vectors_are_refused_by_a_torso_of_convolutions(name: str):
    with pytest.raises(UserError):
        make_torso(name, (4,))
