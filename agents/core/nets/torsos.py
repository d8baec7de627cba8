"""Torsos: networks that turn observations into features.

Image observations are uint8 (B, C, H, W). They become floats inside the torso, so that each pixel
is copied to the device as one byte. Vector observations are float32 (B, D).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from itertools import pairwise
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from agents.core.nets.pixels import Pixels
from agents.core.nets.spectral import SpectralConv2d
from envs.errors import UserError, did_you_mean

TorsoName = str
"""The name of a torso: "auto", a name in `TORSOS`, or a registered name."""

TORSOS = ("nature", "data_efficient", "impala", "btr", "mlp")
"""The names of this package's torsos."""

GROUP = "joystick.torsos"
"""The entry-point group in which an installed package lists torsos: name = "module:make"."""

Norm = Literal["none", "layer"]
Activation = Literal["relu", "tanh"]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


class Torso(Protocol):
    """A network from observations (B, ...) to features (B, num_features)."""

    num_features: int

    def __call__(self, obs: Tensor) -> Tensor: ...


def scaled(obs: Tensor) -> Tensor:
    """Converts bytes to float32 in [0, 1], and other observations to float32."""
    return obs.float().mul_(1 / 255) if obs.dtype == torch.uint8 else obs.float()


def covering_padding(size: int, kernel: int, stride: int) -> int:
    """The least zero padding on both sides with which a convolution reads every cell of `size`.

    Without padding a convolution drops the rest of `size` after its last whole stride. On a screen
    it drops the bottom, which shows the paddle of Breakout.
    """
    padding = 0
    while (size + 2 * padding - kernel) % stride > padding:
        padding += 1
    return padding


def channel_norm(norm: Norm, channels: int) -> nn.Module:
    """Layer normalization of image features (https://arxiv.org/abs/1607.06450), or the identity."""
    return nn.GroupNorm(1, channels) if norm == "layer" else nn.Identity()


def require_image(obs_shape: tuple[int, ...], least: int) -> None:
    """Raises a UserError unless observations are images with sides of at least `least` pixels."""
    if len(obs_shape) != 3:
        raise UserError(f"observations of {obs_shape} are not images; use --torso mlp")
    if min(obs_shape[1:]) < least:
        raise too_small(obs_shape)


def too_small(obs_shape: tuple[int, ...]) -> UserError:
    return UserError(f"observations of {obs_shape} are too small for this torso; use --torso mlp")


