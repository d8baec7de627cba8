"""A network body of your own: joystick dqn --env CartPole-v1 --plugin my_torso.py --torso fourier

A torso is a torch module: observations (B, ...) in, features (B, num_features) out. A package adds
one by an entry point of the group `joystick.torsos`: fourier = "my_torso:make".
"""

import math

import torch
from torch import Tensor, nn

import joystick


class Fourier(nn.Module):
    """Sines and cosines of learned directions (https://arxiv.org/abs/2006.10739)."""

    def __init__(self, num_inputs: int, num_waves: int = 64):
        super().__init__()
        self.directions = nn.Linear(num_inputs, num_waves)
        # What follows reads this attribute.
        self.num_features = 2 * num_waves

    def forward(self, obs: Tensor) -> Tensor:
        angle = math.tau * self.directions(obs.float().flatten(1))
        return torch.cat([angle.sin(), angle.cos()], dim=1)


def make(obs_shape: tuple[int, ...]) -> Fourier:
    """Called with the shape of one observation."""
    return Fourier(math.prod(obs_shape))


joystick.register_torso("fourier", make)
