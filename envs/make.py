"""From a name to a vector environment."""

from __future__ import annotations

from typing import Any

from gymnasium import Space

from envs.errors import UserError, at_least, at_most
from envs.machine import available_cores
from envs.spec import EnvSpec, spec
from envs.vector import TapedVectorEnv

MOST_ENVS = 65_536
"""Environments of a vector at most: what exceeds it is a slip, and would take all memory."""


def make(
    env: str | EnvSpec,
    num_envs: int = 8,
    seed: int = 0,
    *,
    tape_steps: int = 16_384,
    num_threads: int | None = None,
    first_env: int = 0,
    **options: Any,
) -> TapedVectorEnv:
    """Makes a vector environment.

    Args:
        env: a name ("Pong", "CartPole-v1"), or the spec of an earlier run or recording.
        num_envs: how many of them, N.
        seed: the run's seed, from which the seeds of all tapes are derived.
        tape_steps: an episode's end begins a new tape once the tape holds this many actions; 1 puts
            every episode on a tape of its own.
        num_threads: threads that step Atari games; by default one per core, at most N.
        first_env: these are the run's environments from this one on: several vector environments
            lead the lives that one of all of them would.
        options: of the environment, as `envs.spec` has them, where `env` is a name.

    Raises:
        UserError: no such environment, this machine cannot match the spec, or a number is too low.
    """
    if isinstance(env, EnvSpec) and options:
        raise UserError(f"{sorted(options)[0]}: a spec has its options already")
    env_spec = env if isinstance(env, EnvSpec) else spec(env, **options)
    env_spec.check_reproducible()
    return TapedVectorEnv(
        env_spec,
        at_most(MOST_ENVS, "num_envs", at_least(1, "num_envs", num_envs)),
        at_least(0, "seed", seed),
        at_least(1, "tape_steps", tape_steps),
        at_least(1, "num_threads", num_threads or min(num_envs, available_cores())),
        at_least(0, "first_env", first_env),
    )


def spaces_of(env: str | EnvSpec) -> tuple[Space, Space]:
    """The spaces of one environment's observations and actions.

    Raises:
        UserError: as `make`.
    """
    made = make(env, 1)
    made.close()
    return made.single_observation_space, made.single_action_space
