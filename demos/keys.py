"""Maps keys, by their pygame names, to the actions of an environment."""

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
"""Keys of environments that define none themselves, by the id without its version."""

TWINS = {"w": "up", "a": "left", "s": "down", "d": "right"}
TWINS |= {arrow: letter for letter, arrow in TWINS.items()}

# Arrows have two numbers, because Gymnasium's environments still use the numbers of SDL 1.
NAMES = {32: "space", 273: "up", 274: "down", 275: "right", 276: "left"}
NAMES |= {2**30 + 79: "right", 2**30 + 80: "left", 2**30 + 81: "down", 2**30 + 82: "up"}


@dataclass(frozen=True)
class Controls:
    """The actions that a person can play with keys."""

    spec: EnvSpec
    actions: dict[frozenset[str], Any]
    """Actions by the keys that are held together; no key plays the idle action, if there is one."""

    @property
    def keys(self) -> frozenset[str]:
        """All keys that play an action."""
        return frozenset().union(*self.actions)

    def action(self, keys: Keys) -> Any | None:
        """The action that the pressed keys play, or None if the game must wait for a key.

        The largest combination of held keys that plays an action counts. If two keys contradict
        each other, the later one counts. A game without an idle action waits for a key.
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
    """Returns the keys that the environment defines, or else arrows or digits.

    Raises:
        UserError: keys cannot play the environment's actions, or the environment names an unknown
            key or action.
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
    meanings = action_meanings(spec)
    if "NOOP" in meanings:
        actions.setdefault(frozenset(), meanings.index("NOOP"))
    return Controls(spec, actions)


def played(action: Any, keys: Any, spec: EnvSpec, space: Space) -> Any:
    """Returns the action unchanged; raises a UserError if the space does not have it."""
    try:
        fitting([action], space, 1)
    except Unfit as unfit:
        raise UserError(
            f"{spec.env_id}: its keys {described(keys)} play {described(action)}, {unfit};"
            f" actions are {in_words(space)}"
        ) from None
    return action


def digits(spec: EnvSpec, space: Space) -> dict[Any, Any]:
    """Digit keys for the actions of a discrete space.

    Raises:
        UserError: the space is not discrete, or it has an action outside 0 to 9.
    """
    if not isinstance(space, spaces.Discrete):
        raise UserError(
            f"a person cannot play {spec.env_id}: its action space is {type(space).__name__}, and"
            " it has no get_keys_to_action()"
        )
    first = int(space.start)
    last = int(space.start + space.n - 1)
    if first < 0 or last > 9:
        raise UserError(
            f"a person cannot play {spec.env_id}: its actions are {first} to {last}, but the keys"
            " are 0 to 9"
        )
    return {str(action): action for action in range(first, last + 1)}


def listed(keys: Any) -> Iterable[Any]:
    """The keys of a combination in one of Gymnasium's three forms: a key, a text or a tuple."""
    if isinstance(keys, int):
        return (keys,)
    if isinstance(keys, Iterable):
        return keys
    raise UserError(
        f"{described(keys)} is not a key: a key must be a character, a number or a tuple of them"
    )


def name_of(key: Any) -> str:
    """The pygame name of a key, given as a name, a character or a number."""
    if isinstance(key, str) and len(key) > 1:
        return key
    if not isinstance(key, int) and not (isinstance(key, str) and key):
        raise UserError(
            f"{described(key)} is not a key: a key must be a character, a name or a number"
        )
    code = ord(key) if isinstance(key, str) else key
    if code not in NAMES and not 0 <= code <= 127:
        raise UserError(f"the key number {code} is unknown; use the name of the key")
    return NAMES[code] if code in NAMES else chr(code)
