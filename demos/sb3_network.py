"""Rebuilds the network of a Stable-Baselines3 checkpoint from names and shapes of tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import numpy as np
import torch
from gymnasium import Space, spaces
from torch import Tensor, nn
from torch.nn import functional

from demos.sb3_archive import Archive, text, usable
from envs import UserError

NATURE = {0: (8, 4), 2: (4, 2), 4: (3, 1)}
"""Kernel and stride of each convolution of a Nature CNN, by its number in the archive."""
CLASSES = {
    "features_extractor_class": (
        "stable_baselines3.common.torch_layers",
        ("NatureCNN", "FlattenExtractor"),
    ),
    "activation_fn": (
        "torch.nn.modules.activation",
        (
            *("CELU", "ELU", "GELU", "Hardswish", "Hardtanh", "LeakyReLU", "Mish", "ReLU", "ReLU6"),
            *("SELU", "SiLU", "Sigmoid", "Softplus", "Softsign", "Tanh"),
        ),
    ),
}
"""Module and names of the classes that an entry of `policy_kwargs` may name."""
UNDERSTOOD = {
    *(":type:", ":serialized:", "net_arch", "activation_fn", "ortho_init", "log_std_init"),
    *("full_std", "use_expln", "optimizer_class", "optimizer_kwargs", "share_features_extractor"),
    *("features_extractor_class", "features_extractor_kwargs", "normalize_images", "n_quantiles"),
    *("squash_output", "sde_net_arch"),
}
"""Known `policy_kwargs`: followed here, visible in the tensors, or used by training only."""

Layer = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Family:
    """The names of the tensors of the policies in one module of Stable-Baselines3."""

    extractor: str
    trunk: tuple[str, ...]
    """Parts of the MLP, in order."""
    head: tuple[str, ...] = ()
    unused: tuple[str, ...]
    """Prefixes of the tensors that choosing an action does not use."""
    activation: str = "ReLU"
    """Default activation between the layers of an MLP."""
    explores_by: str = "epsilon"
    can_overlap: bool = True
    """The algorithm learns from a replay buffer, and always stores an original observation."""


FAMILIES = {
    "stable_baselines3.dqn.policies": Family(
        extractor="q_net.features_extractor", trunk=("q_net.q_net",), unused=("q_net_target.",)
    ),
    "sb3_contrib.qrdqn.policies": Family(
        extractor="quantile_net.features_extractor",
        trunk=("quantile_net.quantile_net",),
        unused=("quantile_net_target.",),
    ),
    "stable_baselines3.common.policies": Family(
        extractor="features_extractor",
        # Versions of Stable-Baselines3 before 1.8 had the shared part.
        trunk=("mlp_extractor.shared_net", "mlp_extractor.policy_net"),
        head=("action_net",),
        # Archives hold the actor's extractor twice, and the critic may have its own extractor.
        unused=(
            *("pi_features_extractor.", "vf_features_extractor.", "mlp_extractor.value_net."),
            *("value_net.", "log_std"),
        ),
        activation="Tanh",
        explores_by="temperature",
        can_overlap=False,
    ),
}


def network(archive: Archive, family: Family, obs_space: Space, action_space: Space) -> list[Layer]:
    """The layers from observations (N, ...) to values or logits (N, A), or to means (N, K).

    Raises:
        UserError: the network is unsupported. The message lacks its subject, the file's name.
    """
    tensors = archive.tensors
    kwargs = archive.settings.get("policy_kwargs")
    kwargs = kwargs if isinstance(kwargs, dict) else {}
    unsupported = sorted(kwargs.keys() - UNDERSTOOD)
    if unsupported:
        raise UserError(f"has the policy_kwargs '{unsupported[0]}', which is unsupported")
    class_named(kwargs, "features_extractor_class", default="NatureCNN")
    between = getattr(nn, class_named(kwargs, "activation_fn", default=family.activation))()

    cnn = [f"{family.extractor}.cnn.{number}" for number in NATURE]
    cnn = [*cnn, f"{family.extractor}.linear.0"] if f"{cnn[0]}.weight" in tensors else []
    mlp = [name for part in family.trunk for name in layers_of(part, tensors)]
    mlp = [*mlp, *family.head] or [f"{family.trunk[0]}.0"]
    used = tuple(f"{name}." for name in [*cnn, *mlp])
    unknown = [name for name in tensors if not name.startswith((*used, *family.unused))]
    if unknown:
        raise UserError(f"has a tensor '{unknown[0]}', which no MLP and no Nature CNN has")

    layers: list[Layer] = [Tensor.float]
    if kwargs.get("normalize_images", True) and is_image(obs_space):
        layers += [lambda pixels: pixels / 255]
    for name, (kernel, stride) in zip(cnn, NATURE.values(), strict=False):
        convolution = affine(tensors, name, functional.conv2d, (kernel, kernel), stride=stride)
        layers += [convolution, functional.relu]
    layers += [flatten]
    for name in cnn[len(NATURE) :]:
        layers += [affine(tensors, name), functional.relu]
    for name in mlp[:-1]:
        layers += [affine(tensors, name), between]
    layers += [affine(tensors, name) for name in mlp[-1:]]
    count = outputs_for(action_space)
    check_fit(layers, obs_space, count, quantiles="n_quantiles" in archive.settings)
    # QR-DQN takes the mean over its quantiles; the other algorithms have one quantile here.
    return [*layers, lambda outputs: outputs.view(len(outputs), -1, count).mean(dim=1)]


def layers_of(part: str, tensors: dict[str, Tensor]) -> list[str]:
    """The names of an MLP's layers; the odd numbers are activations."""
    depth = sum(bool(re.fullmatch(rf"{re.escape(part)}\.\d+\.weight", name)) for name in tensors)
    return [f"{part}.{2 * each}" for each in range(depth)]


