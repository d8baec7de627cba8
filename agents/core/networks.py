"""Networks: torsos turn observations into features, heads turn features into values.

Image observations are uint8 (B, C, H, W) and are scaled to [0, 1] inside the torso, so that
one byte a pixel is all that travels. Vector observations are float32 (B, D).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor, nn

from agents.core.types import Spaces
from envs.errors import UserError


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


class ConvTorso(nn.Module):
    """Convolutions with ReLU, flattened: uint8 (B, C, H, W) to (B, F).

    Layers whose strides do not divide their input are padded until they read all of it, which
    leaves the Nature torso on 84 x 84 pixels as it was published.

    Args:
        obs_shape: (C, H, W).
        layers: (channels, kernel, stride) of each convolution.
    """

    def __init__(self, obs_shape: tuple[int, ...], layers: tuple[tuple[int, int, int], ...]):
        super().__init__()
        if len(obs_shape) != 3:
            raise UserError(f"observations of {obs_shape} are not images; use --torso mlp")
        channels, height, width = obs_shape
        modules: list[nn.Module] = []
        for out_channels, kernel, stride in layers:
            if min(height, width) < kernel:
                raise UserError(
                    f"observations of {obs_shape} are too small for this torso; use --torso mlp"
                )
            pad_y, pad_x = (covering_padding(size, kernel, stride) for size in (height, width))
            convolution = nn.Conv2d(channels, out_channels, kernel, stride, (pad_y, pad_x))
            modules += [convolution, nn.ReLU()]
            height = (height + 2 * pad_y - kernel) // stride + 1
            width = (width + 2 * pad_x - kernel) // stride + 1
            channels = out_channels
        self.convolutions = nn.Sequential(*modules)
        self.num_features = channels * height * width

    def forward(self, obs_BCHW: Tensor) -> Tensor:
        pixels_BCHW = scaled(obs_BCHW)
        # Measured on CPUs: without a backward pass to come, fp32 is faster in the plain layout.
        if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or pixels_BCHW.is_cuda:
            pixels_BCHW = pixels_BCHW.contiguous(memory_format=torch.channels_last)
        return self.convolutions(pixels_BCHW).flatten(1)


def nature_cnn(obs_shape: tuple[int, ...]) -> ConvTorso:
    """The torso of Mnih et al. 2015, https://doi.org/10.1038/nature14236."""
    return ConvTorso(obs_shape, ((32, 8, 4), (64, 4, 2), (64, 3, 1)))


def data_efficient_cnn(obs_shape: tuple[int, ...]) -> ConvTorso:
    """The torso of van Hasselt et al. 2019, https://arxiv.org/abs/1906.05243, but for padding:
    a quarter of the work of the Nature torso.
    """
    return ConvTorso(obs_shape, ((32, 5, 5), (64, 5, 5)))


class MlpTorso(nn.Module):
    """Fully connected layers with ReLU: any observation, flattened, to (B, F)."""

    def __init__(self, obs_shape: tuple[int, ...], widths: tuple[int, ...] = (120,)):
        super().__init__()
        sizes = (int(torch.Size(obs_shape).numel()), *widths)
        layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
        self.layers = nn.Sequential(*(m for layer in layers for m in (layer, nn.ReLU())))
        self.num_features = sizes[-1]

    def forward(self, obs_BD: Tensor) -> Tensor:
        return self.layers(scaled(obs_BD).flatten(1))


TORSOS = {"nature": nature_cnn, "data_efficient": data_efficient_cnn, "mlp": MlpTorso}


def make_torso(name: str, obs_shape: tuple[int, ...]) -> ConvTorso | MlpTorso:
    """The torso of that name; `auto` is `data_efficient` for images and `mlp` for the rest."""
    if name == "auto":
        large_image = len(obs_shape) == 3 and min(obs_shape[1:]) >= 30
        name = "data_efficient" if large_image else "mlp"
    return TORSOS[name](obs_shape)


def hidden_layer(in_features: int, width: int, layer_norm: bool) -> nn.Sequential:
    """Linear, optionally LayerNorm (https://arxiv.org/abs/1607.06450), ReLU."""
    norm = nn.LayerNorm(width) if layer_norm else nn.Identity()
    return nn.Sequential(nn.Linear(in_features, width), norm, nn.ReLU())


class QHead(nn.Module):
    """One hidden layer and a value for each action: features (B, F) to Q (B, A)."""

    def __init__(self, num_features: int, num_actions: int, width: int, layer_norm: bool):
        super().__init__()
        self.values = nn.Sequential(
            hidden_layer(num_features, width, layer_norm), nn.Linear(width, num_actions)
        )

    def q_values(self, features_BF: Tensor) -> Tensor:
        return self.values(features_BF)


class DuelingHead(nn.Module):
    """Q = V + A - mean A (Wang et al. 2016, https://arxiv.org/abs/1511.06581, eq. 9)."""

    def __init__(self, num_features: int, num_actions: int, width: int, layer_norm: bool):
        super().__init__()
        self.value = nn.Sequential(
            hidden_layer(num_features, width, layer_norm), nn.Linear(width, 1)
        )
        self.advantage = nn.Sequential(
            hidden_layer(num_features, width, layer_norm), nn.Linear(width, num_actions)
        )

    def q_values(self, features_BF: Tensor) -> Tensor:
        advantage_BA = self.advantage(features_BF)
        return self.value(features_BF) + advantage_BA - advantage_BA.mean(dim=1, keepdim=True)


class QNetwork(nn.Module):
    """A torso and a head that answers `q_values`: observations to float32 Q (B, A)."""

    def __init__(self, torso: ConvTorso | MlpTorso, head: QHead | DuelingHead):
        super().__init__()
        self.torso, self.head = torso, head

    def forward(self, obs: Tensor) -> Tensor:
        return self.head.q_values(self.torso(obs)).float()


class QNetworkConfig(Protocol):
    """The settings a Q-network reads from an algorithm's config."""

    @property
    def torso(self) -> str: ...
    @property
    def hidden(self) -> int: ...
    @property
    def dueling(self) -> bool: ...
    @property
    def layer_norm(self) -> bool: ...


def make_q_network(config: QNetworkConfig, spaces: Spaces) -> QNetwork:
    """The Q-function of the chosen parts for these spaces."""
    torso = make_torso(config.torso, spaces.obs_shape)
    head = DuelingHead if config.dueling else QHead
    features, actions = torso.num_features, spaces.num_actions
    return QNetwork(torso, head(features, actions, config.hidden, config.layer_norm))
