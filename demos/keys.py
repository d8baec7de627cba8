"""Which keys play which action, by the names that pygame gives to keys."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gymnasium import Space, spaces

from demos.actions import fitting, in_words
from demos.window import Keys
from envs import EnvSpec, UserError
from envs.action_names import action_meanings, action_name, keys_to_action
from envs.observations import Unfit, described

ARROWS = {
    "CartPole": {("left",): 0, ("right",): 1},
    "Acrobot": {(): 1, ("left",): 0, ("right",): 2},
    "LunarLander": {(): 0, ("left",): 1, ("up",): 2, ("right",): 3},
}
"""Of environments that say nothing of keys, by the id without its version."""

TWINS = {"w": "up", "a": "left", "s": "down", "d": "right"}
TWINS |= {arrow: letter for letter, arrow in TWINS.items()}

# Arrows have two numbers: Gymnasium's own environments still give the numbers of the first SDL.
NAMES = {32: "space", 273: "up", 274: "down", 275: "right", 276: "left"}
NAMES |= {2**30 + 79: "right", 2**30 + 80: "left", 2**30 + 81: "down", 2**30 + 82: "up"}


@dataclass(frozen=True)
class Controls:
    """The actions that a person can play."""

    spec: EnvSpec
    actions: dict[frozenset[str], Any]
    """By the keys that are held together; by none the one that does nothing, where there is one."""

    @property
    def keys(self) -> frozenset[str]:
        return frozenset().union(*self.actions)

    def action(self, keys: Keys) -> Any | None:
        """What is played; None where the game must wait for a key, as none does nothing.

        Of the keys that are held, as many count as make an action; of two that contradict each
        other, the one that was pressed last.
        """
        waits = frozenset() not in self.actions
        if waits and self.keys.isdisjoint(keys.struck + keys.repeated):
            return None
        held = list(dict.fromkeys([*keys.held, *keys.struck]))
        playable = [combination for combination in self.actions if combination <= set(held)]
        if not playable:
            return None
        return self.actions[max(playable, key=lambda c: (len(c), sorted(map(held.index, c))))]

    def __str__(self) -> str:
        """The keys of each action, one line each."""
        keys: dict[str, list[str]] = {}
        for combination, action in self.actions.items():
            name = action_name(self.spec, action)
            keys.setdefault(name, []).append("+".join(sorted(combination)) or "no key")
        return "\n".join(f"  {name}: {', '.join(each)}" for name, each in keys.items())


def controls_of(spec: EnvSpec, space: Space) -> Controls:
    """The keys that the environment says itself, else arrows or digits.

    Raises:
        UserError: its actions are more than keys can play, or it names what is no key or no action.
    """
    said = (
        keys_to_action(spec) or ARROWS.get(spec.env_id.rpartition("-v")[0]) or digits(spec, space)
    )
    actions = {
        frozenset(map(name_of, listed(keys))): played(action, keys, spec, space)
        for keys, action in said.items()
    }
    for combination, action in list(actions.items()):
        actions.setdefault(frozenset(TWINS.get(key, key) for key in combination), action)
    if "NOOP" in (meanings := action_meanings(spec)):
        actions.setdefault(frozenset(), meanings.index("NOOP"))
    return Controls(spec, actions)


def played(action: Any, keys: Any, spec: EnvSpec, space: Space) -> Any:
    """The action as it is; a UserError where the space does not have it."""
    try:
        fitting([action], space, 1)
    except Unfit as unfit:
        raise UserError(
            f"{spec.env_id}: its keys {described(keys)} play {described(action)}, {unfit};"
            f" actions are {in_words(space)}"
        ) from None
    return action


def digits(spec: EnvSpec, space: Space) -> dict[Any, Any]:
    if not isinstance(space, spaces.Discrete):
        raise UserError(
            f"a person cannot play {spec.env_id}: its actions are of the kind"
            f" {type(space).__name__}, and it has no get_keys_to_action()"
        )
    first, last = int(space.start), int(space.start + space.n - 1)
    if first < 0 or last > 9:
        raise UserError(
            f"a person cannot play {spec.env_id}: its actions are {first} to {last}, but digits 0"
            " to 9"
        )
    return {str(action): action for action in range(first, last + 1)}


def listed(keys: Any) -> Iterable[Any]:
    """Gymnasium's three forms of a combination as one: a key, a text of keys, a tuple of them."""
    if isinstance(keys, int):
        return (keys,)
    if isinstance(keys, Iterable):
        return keys
    raise UserError(f"{described(keys)} is no key: keys are characters, numbers or tuples of them")


def name_of(key: Any) -> str:
    """The name of a key that is named, a character or a number."""
    if isinstance(key, str) and len(key) > 1:
        return key
    if not isinstance(key, int) and not (isinstance(key, str) and key):
        raise UserError(f"{described(key)} is no key: a key is a character, a name or a number")
    code = ord(key) if isinstance(key, str) else key
    if code not in NAMES and not 0 <= code <= 127:
        raise UserError(f"the key with the number {code} has no name here")
    return NAMES[code] if code in NAMES else chr(code)
