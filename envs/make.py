"""Makes a vector environment from a name or a spec."""

from __future__ import annotations

from typing import Any

from gymnasium import Space

from envs.errors import UserError, at_least, at_most
from envs.machine import available_cores
from envs.masks import KEY
from envs.spec import EnvSpec, spec
from envs.vector import TapedVectorEnv

MOST_ENVS = 65_536
"""Largest number of environments; a larger one is a typing error and would fill the memory."""


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
        num_envs: the number of environments, N.
        seed: the run's seed; the seeds of all tapes derive from it.
        tape_steps: an episode's end begins a new tape once the tape holds this many actions. 1 puts
            each episode on its own tape.
        num_threads: threads that step Atari games; by default one per core, at most N.
        first_env: number of the first environment within the run. Several vector environments with
            consecutive numbers play the same episodes as one large vector environment.
        options: options of the environment, as for `envs.spec`, if `env` is a name.

    Raises:
        UserError: there is no such environment, this machine cannot match the spec, or a number is
            out of range.
    """
    if isinstance(env, EnvSpec) and options:
        raise UserError(
            f"{sorted(options)[0]}: a spec already holds its options; give a name instead"
        )
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


def spaces_and_masks_of(env: str | EnvSpec) -> tuple[Space, Space, bool]:
    """As `spaces_of`, and whether the environment gives masks (`envs.masks`); it is reset once.

    Raises:
        UserError: as `make`, or the reset fails.
    """
    made = make(env, 1)
    try:
        # Atari games never have masks, and their reset is slow.
        masked = made.env_spec.family != "atari" and KEY in made.reset()[1]
    finally:
        made.close()
    return made.single_observation_space, made.single_action_space, masked


def spaces_of(env: str | EnvSpec) -> tuple[Space, Space]:
    """Returns the observation space and the action space of one environment.

    Raises:
        UserError: as `make`.
    """
    made = make(env, 1)
    made.close()
    return made.single_observation_space, made.single_action_space
