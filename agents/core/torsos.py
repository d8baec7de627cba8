"""Torsos: networks that turn observations into features.

Image observations are uint8 (B, C, H, W) and become floats inside the torso, so that one byte a
pixel is all that travels. Vector observations are float32 (B, D).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from envs.errors import UserError

TorsoName = Literal["auto", "nature", "data_efficient", "impala", "mlp"]
Norm = Literal["none", "layer"]
Activation = Literal["relu", "tanh"]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


class Torso(Protocol):
    """Any of the modules below."""

    num_features: int

    def __call__(self, obs: Tensor) -> Tensor: ...


def scaled(obs: Tensor) -> Tensor:
    """Bytes as float32 in [0, 1]; any other observation as float32."""
    return obs.float().mul_(1 / 255) if obs.dtype == torch.uint8 else obs.float()


def channels_last(image_BCHW: Tensor) -> Tensor:
    """Bytes (B, C, H, W) in the layout in which convolutions are fastest: (B, H, W, C)."""
    if image_BCHW.shape[1] != 4 or image_BCHW.device.type != "cpu":
        return image_BCHW.permute(0, 2, 3, 1).contiguous()
    # Four bytes in one number, the first one lowest: shifts are vectorised, transposing is not.
    plane_BCP = image_BCHW.flatten(2)
    packed_BP = plane_BCP[:, 3].int()
    for channel in (2, 1, 0):
        packed_BP = packed_BP.bitwise_left_shift_(8).add_(plane_BCP[:, channel])
    return packed_BP.view(torch.uint8).unflatten(1, (*image_BCHW.shape[2:], 4))


def scaled_to_one(pixels: Pixels, saved: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Weights that were saved before images were standardised are of images in [0, 1]."""
    saved.setdefault(f"{prefix}scale_HWC", torch.full_like(pixels.scale_HWC, 1 / 255))
    saved.setdefault(f"{prefix}offset_HWC", torch.zeros_like(pixels.offset_HWC))


class Pixels(nn.Module):
    """Images as a convolution reads them: bytes (B, C, H, W) to float32, in channels_last.

    Each pixel of each channel is multiplied by its scale, and its offset added: to [0, 1], until
    `standardise` is called. Both are buffers and saved with the weights. Floats stay as they are.
    """

    scale_HWC: Tensor
    offset_HWC: Tensor

    def __init__(self, obs_shape: tuple[int, ...]):
        super().__init__()
        channels, height, width = obs_shape
        self.register_buffer("scale_HWC", torch.full((height, width, channels), 1 / 255))
        self.register_buffer("offset_HWC", torch.zeros(height, width, channels))
        self.register_load_state_dict_pre_hook(scaled_to_one)

    def standardise(self, mean_CHW: Tensor, deviation_CHW: Tensor) -> None:
        """From now on subtract the mean of each pixel and divide by its deviation."""
        self.scale_HWC.copy_((1 / deviation_CHW).permute(1, 2, 0))
        self.offset_HWC.copy_((-mean_CHW / deviation_CHW).permute(1, 2, 0))

    def forward(self, obs_BCHW: Tensor) -> Tensor:
        if obs_BCHW.dtype != torch.uint8:
            return obs_BCHW.float().contiguous(memory_format=torch.channels_last)
        image_BHWC = channels_last(obs_BCHW).float()
        torch.addcmul(self.offset_HWC, image_BHWC, self.scale_HWC, out=image_BHWC)
        return image_BHWC.permute(0, 3, 1, 2)


def covering_padding(size: int, kernel: int, stride: int) -> int:
    """The least zero padding on both sides with which a convolution reads every cell of `size`.

    A convolution drops what is left of `size` after its last whole stride; on a screen that is
    the bottom, where the paddle of Breakout is.
    """
    padding = 0
    while (size + 2 * padding - kernel) % stride > padding:
        padding += 1
    return padding


def channel_norm(norm: Norm, channels: int) -> nn.Module:
    """Layer normalisation of an image's features (https://arxiv.org/abs/1607.06450), or nothing."""
    return nn.GroupNorm(1, channels) if norm == "layer" else nn.Identity()


def require_image(obs_shape: tuple[int, ...], least: int) -> None:
    """Raise a UserError unless these are images of at least that many pixels on a side."""
    if len(obs_shape) != 3:
        raise UserError(f"observations of {obs_shape} are not images; use --torso mlp")
    if min(obs_shape[1:]) < least:
        raise too_small(obs_shape)


def too_small(obs_shape: tuple[int, ...]) -> UserError:
    return UserError(f"observations of {obs_shape} are too small for this torso; use --torso mlp")


