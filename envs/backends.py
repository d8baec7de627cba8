"""Opens the pool that fits a family of environments."""

from __future__ import annotations

from envs.atari import AtariPool
from envs.atari_modes import ModePool
from envs.pool import Pool
from envs.registered import RegisteredPool
from envs.spec import EnvSpec


def open_pool(spec: EnvSpec, num_envs: int, num_threads: int, *, rgb: bool = False) -> Pool:
    """Opens a pool of the spec's family.

    Args:
        rgb: observe pictures for people, uint8 (..., H, W, 3), in place of the observations. The
            episodes stay the same.

    Raises:
        UserError: the environment cannot be built here; the message names the missing package.
    """
    if spec.mode is not None or spec.difficulty is not None:
        return ModePool(spec, num_envs, num_threads, rgb=rgb)
    family = {"atari": AtariPool, "gymnasium": RegisteredPool}[spec.family]
    return family(spec, num_envs, num_threads, rgb=rgb)
