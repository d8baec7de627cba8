"""Cores: the part of a network that remembers earlier steps of an episode.

The memory of every core is one float32 tensor (B, S); S is 0 without a core. Therefore loops,
rollouts and checkpoints store it in the same way for every core. At the start of an episode the
memory is zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from agents.core.nets.orthogonal import orthogonal_
from agents.core.types.inputs import Inputs

CoreName = Literal["none", "lstm", "gru"]

Memory = tuple[Tensor, ...]
"""The parts (B, H) of a memory: the hidden state, and the cell state of an LSTM."""


class NoCore(nn.Module):
    """Remembers nothing, and returns the features of each step unchanged."""

    memory_size = 0

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features

    def forward(
        self, features_TBF: Tensor, memory_BS: Tensor, start_TB: Tensor
    ) -> tuple[Tensor, Tensor]:
        return features_TBF, memory_BS


class RecurrentCore(nn.Module):
    """An LSTM or a GRU over the steps of an episode.

    LSTM: Hochreiter & Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735. Its memory is
    the hidden state followed by the cell state. GRU: Cho et al. 2014,
    https://arxiv.org/abs/1406.1078.
    """

    def __init__(self, kind: Literal["lstm", "gru"], in_features: int, size: int):
        super().__init__()
        cell = nn.LSTMCell if kind == "lstm" else nn.GRUCell
        self.cell = cell(in_features, size)
        self.is_lstm = kind == "lstm"
        self.num_features = size
        self.memory_size = 2 * size if kind == "lstm" else size
        for name, parameter in self.cell.named_parameters():
            # Orthogonal, as in the implementation of PPO with an LSTM (Huang et al. 2022).
            nn.init.zeros_(parameter) if "bias" in name else orthogonal_(parameter)

    def forward(
        self, features_TBF: Tensor, memory_BS: Tensor, start_TB: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns features (T, B, H) and the memory after the last step.

        Args:
            features_TBF: features of T consecutive steps of B environments.
            memory_BS: the memory before the first step.
            start_TB: bool, the step is the first of its episode, so the memory before it is zero.
        """
        weights = self._weights(features_TBF.device.type)
        # One product for the inputs of all steps; on a GPU, torch's cell takes fewer kernels.
        projects = features_TBF.device.type != "cuda"
        if projects:
            features_TBF = nn.functional.linear(features_TBF, weights[0], weights[2])
        step = self._projected_step if projects else self._cell_step
        keep_TB1 = (~start_TB).unsqueeze(2).float()
        parts = memory_BS.split(self.num_features, dim=1)
        outputs: list[Tensor] = []
        for features_BF, keep_B1 in zip(features_TBF, keep_TB1, strict=True):
            parts = step(features_BF, tuple(part * keep_B1 for part in parts), weights)
            outputs.append(parts[0])
        return torch.stack(outputs), torch.cat(parts, dim=1)

    def _weights(self, device: str) -> list[Tensor]:
        """The cell's weights, cast once; autocast would cast them again at each step."""
        weights: list[Tensor] = [*self.cell.parameters()]
        # `is_autocast_enabled` raises for a device without autocast, such as meta.
        if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
            return weights
        dtype = torch.get_autocast_dtype(device)
        return [weight.to(dtype) for weight in weights]

    def _cell_step(self, features_BF: Tensor, parts: Memory, weights: list[Tensor]) -> Memory:
        """The memory after a step of torch's cell."""
        if self.is_lstm:
            hidden_BH, cell_BH = torch.lstm_cell(features_BF, parts, *weights)
            return hidden_BH.float(), cell_BH.float()
        return (torch.gru_cell(features_BF, parts[0], *weights).float(),)

    def _projected_step(self, input_BG: Tensor, parts: Memory, weights: list[Tensor]) -> Memory:
        """The same in float32 arithmetic, for inputs that are multiplied by their weights."""
        hidden_BG = nn.functional.linear(parts[0], weights[1], weights[3])
        if self.is_lstm:
            input_gate, forget, new, output = (input_BG + hidden_BG).float().chunk(4, dim=1)
            cell_BH = forget.sigmoid() * parts[1] + input_gate.sigmoid() * new.tanh()
            return output.sigmoid() * cell_BH.tanh(), cell_BH
        input_3 = input_BG.float().chunk(3, dim=1)
        hidden_3 = hidden_BG.float().chunk(3, dim=1)
        reset = (input_3[0] + hidden_3[0]).sigmoid()
        update = (input_3[1] + hidden_3[1]).sigmoid()
        new = (input_3[2] + reset * hidden_3[2]).tanh()
        return (new + update * (parts[0] - new),)


def make_core(name: CoreName, num_features: int, size: int) -> NoCore | RecurrentCore:
    """Makes the core of a name, with a hidden state of `size` numbers."""
    if name == "none":
        return NoCore(num_features)
    return RecurrentCore(name, num_features, size)


def remembered(
    core: NoCore | RecurrentCore, features_NF: Tensor, inputs: Inputs, memory_BS: Tensor
) -> tuple[Tensor, Tensor]:
    """The features (B, L, F) of a core for the features of all steps, and the memory after them."""
    features_BLF = features_NF.unflatten(0, inputs.obs_BL.shape[:2])
    start_LB = inputs.start_BL.transpose(0, 1)
    features_LBF, memory_BS = core(features_BLF.transpose(0, 1), memory_BS, start_LB)
    return features_LBF.transpose(0, 1), memory_BS


def unrolled(
    forward: Callable[[Inputs, Tensor], tuple[Tensor, Tensor]], inputs: Inputs
) -> tuple[Tensor, Tensor]:
    """The features (N, F) of the steps after the burn-in, and the memory (B, S) after the last.

    The burn-in has no gradient.

    Args:
        forward: maps inputs and a memory to the features (B, L, F) and the memory after them.
    """
    memory_BS = inputs.memory_BS
    if inputs.burn_in:
        before, inputs = inputs.cut(inputs.burn_in)
        with torch.no_grad():
            _, memory_BS = forward(before, memory_BS)
    features_BLF, memory_BS = forward(inputs, memory_BS)
    features_NF = features_BLF.flatten(0, 1)
    if inputs.row_N is not None:
        features_NF = features_NF.index_select(0, inputs.row_N)
    return features_NF, memory_BS
