"""The names of an environment's actions, and the keys that play them."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from envs.atari import atari_vector_env
from envs.errors import UserError
from envs.observations import described
from envs.own_code import FAULTS, raised
from envs.registered import make_env
from envs.spec import EnvSpec
from envs.user_env import UserEnv

# A copy of ale-py's `get_keys_to_action`, which never closes its emulator.
ATARI_KEYS = {"UP": "w", "DOWN": "s", "LEFT": "a", "RIGHT": "d", "FIRE": " ", "NOOP": "e"}


@functools.lru_cache
def action_meanings(spec: EnvSpec) -> tuple[str, ...]:
    """The names of an Atari game's actions in order, such as "NOOP"; () for other environments."""
    if spec.game is None:
        return ()
    env = atari_vector_env(spec, 1, 1, rgb=True)
    try:
        return tuple(action.name for action in env.ale.get_action_set())
    finally:
        env.close()


def action_name(spec: EnvSpec, action: np.ndarray | int) -> str:
    """The name of an action: "RIGHTFIRE" in an Atari game, else its number or numbers."""
    numbers = np.atleast_1d(action).reshape(-1)
    meanings = action_meanings(spec)
    if meanings and 0 <= numbers[0] < len(meanings):
        return meanings[int(numbers[0])]
    return " ".join(f"{x:.2f}" if numbers.dtype.kind == "f" else f"{x}" for x in numbers)


def keys_to_action(spec: EnvSpec) -> dict[Any, Any]:
    """The keys of each action, as the environment itself defines them; empty if it does not.

    The form is the one of `gymnasium.utils.play`: a key, a text of keys or a tuple of keys, to an
    action. A key is a character or a number.

    Raises:
        UserError: the environment cannot be built here, or returns something else.
    """
    if meanings := action_meanings(spec):
        return {
            tuple(key for word, key in ATARI_KEYS.items() if word in meaning): action
            for action, meaning in enumerate(meanings)
        }
    env = UserEnv(spec.env_id, make_env(spec, {}))
    try:
        return said_keys(env)
    finally:
        env.close()


def said_keys(env: UserEnv) -> dict[Any, Any]:
    """The result of an environment's own `get_keys_to_action`; {} if it has no such method.

    Raises:
        UserError: the method raises anything, or does not return a dict.
    """
    try:
        if not env.env.has_wrapper_attr("get_keys_to_action"):
            return {}
        said = env.env.get_wrapper_attr("get_keys_to_action")()
    except FAULTS as error:
        why = raised(error, env.source)
        raise UserError(f"{env.env_id}: get_keys_to_action() {why}") from error
    if not isinstance(said, dict):
        what = f"get_keys_to_action() returned {described(said)}"
        raise env.fault(what, "return a dict of keys to actions")
    return said
