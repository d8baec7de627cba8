"""Which pool plays which family of environments."""

from __future__ import annotations

from envs.atari import AtariPool
from envs.atari_modes import ModePool
from envs.pool import Pool
from envs.registered import RegisteredPool
from envs.spec import EnvSpec


def open_pool(spec: EnvSpec, num_envs: int, num_threads: int, *, rgb: bool = False) -> Pool:
    """Opens a pool of the spec's family.

    With `rgb`, the same lives are observed as pictures for people, uint8 with (H, W, 3) last.

    Raises:
        UserError: the environment cannot be built here; says which package is missing.
    """
    if spec.mode is not None or spec.difficulty is not None:
        return ModePool(spec, num_envs, num_threads, rgb=rgb)
    family = {"atari": AtariPool, "gymnasium": RegisteredPool}[spec.family]
    return family(spec, num_envs, num_threads, rgb=rgb)