class ConvTorso(nn.Module):
    """Convolutions with ReLU, flattened: uint8 (B, C, H, W) to (B, F).

    Layers whose strides do not divide their input are padded until they read all of it, which
    leaves the Nature torso on 84 x 84 pixels as it was published.

    Args:
        obs_shape: (C, H, W).
        layers: (channels, kernel, stride) of each convolution.
        norm: what follows each convolution.
    """

    def __init__(
        self,
        obs_shape: tuple[int, ...],
        layers: tuple[tuple[int, int, int], ...],
        norm: Norm = "none",
    ):
        super().__init__()
        require_image(obs_shape, least=1)
        self.pixels = Pixels(obs_shape)
        channels, height, width = obs_shape
        modules: list[nn.Module] = []
        for out_channels, kernel, stride in layers:
            if min(height, width) < kernel:
                raise too_small(obs_shape)
            pad_y, pad_x = (covering_padding(size, kernel, stride) for size in (height, width))
            convolution = nn.Conv2d(channels, out_channels, kernel, stride, (pad_y, pad_x))
            normalisation = [channel_norm(norm, out_channels)] if norm != "none" else []
            modules += [convolution, *normalisation, nn.ReLU()]
            height = (height + 2 * pad_y - kernel) // stride + 1
            width = (width + 2 * pad_x - kernel) // stride + 1
            channels = out_channels
        self.convolutions = nn.Sequential(*modules)
        self.num_features = channels * height * width

    def forward(self, obs_BCHW: Tensor) -> Tensor:
        return self.convolutions(self.pixels(obs_BCHW)).flatten(1)


def nature_cnn(obs_shape: tuple[int, ...], width: int = 1, norm: Norm = "none") -> ConvTorso:
    """The torso of Mnih et al. 2015, https://doi.org/10.1038/nature14236."""
    return ConvTorso(obs_shape, ((32 * width, 8, 4), (64 * width, 4, 2), (64 * width, 3, 1)), norm)


def data_efficient_cnn(
    obs_shape: tuple[int, ...], width: int = 1, norm: Norm = "none"
) -> ConvTorso:
    """The torso of van Hasselt et al. 2019, https://arxiv.org/abs/1906.05243, but for padding:
    a quarter of the work of the Nature torso.
    """
    return ConvTorso(obs_shape, ((32 * width, 5, 5), (64 * width, 5, 5)), norm)


class ResidualBlock(nn.Module):
    """x + convolution(ReLU(convolution(ReLU(x))))."""

    def __init__(self, channels: int, norm: Norm):
        super().__init__()
        self.layers = nn.Sequential(
            *(channel_norm(norm, channels), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)),
            *(channel_norm(norm, channels), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)),
        )

    def forward(self, features_BCHW: Tensor) -> Tensor:
        return features_BCHW + self.layers(features_BCHW)


class ImpalaTorso(nn.Module):
    """The residual torso of Espeholt et al. 2018, https://arxiv.org/abs/1802.01561, figure 3.

    Three stages of 16, 32 and 32 channels times `width`, each a convolution, a pooling that
    halves the image and two residual blocks: uint8 (B, C, H, W) to (B, F).
    """

    def __init__(self, obs_shape: tuple[int, ...], width: int = 1, norm: Norm = "none"):
        super().__init__()
        require_image(obs_shape, least=8)
        self.pixels = Pixels(obs_shape)
        (channels, height, side), stages = obs_shape, []
        for out_channels in (16 * width, 32 * width, 32 * width):
            stages += [
                nn.Conv2d(channels, out_channels, 3, padding=1),
                nn.MaxPool2d(3, stride=2, padding=1),
                ResidualBlock(out_channels, norm),
                ResidualBlock(out_channels, norm),
            ]
            channels, height, side = out_channels, -(-height // 2), -(-side // 2)
        self.stages = nn.Sequential(*stages, nn.ReLU())
        self.num_features = channels * height * side

    def forward(self, obs_BCHW: Tensor) -> Tensor:
        return self.stages(self.pixels(obs_BCHW)).flatten(1)


class MlpTorso(nn.Module):
    """Fully connected layers: any observation, flattened, to (B, F)."""

    def __init__(
        self,
        obs_shape: tuple[int, ...],
        widths: tuple[int, ...] = (120,),
        activation: Activation = "relu",
        norm: Norm = "none",
    ):
        super().__init__()
        sizes = (int(torch.Size(obs_shape).numel()), *widths)
        layers = [dense_layer(a, b, norm == "layer", activation) for a, b in pairwise(sizes)]
        self.layers = nn.Sequential(*layers)
        self.num_features = sizes[-1]

    def forward(self, obs_BD: Tensor) -> Tensor:
        return self.layers(scaled(obs_BD).flatten(1))


def dense_layer(
    in_features: int, width: int, layer_norm: bool, activation: Activation = "relu"
) -> nn.Sequential:
    """Linear, optionally LayerNorm (https://arxiv.org/abs/1607.06450), activation."""
    norm = nn.LayerNorm(width) if layer_norm else nn.Identity()
    return nn.Sequential(nn.Linear(in_features, width), norm, ACTIVATIONS[activation]())


def make_torso(
    name: TorsoName,
    obs_shape: tuple[int, ...],
    width: int = 1,
    norm: Norm = "none",
    activation: Activation = "relu",
    mlp_width: int = 120,
) -> ConvTorso | ImpalaTorso | MlpTorso:
    """The torso of that name; `auto` is `data_efficient` for images and `mlp` for the rest.

    `width` multiplies the channels of an image's torso, `mlp_width` is the other one's layer;
    `activation` is the latter's too: convolutions use ReLU.
    """
    if name == "auto":
        large_image = len(obs_shape) == 3 and min(obs_shape[1:]) >= 30
        name = "data_efficient" if large_image else "mlp"
    if name == "mlp":
        return MlpTorso(obs_shape, (mlp_width,), activation, norm)
    images = {"nature": nature_cnn, "data_efficient": data_efficient_cnn, "impala": ImpalaTorso}
    return images[name](obs_shape, width, norm)
