"""Cores: the part of a network that remembers earlier steps of an episode.

The memory of every core is one float32 tensor (B, S); S is 0 without a core. Therefore loops,
rollouts and checkpoints store it in the same way for every core. At the start of an episode the
memory is zero.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from agents.core.nets.orthogonal import orthogonal_

CoreName = Literal["none", "lstm", "gru"]


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
        outputs = []
        keep_TB1 = (~start_TB).unsqueeze(2).float()
        weights = self._weights(features_TBF.device.type)
        for features_BF, keep_B1 in zip(features_TBF, keep_TB1, strict=True):
            memory_BS = self._step(features_BF, memory_BS * keep_B1, weights).float()
            outputs.append(memory_BS[:, : self.num_features])
        return torch.stack(outputs), memory_BS

    def _weights(self, device: str) -> list[Tensor]:
        """The cell's weights, cast once; autocast would cast them again at each step."""
        weights: list[Tensor] = [*self.cell.parameters()]
        # `is_autocast_enabled` raises for a device without autocast, such as meta.
        if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
            return weights
        dtype = torch.get_autocast_dtype(device)
        return [weight.to(dtype) for weight in weights]

    def _step(self, features_BF: Tensor, memory_BS: Tensor, weights: list[Tensor]) -> Tensor:
        if isinstance(self.cell, nn.LSTMCell):
            return torch.cat(torch.lstm_cell(features_BF, memory_BS.chunk(2, dim=1), *weights), 1)
        return torch.gru_cell(features_BF, memory_BS, *weights)


def make_core(name: CoreName, num_features: int, size: int) -> NoCore | RecurrentCore:
    """Makes the core of a name, with a hidden state of `size` numbers."""
    if name == "none":
        return NoCore(num_features)
    return RecurrentCore(name, num_features, size)
