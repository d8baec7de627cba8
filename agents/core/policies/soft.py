"""The policy of off-policy actor-critics."""

from __future__ import annotations

import numpy as np
import torch

from agents.core.policies.stochastic import ClonePolicy


class OffPolicyActor(ClonePolicy):
    """Draws from an actor (`agents.core.nets.critics.Actor`).

    A discrete action is the number of a combination of parts, as the critics count them.
    """

    def _parts(self, remembered_N: np.ndarray) -> np.ndarray:
        if self.spaces.continuous:
            return super()._parts(remembered_N)
        return remembered_N.reshape(-1, 1)

    def _playable(self, action_NK: torch.Tensor) -> np.ndarray:
        if self.spaces.continuous:
            return super()._playable(action_NK)
        return self.spaces.playable_combination(action_NK[:, 0].cpu().numpy())
