"""The previous action and reward as inputs of a network.

They tell a network with a memory what it did and what it got (Kapturowski et al. 2019,
https://openreview.net/forum?id=r1lyTjAqYX). With sticky actions, the action that the emulator
executes may be the previous one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.core.types.spaces import Spaces


@dataclass(frozen=True)
class PreviousInputs:
    """Encodes a previous action and reward as numbers.

    Attributes:
        sizes: number of choices in each part of a discrete action; each part is one-hot.
        dimensions: number of parts of a continuous action, which is not changed.
        clip_reward: whether the reward's sign takes the place of the reward.
        enabled: whether the network has these inputs; if not, the encoding has width 0.
    """

    sizes: tuple[int, ...] = ()
    dimensions: int = 0
    clip_reward: bool = False
    enabled: bool = False

    @classmethod
    def of(cls, spaces: Spaces, enabled: bool, clip_reward: bool) -> PreviousInputs:
        """The encoding of actions in parts (..., K)."""
        clips = clip_reward and spaces.atari
        if spaces.continuous:
            return cls((), spaces.action_parts, clips, enabled)
        return cls(spaces.action_sizes, 0, clips, enabled)

    @classmethod
    def of_combinations(cls, spaces: Spaces, enabled: bool, clip_reward: bool) -> PreviousInputs:
        """The encoding of numbers of combinations (..., 1)."""
        return cls((spaces.combinations,), 0, clip_reward and spaces.atari, enabled)

    @property
    def width(self) -> int:
        """Numbers in an encoding, P."""
        return (sum(self.sizes) + self.dimensions + 1) if self.enabled else 0

    def encode(self, action: Tensor, reward: Tensor, is_first: Tensor) -> Tensor:
        """The encoding, float32 (..., P); zeros at an episode's start.

        Args:
            action: previous actions, int64 (..., K) or float32 (..., K).
            reward: previous rewards (...), clipped or not.
            is_first: bool (...), the step is the first of its episode.
        """
        if not self.enabled:
            return torch.empty(*reward.shape, 0, device=reward.device)
        reward = reward.sign() if self.clip_reward else reward
        columns = [*self._columns(action), reward.float().unsqueeze(-1)]
        return torch.cat(columns, dim=-1).masked_fill(is_first.unsqueeze(-1), 0.0)

    def beside(self, features_NF: Tensor, previous_NP: Tensor | None) -> Tensor:
        """Features (N, F) with the encodings beside them, in the features' dtype."""
        if not self.enabled:
            return features_NF
        assert previous_NP is not None
        return torch.cat([features_NF, previous_NP.to(features_NF.dtype)], dim=1)

    def _columns(self, action: Tensor) -> list[Tensor]:
        if not self.sizes:
            return [action.float()]
        parts = zip(self.sizes, action.unbind(-1), strict=True)
        # `nn.functional.one_hot` waits for the device.
        return [
            (part.unsqueeze(-1) == torch.arange(size, device=part.device)).float()
            for size, part in parts
        ]


NO_PREVIOUS = PreviousInputs()
"""The encoding of a network that does not see the previous action and reward."""