def class_named(kwargs: dict[str, Any], key: str, default: str) -> str:
    """The name of the class that a keyword names; raises a UserError if `CLASSES` lacks it."""
    module, names = CLASSES[key]
    known = {f"<class '{module}.{name}'>": name for name in names}
    found = text(kwargs, key)
    if found and found not in known:
        raise UserError(f"has the {key} {found}, allowed are {', '.join(names)} of {module}")
    return known.get(found, default)


def affine(
    tensors: dict[str, Tensor],
    name: str,
    operation: Callable[..., Tensor] = functional.linear,
    kernel: tuple[int, ...] = (),
    **options: int,
) -> Layer:
    """The linear layer or convolution of that name; raises a UserError if its tensors misfit."""
    weight, bias = (usable(tensors, f"{name}.{each}") for each in ("weight", "bias"))
    shape = list(weight.shape)
    if weight.ndim < 2 or weight.shape[2:] != kernel or not weight.numel():
        raise UserError(f"has a layer '{name}' of another kind: {shape}")
    if bias.shape != weight.shape[:1]:
        bad = f"'{name}' has weights {shape} and biases {list(bias.shape)}"
        raise UserError(f"has layers that do not fit: {bad}")
    return partial(operation, weight=weight, bias=bias, **options)


def check_fit(layers: list[Layer], obs_space: Space, count: int, *, quantiles: bool) -> None:
    """Raises a UserError if the layers do not lead from an observation to the actions."""
    try:
        width = through(layers, torch.zeros(1, *(obs_space.shape or ()))).shape[1]
    except RuntimeError as error:
        raise UserError(f"has layers that do not fit: {error}") from None
    if width != count and not (quantiles and width and width % count == 0):
        raise UserError(f"has {width} outputs, which do not fit {count} actions")


def through(layers: list[Layer], inputs: Tensor) -> Tensor:
    """The outputs of the last layer for these inputs."""
    return reduce(lambda outputs, layer: layer(outputs), layers, inputs)


def flatten(batch: Tensor) -> Tensor:
    """A batch (N, ...) as (N, F)."""
    return batch.flatten(start_dim=1)


def is_image(space: Space) -> bool:
    """Whether Stable-Baselines3 divides these observations by 255."""
    assert isinstance(space, spaces.Box)
    of_bytes = space.dtype == np.uint8 and len(space.shape) == 3
    return of_bytes and bool((space.low == 0).all() and (space.high == 255).all())


def outputs_for(space: Space) -> int:
    """The number of logits, values or means that the actions of a space need."""
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(space.nvec.sum())
    return math.prod(space.shape or ())
