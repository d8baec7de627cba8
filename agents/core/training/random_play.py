"""Standardizes images by their statistics under random play.

A network learns sooner from inputs of mean zero and equal scale: LeCun et al. 1998, "Efficient
BackProp", section 4.3. On Atari, most of an image is a background that hardly changes, and a few
pixels matter.
"""

from __future__ import annotations

from contextlib import closing
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

import envs
from agents.core.nets.normalize import Moments, sums_of
from agents.core.nets.pixels import Pixels
from envs import EnvSpec, masks

NUM_ENVS = 2
STEPS = 512


@cache
def statistics(spec: EnvSpec) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each pixel, float32 (C, H, W), for observations in bytes.

    They come from `STEPS` steps in each of `NUM_ENVS` environments, and are the same for every run.
    A pixel that never changes has a deviation of 0.
    """
    with closing(envs.make(spec, NUM_ENVS, seed=0, num_threads=NUM_ENVS)) as env:
        env.action_space.seed(0)
        obs, info = env.reset(seed=0)
        mean, variance = torch.zeros(2, *obs.shape[1:], dtype=torch.float64)
        moments = Moments(mean, variance, torch.zeros((), dtype=torch.float64))
        for _ in range(STEPS):
            mask = tuple(info[masks.KEY]) if masks.KEY in info else None
            obs, *_, info = env.step(env.action_space.sample(mask=mask))
            moments.add(sums_of(torch.from_numpy(obs)))
    return moments.mean.float(), moments.variance.sqrt().float()


def standardize(network: nn.Module, spec: EnvSpec) -> None:
    """Scales a network's images so that under random play each pixel has mean 0 and deviation < 1.

    The divisor is the pixel's own deviation plus the deviation of all pixels. Otherwise a pixel
    that random play hardly ever changes would become huge when it does change.
    """
    stages = [module for module in network.modules() if isinstance(module, Pixels)]
    if stages and envs.spaces_of(spec)[0].dtype == np.uint8:
        mean, deviation = statistics(spec)
        of_all = deviation.square().mean().sqrt().clamp_min(1.0)
        for pixels in stages:
            pixels.standardize(mean, deviation + of_all)
