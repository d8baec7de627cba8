"""Torsos: networks that turn observations into features.

Image observations are uint8 (B, C, H, W) and become floats inside the torso, so that one byte a
pixel is all that travels. Vector observations are float32 (B, D).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from itertools import pairwise
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from agents.core.nets.pixels import Pixels
from envs.errors import UserError, did_you_mean

TorsoName = str
"""The name of a torso: "auto", one of `TORSOS`, or one that is registered."""

TORSOS = ("nature", "data_efficient", "impala", "mlp")
"""The torsos of this package."""

GROUP = "joystick.torsos"
"""The group of entry points by which an installed package adds torsos: name = "module:make"."""

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
    """Layer normalization of an image's features (https://arxiv.org/abs/1607.06450), or nothing."""
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
        channels, height, side = obs_shape
        stages = []
        for out_channels in (16 * width, 32 * width, 32 * width):
            stages += [
                nn.Conv2d(channels, out_channels, 3, padding=1),
                nn.MaxPool2d(3, stride=2, padding=1),
                ResidualBlock(out_channels, norm),
                ResidualBlock(out_channels, norm),
            ]
            channels = out_channels
            height = -(-height // 2)
            side = -(-side // 2)
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


MakeTorso = Callable[[tuple[int, ...]], nn.Module]
"""Makes a torso for observations of a shape: a module with the attribute `num_features`, which
turns observations (B, ...) into features (B, num_features)."""

_registered: dict[str, MakeTorso] = {}


def register_torso(name: str, make: MakeTorso) -> None:
    """Add a torso, which `--torso name` chooses from now on.

    Args:
        name: none of this package's.
        make: as `MakeTorso`. Images are uint8 (B, C, H, W); `scaled` makes floats of them.

    Raises:
        UserError: this package has a torso of that name.
    """
    if name in ("auto", *TORSOS):
        raise UserError(f"the torso '{name}' is this package's; register yours by another name")
    _registered[name] = make


def torsos() -> list[str]:
    """The names that `--torso` takes."""
    return ["auto", *TORSOS, *sorted({*_registered, *_installed()})]


def require_torso(name: str) -> None:
    """Raise a UserError unless there is a torso of that name."""
    known = torsos()
    if name not in known:
        raise UserError(
            f"--torso {name}: must be one of {', '.join(known)}{did_you_mean(name, known)}"
            "; --plugin FILE.py adds one"
        )


def _installed() -> dict[str, metadata.EntryPoint]:
    return {each.name: each for each in metadata.entry_points(group=GROUP)}


def _own_torso(name: str, obs_shape: tuple[int, ...]) -> Any:
    """A torso of a plugin or of another package."""
    require_torso(name)
    make = _registered.get(name) or _installed()[name].load()
    torso = make(obs_shape)
    if not isinstance(getattr(torso, "num_features", None), int):
        raise UserError(f"the torso '{name}' has no num_features, the width of what it returns")
    return torso


def make_torso(
    name: TorsoName,
    obs_shape: tuple[int, ...],
    width: int = 1,
    norm: Norm = "none",
    activation: Activation = "relu",
    mlp_width: int = 120,
) -> Any:
    """The torso of that name; `auto` is `data_efficient` for images and `mlp` for the rest.

    `width` multiplies the channels of a torso for images. `mlp_width` and `activation` apply to
    `mlp` alone: convolutions use ReLU.
    """
    if name == "auto":
        large_image = len(obs_shape) == 3 and min(obs_shape[1:]) >= 30
        name = "data_efficient" if large_image else "mlp"
    if name == "mlp":
        return MlpTorso(obs_shape, (mlp_width,), activation, norm)
    if name not in TORSOS:
        return _own_torso(name, obs_shape)
    images = {"nature": nature_cnn, "data_efficient": data_efficient_cnn, "impala": ImpalaTorso}
    return images[name](obs_shape, width, norm)
