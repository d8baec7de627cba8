"""The torsos: sizes verified by hand, scaling, normalization, what they read and refuse."""

from __future__ import annotations

import pytest
import torch
from support.devices import DEVICES
from torch import Tensor, nn

from agents.core.nets.pixels import Pixels, channels_last
from agents.core.nets.spectral import settle
from agents.core.nets.torsos import (
    ConvTorso,
    ImpalaTorso,
    MlpTorso,
    data_efficient_cnn,
    make_torso,
    nature_cnn,
)
from envs.errors import UserError

ATARI = (4, 84, 84)
IMAGE_TORSOS = ["nature", "data_efficient", "impala", "btr"]


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def fill(module: nn.Module, weight: float, bias: float) -> None:
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.fill_(weight if name.endswith("weight") else bias)
    settle(module)


def bytes_of(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def test_the_nature_torso_has_the_parameters_of_the_paper():
    torso = nature_cnn(ATARI)
    # Convolutions: 8*8*4*32 + 32 = 8,224;  4*4*32*64 + 64 = 32,832;  3*3*64*64 + 64 = 36,928.
    assert count(torso) == 8_224 + 32_832 + 36_928 == 77_984
    # 84 -> (84-8)/4+1 = 20 -> (20-4)/2+1 = 9 -> (9-3)/1+1 = 7, so 7*7*64 = 3,136 features.
    assert torso.num_features == 3_136


def test_the_data_efficient_torso_has_the_parameters_of_its_paper():
    # Convolutions: 5*5*4*32 + 32 = 3,232;  5*5*32*64 + 64 = 51,264.
    # Padded to 86 -> (86-5)//5+1 = 17, padded to 21 -> (21-5)//5+1 = 4: 4*4*64 = 1,024 features,
    # where the paper's, without padding, are 3*3*64.
    torso = data_efficient_cnn(ATARI)
    assert count(torso) == 3_232 + 51_264
    assert torso.num_features == 1_024


def test_the_impala_torso_has_the_parameters_of_its_paper():
    torso = ImpalaTorso(ATARI)
    # A stage is a convolution and two blocks of two, all 3*3:
    # 3*3*4*16 + 16 = 592 and 4 * (3*3*16*16 + 16) = 9,280;
    # 3*3*16*32 + 32 = 4,640 and 4 * (3*3*32*32 + 32) = 36,992;
    # 3*3*32*32 + 32 = 9,248 and 36,992 again.
    assert count(torso) == 592 + 9_280 + 4_640 + 36_992 + 9_248 + 36_992 == 97_744
    # 84 -> 42 -> 21 -> 11, so 11*11*32 = 3,872 features.
    assert torso.num_features == 3_872


def test_the_btr_torso_pools_the_impala_features_to_six_by_six():
    torso = make_torso("btr", ATARI, width=2)
    # The parameters of the IMPALA torso of width 2; 84 -> 42 -> 21 -> 11 -> 6.
    assert count(torso) == count(make_torso("impala", ATARI, width=2))
    assert torso.num_features == 6 * 6 * 64
    # 42 -> 21 -> 11 -> 6, and 8 -> 4 -> 2 -> 1, which is not made larger.
    assert make_torso("btr", (1, 42, 42)).num_features == 6 * 6 * 32
    assert make_torso("btr", (1, 8, 8)).num_features == 32


def test_width_multiplies_the_channels_of_every_layer():
    # 3*3*4*32 + 32 = 1,184 and 4 * (3*3*32*32 + 32) = 36,992;
    # 3*3*32*64 + 64 = 18,496 and 4 * (3*3*64*64 + 64) = 147,712;
    # 3*3*64*64 + 64 = 36,928 and 147,712 again.
    torso = make_torso("impala", ATARI, width=2)
    assert count(torso) == 1_184 + 36_992 + 18_496 + 147_712 + 36_928 + 147_712
    assert torso.num_features == 2 * 3_872
    # 8*8*4*96 + 96 = 24,672;  4*4*96*192 + 192 = 295,104;  3*3*192*192 + 192 = 331,968.
    torso = make_torso("nature", ATARI, width=3)
    assert count(torso) == 24_672 + 295_104 + 331_968
    assert torso.num_features == 3 * 3_136
    # 5*5*4*64 + 64 = 6,464;  5*5*64*128 + 128 = 204,928.
    torso = make_torso("data_efficient", ATARI, width=2)
    assert count(torso) == 6_464 + 204_928
    assert torso.num_features == 2 * 1_024


@pytest.mark.parametrize(
    ("name", "gains"),
    [
        ("nature", 32 + 64 + 64),
        ("data_efficient", 32 + 64),
        ("impala", 4 * (16 + 32 + 32)),  # before each of the four convolutions of the blocks
        ("mlp", 120),
    ],
)
def test_layer_norm_adds_a_gain_and_an_offset_for_each_channel(name: str, gains: int):
    plain, normalized = (make_torso(name, ATARI, norm=norm) for norm in ("none", "layer"))
    assert count(normalized) - count(plain) == 2 * gains
    assert plain.num_features == normalized.num_features


@pytest.mark.parametrize("name", ["nature", "data_efficient", "mlp"])
def test_layer_norm_follows_each_layer_so_that_features_do_not_know_the_weights_scale(name: str):
    obs = bytes_of(2, 4, 36, 36)
    for norm, same in (("layer", True), ("none", False)):
        torch.manual_seed(0)
        torso = make_torso(name, (4, 36, 36), norm=norm)
        with torch.no_grad():
            before = torso(obs)
            for module in torso.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    module.weight.mul_(100.0)
                    module.bias.mul_(100.0)
            assert torch.allclose(before, torso(obs), atol=1e-2) == same


def test_layer_norm_comes_before_each_convolution_of_a_residual_block():
    torso = make_torso("impala", (4, 36, 36), norm="layer")
    leaves = [type(m) for m in torso.modules() if not list(m.children())]
    block = [nn.GroupNorm, nn.ReLU, nn.Conv2d] * 2
    assert leaves == [Pixels, *([nn.Conv2d, nn.MaxPool2d, *block, *block] * 3), nn.ReLU]
    assert all(m.num_groups == 1 for m in torso.modules() if isinstance(m, nn.GroupNorm))


@pytest.mark.parametrize("name", IMAGE_TORSOS)
@pytest.mark.parametrize("shape", [(4, 84, 84), (1, 42, 42), (3, 64, 96), (2, 43, 57), (1, 36, 39)])
def test_a_torso_reads_every_pixel(name: str, shape: tuple[int, int, int]):
    torso = make_torso(name, shape)
    # Pooling passes the gradient of the largest pixel on: over 16 images every one is it or near.
    pixels = torch.rand(16, *shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    fill(torso, weight=0.1, bias=0.1)
    (gradient,) = torch.autograd.grad(torso(pixels).sum(), pixels)
    assert bool((gradient.sum(dim=0) > 0).all())


def test_the_test_of_every_pixel_would_see_one_that_is_not_read():
    # Without padding a kernel of 8 with stride 4 reads 40 of 42 pixels.
    pixels = torch.rand(16, 1, 42, 42).requires_grad_()
    nn.Conv2d(1, 1, 8, 4)(pixels).sum().backward()
    assert pixels.grad is not None
    assert (pixels.grad.sum(dim=0) != 0).sum() == 40 * 40


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("name", [*IMAGE_TORSOS, "mlp"])
@pytest.mark.parametrize("shape", [(4, 42, 42), (1, 29, 37)])
def test_features_are_as_many_as_the_torso_says(
    name: str, width: int, norm: str, shape: tuple[int, ...], device: torch.device
):
    torso = make_torso(name, shape, width, norm).to(device)
    features_BF = torso(bytes_of(3, *shape).to(device))
    assert features_BF.shape == (3, torso.num_features)
    assert features_BF.dtype == torch.float32
    assert bool(features_BF.isfinite().all())


@pytest.mark.parametrize("name", [*IMAGE_TORSOS, "mlp"])
def test_bytes_are_scaled_to_one(name: str):
    torch.manual_seed(0)
    torso, obs = make_torso(name, (4, 36, 36)), bytes_of(2, 4, 36, 36)
    torch.testing.assert_close(torso(obs), torso(obs.float() / 255))


@pytest.mark.parametrize("channels", [1, 3, 4, 5])
def test_bytes_in_channels_last_are_the_same_bytes(channels: int):
    image = bytes_of(3, channels, 6, 7)
    last = channels_last(image)
    assert last.is_contiguous() and last.dtype == torch.uint8
    assert torch.equal(last, image.permute(0, 2, 3, 1))
    assert torch.equal(image, bytes_of(3, channels, 6, 7))


def test_standardized_pixels_are_their_distance_from_the_mean_in_deviations():
    pixels = Pixels((1, 1, 2))
    image = torch.tensor([[[[51, 102]]]], dtype=torch.uint8)
    torch.testing.assert_close(pixels(image), torch.tensor([[[[0.2, 0.4]]]]))  # of 255
    pixels.standardize(torch.tensor([[[50.0, 112.0]]]), torch.tensor([[[2.0, 5.0]]]))
    # (51 - 50) / 2 and (102 - 112) / 5
    torch.testing.assert_close(pixels(image), torch.tensor([[[[0.5, -2.0]]]]))
    assert pixels(image.float()).tolist() == [[[[51.0, 102.0]]]]
    other = Pixels((1, 1, 2))
    other.load_state_dict(pixels.state_dict())
    assert torch.equal(other(image), pixels(image))


def test_weights_of_before_images_were_standardized_are_of_images_up_to_one():
    torso, obs = make_torso("nature", (4, 36, 36)), bytes_of(2, 4, 36, 36)
    before, saved = torso(obs), dict(torso.state_dict())
    torso.pixels.standardize(torch.full((4, 36, 36), 9.0), torch.full((4, 36, 36), 2.0))
    assert not torch.allclose(torso(obs), before)
    for name in [name for name in saved if name.startswith("pixels.")]:
        del saved[name]
    torso.load_state_dict(saved)
    assert torch.equal(torso(obs), before)
    assert not any(name.startswith("pixels.") for name in saved)


def test_each_channel_has_its_own_statistics():
    pixels, image = Pixels((4, 3, 2)), bytes_of(2, 4, 3, 2)
    mean, deviation = image.float().mean(dim=0), 1 + bytes_of(4, 3, 2, seed=1).float()
    pixels.standardize(mean, deviation)
    expected = (image.float() - mean) / deviation
    torch.testing.assert_close(pixels(image), expected, rtol=1e-5, atol=1e-4)


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


def test_a_residual_block_adds_to_what_it_is_given():
    torso = ImpalaTorso((1, 8, 8))
    blocks = [m for m in torso.stages if not isinstance(m, nn.Conv2d | nn.MaxPool2d | nn.ReLU)]
    assert len(blocks) == 6
    image = torch.randn(1, 16, 4, 4)
    fill(blocks[0], weight=0.0, bias=0.25)
    # The second convolution of zero weights gives its bias, and the block x + 0.25.
    torch.testing.assert_close(blocks[0](image), image + 0.25)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("name", ["impala", "mlp", "convolution"])
def test_a_torso_leaves_its_observations_as_they_are(name: str, dtype: torch.dtype):
    obs = torch.full((1, 1, 8, 8), 255, dtype=dtype)
    torso = ConvTorso((1, 8, 8), ((1, 2, 1),)) if name == "convolution" else None
    (torso or make_torso(name, (1, 8, 8)))(obs)
    assert (obs == 255).all()


@pytest.mark.parametrize(("name", "convolutions"), [("nature", 3), ("impala", 15), ("btr", 15)])
def test_convolutions_run_in_channels_last(name: str, convolutions: int):
    torso = make_torso(name, (4, 36, 36)).to(memory_format=torch.channels_last)
    seen: list[bool] = []
    for module in torso.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda _module, inputs, output: seen.extend(
                    tensor.is_contiguous(memory_format=torch.channels_last)
                    for tensor in (*inputs, output)
                )
            )
    torso(torch.zeros(2, 4, 36, 36, dtype=torch.uint8))
    assert seen == [True] * (2 * convolutions)


@pytest.mark.parametrize("name", IMAGE_TORSOS)
def test_memory_format_does_not_change_the_features(name: str):
    torch.manual_seed(0)
    torso, obs = make_torso(name, (4, 36, 36)), bytes_of(2, 4, 36, 36)
    plain = torso(obs)
    assert torch.allclose(plain, torso.to(memory_format=torch.channels_last)(obs), atol=1e-5)
    with torch.no_grad():
        assert torch.allclose(plain, torso(obs), atol=1e-5)


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


def test_the_fully_connected_torso_has_the_width_and_activation_that_are_asked_for():
    torso = make_torso("mlp", (2,), activation="tanh", mlp_width=3)
    assert torso.num_features == 3
    fill(torso, weight=1.0, bias=0.0)
    # tanh(1 + 1), and of the negative its negative, where ReLU would give 0
    obs = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    expected = torch.tensor([[2.0], [-2.0]]).tanh().expand(2, 3)
    torch.testing.assert_close(torso(obs), expected)
    relu = make_torso("mlp", (2,), mlp_width=3)
    fill(relu, weight=1.0, bias=0.0)
    assert relu(obs).tolist() == [[2.0] * 3, [0.0] * 3]


@pytest.mark.parametrize(
    ("name", "side"), [("nature", 28), ("data_efficient", 20), ("impala", 7), ("btr", 7)]
)
def test_too_small_images_are_refused_with_a_torso_that_fits(name: str, side: int):
    with pytest.raises(UserError, match=rf"\(4, {side}, 84\) are too small .* --torso mlp"):
        make_torso(name, (4, side, 84))
    torso = make_torso(name, (4, side + 1, 84))
    assert torso(bytes_of(1, 4, side + 1, 84)).shape == (1, torso.num_features)


@pytest.mark.parametrize("name", IMAGE_TORSOS)
@pytest.mark.parametrize("obs_shape", [(4,), (84, 84), ()])
def test_what_is_no_image_is_refused_by_a_torso_of_convolutions(
    name: str, obs_shape: tuple[int, ...]
):
    with pytest.raises(UserError, match="are not images; use --torso mlp"):
        make_torso(name, obs_shape)