class ConvTorso(nn.Module):
    """Convolutions with ReLU: maps uint8 (B, C, H, W) to features (B, F).

    A layer whose stride does not divide its input gets padding, so that it reads all of the input.
    The Nature torso needs none on 84 x 84 pixels, and stays as published.

    Args:
        obs_shape: (C, H, W).
        layers: (channels, kernel, stride) of each convolution.
        norm: normalization after each convolution.
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
            normalization = [channel_norm(norm, out_channels)] if norm != "none" else []
            modules += [convolution, *normalization, nn.ReLU(inplace=True)]
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
    """The torso of van Hasselt et al. 2019, https://arxiv.org/abs/1906.05243, except for padding.

    It takes a quarter of the Nature torso's computation.
    """
    return ConvTorso(obs_shape, ((32 * width, 5, 5), (64 * width, 5, 5)), norm)


MakeConvolution = Callable[..., nn.Conv2d]


class ResidualBlock(nn.Module):
    """x + convolution(ReLU(convolution(ReLU(x))))."""

    def __init__(self, channels: int, norm: Norm, convolution: MakeConvolution = nn.Conv2d):
        super().__init__()
        sizes = (channels, channels, 3)
        self.layers = nn.Sequential(
            *(channel_norm(norm, channels), nn.ReLU(), convolution(*sizes, padding=1)),
            *(channel_norm(norm, channels), nn.ReLU(), convolution(*sizes, padding=1)),
        )

    def forward(self, features_BCHW: Tensor) -> Tensor:
        return features_BCHW + self.layers(features_BCHW)


class ImpalaTorso(nn.Module):
    """The residual torso of Espeholt et al. 2018, https://arxiv.org/abs/1802.01561, figure 3.

    It maps uint8 (B, C, H, W) to features (B, F). Three stages have 16, 32 and 32 channels, times
    `width`. A stage is a convolution, a pooling that halves the image, and two residual blocks.

    Args:
        convolution: makes the convolutions of the residual blocks.
        most_side: the last features are pooled to this height and width, if they have more.
    """

    def __init__(
        self,
        obs_shape: tuple[int, ...],
        width: int = 1,
        norm: Norm = "none",
        convolution: MakeConvolution = nn.Conv2d,
        most_side: int | None = None,
    ):
        super().__init__()
        require_image(obs_shape, least=8)
        self.pixels = Pixels(obs_shape)
        channels, height, side = obs_shape
        stages: list[nn.Module] = []
        for out_channels in (16 * width, 32 * width, 32 * width):
            stages += [
                nn.Conv2d(channels, out_channels, 3, padding=1),
                nn.MaxPool2d(3, stride=2, padding=1),
                ResidualBlock(out_channels, norm, convolution),
                ResidualBlock(out_channels, norm, convolution),
            ]
            channels = out_channels
            height = -(-height // 2)
            side = -(-side // 2)
        stages.append(nn.ReLU())
        if most_side is not None:
            height = min(height, most_side)
            side = min(side, most_side)
            stages.append(nn.AdaptiveMaxPool2d((height, side)))
        self.stages = nn.Sequential(*stages)
        self.num_features = channels * height * side

    def forward(self, obs_BCHW: Tensor) -> Tensor:
        return self.stages(self.pixels(obs_BCHW)).flatten(1)


def btr_torso(obs_shape: tuple[int, ...], width: int = 1, norm: Norm = "none") -> ImpalaTorso:
    """The torso of Beyond The Rainbow, Clark et al. 2024, https://arxiv.org/abs/2411.03820.

    It is the IMPALA torso with spectral normalization in the residual blocks, and with features
    that are pooled to 6 x 6. The paper has width 2.
    """
    return ImpalaTorso(obs_shape, width, norm, SpectralConv2d, most_side=6)


class MlpTorso(nn.Module):
    """Fully connected layers: maps any observations, flattened, to features (B, F)."""

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
    in_features: int,
    width: int,
    layer_norm: bool,
    activation: Activation = "relu",
    linear: Callable[[int, int], nn.Linear] = nn.Linear,
) -> nn.Sequential:
    """A linear layer, an optional LayerNorm (https://arxiv.org/abs/1607.06450), an activation."""
    norm = nn.LayerNorm(width) if layer_norm else nn.Identity()
    return nn.Sequential(linear(in_features, width), norm, ACTIVATIONS[activation]())


MakeTorso = Callable[[tuple[int, ...]], nn.Module]
"""Makes a torso for observations of a shape.

The torso is a module with the attribute `num_features`. It maps observations (B, ...) to features
(B, num_features).
"""

_registered: dict[str, MakeTorso] = {}


def register_torso(name: str, make: MakeTorso) -> None:
    """Adds a torso, which `--torso name` then selects.

    Args:
        name: a name that is not in `TORSOS`.
        make: makes the torso (`MakeTorso`). Images are uint8 (B, C, H, W); `scaled` converts them
            to floats.

    Raises:
        UserError: this package has a torso of that name.
    """
    if name in ("auto", *TORSOS):
        raise UserError(f"the torso '{name}' belongs to Joystick; register yours by another name")
    _registered[name] = make


def torsos() -> list[str]:
    """The names that `--torso` accepts."""
    return ["auto", *TORSOS, *sorted({*_registered, *_installed()})]


def require_torso(name: str) -> None:
    """Raises a UserError unless a torso has that name."""
    known = torsos()
    if name not in known:
        raise UserError(
            f"--torso {name}: must be one of {', '.join(known)}{did_you_mean(name, known)}"
            "; --plugin FILE.py adds one"
        )


def _installed() -> dict[str, metadata.EntryPoint]:
    return {each.name: each for each in metadata.entry_points(group=GROUP)}


def _own_torso(name: str, obs_shape: tuple[int, ...]) -> Any:
    """Makes a torso of a plugin or of another package."""
    require_torso(name)
    make = _registered.get(name) or _installed()[name].load()
    torso = make(obs_shape)
    if not isinstance(getattr(torso, "num_features", None), int):
        raise UserError(f"the torso '{name}' has no num_features, the number of its features")
    return torso


MLP_WIDTH = 120
"""Features of the torso `mlp`, unless a network asks for another number."""


def make_torso(
    name: TorsoName,
    obs_shape: tuple[int, ...],
    width: int = 1,
    norm: Norm = "none",
    activation: Activation = "relu",
    mlp_width: int = MLP_WIDTH,
) -> Any:
    """Makes the torso of a name.

    Args:
        name: `auto` is `data_efficient` for images of at least 30 x 30 pixels, else `mlp`.
        width: factor of the channels in a torso for images.
        activation: activation of `mlp`; convolutions use ReLU.
        mlp_width: features of `mlp`.
    """
    if name == "auto":
        large_image = len(obs_shape) == 3 and min(obs_shape[1:]) >= 30
        name = "data_efficient" if large_image else "mlp"
    if name == "mlp":
        return MlpTorso(obs_shape, (mlp_width,), activation, norm)
    if name not in TORSOS:
        return _own_torso(name, obs_shape)
    images: dict[str, Callable[[tuple[int, ...], int, Norm], nn.Module]] = {
        "nature": nature_cnn,
        "data_efficient": data_efficient_cnn,
        "impala": ImpalaTorso,
        "btr": btr_torso,
    }
    return images[name](obs_shape, width, norm)
