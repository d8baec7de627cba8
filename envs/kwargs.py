"""Arguments of an environment's constructor: how a person types them, and whose text is passed on.

They are plain JSON, but a constructor may do anything with a text: open it as a path (MuJoCo's
`xml_file`), import it (highway-env's `other_vehicles_type`) or load it as a network. So text from a
file reaches a constructor only where it is a plain word and the environment is Gymnasium's own or
ours, whose constructors do no such thing with a word. All other text needs a person: typed in this
process, or its argument named in the variable JOYSTICK_KWARGS.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium

from envs.errors import UserError
from envs.text import plain

VARIABLE = "JOYSTICK_KWARGS"

ELSEWHERE = {
    "render_mode": "pictures are made where they are needed",
    "max_episode_steps": "use --max-episode-steps",
    "disable_env_checker": "environments are built without the checker",
    "id": "use --env",
}
"""Arguments of `gymnasium.make` that are no environment's."""

SAFE_PACKAGES = ("gymnasium.envs.", "envs.")
WORD = re.compile(r"[A-Za-z0-9_ -]{1,64}")
PYTHON_WORDS = {"True": True, "False": False, "None": None}
MOST_DEPTH = 8

_typed: set[str] = set()


def parsed(texts: Sequence[str]) -> dict[str, Any]:
    """The arguments that a person types: `gravity=-5.0 continuous=true`, or one JSON object.

    A value is JSON, True, False or None, or else a text.

    Raises:
        UserError: a word is neither of the two forms.
    """
    kwargs: dict[str, Any] = {}
    for text in texts:
        if text.lstrip().startswith("{"):
            kwargs |= _object(text)
            continue
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UserError(
                f"--env-kwargs {plain(text)}: must be NAME=VALUE or a JSON object such as"
                " '{\"gravity\": -5.0}'"
            )
        kwargs[name.strip()] = _value(value)
    return kwargs


def checked(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of arguments as JSON gives them back.

    Raises:
        UserError: they are no plain JSON, or one is not for the constructor.
    """
    for name in kwargs:
        if not isinstance(name, str) or not name.isidentifier():
            raise UserError(f"env_kwargs has the name {plain(repr(name))}, which is no argument's")
        if name in ELSEWHERE:
            raise UserError(f"env_kwargs has {name}: {ELSEWHERE[name]}")
    return {name: _plain(value, name, 0) for name, value in sorted(kwargs.items())}


def in_words(kwargs: Mapping[str, Any]) -> str:
    """`gravity=-5.0, continuous=true`."""
    each = (f"{name}={json.dumps(value, sort_keys=True)}" for name, value in kwargs.items())
    return ", ".join(each)


def trust(kwargs: Mapping[str, Any]) -> None:
    """A person typed these: their text may be passed on from now on."""
    _typed.update(f"{name}={text}" for name, value in kwargs.items() for text in _texts(value))


def require_trusted(env_id: str, kwargs: Mapping[str, Any]) -> None:
    """Passes when a file may have these passed on, see above.

    Raises:
        UserError: names the argument and the way out.
    """
    allowed = os.environ.get(VARIABLE, "").split(",")
    registered = gymnasium.registry.get(env_id.rpartition(":")[2])
    harmless = str(registered and registered.entry_point).startswith(SAFE_PACKAGES)
    for name, value in kwargs.items():
        for text in _texts(value):
            if f"{name}={text}" in _typed or name in allowed:
                continue
            if not (harmless and WORD.fullmatch(text)):
                raise UserError(
                    f"'{env_id}' would be given {name}='{plain(text, 60)}' because a file says so:"
                    f" set {VARIABLE}={name} to allow it"
                )


def _value(text: str) -> Any:
    if text in PYTHON_WORDS:
        return PYTHON_WORDS[text]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"--env-kwargs {plain(text)}: no JSON: {plain(error)}") from None
    assert isinstance(found, dict)
    return found


def _plain(value: Any, where: str, depth: int) -> Any:
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float and math.isfinite(value):
        return value
    if isinstance(value, list | tuple) and depth < MOST_DEPTH:
        return [_plain(each, where, depth + 1) for each in value]
    if (
        isinstance(value, dict)
        and depth < MOST_DEPTH
        and all(isinstance(key, str) for key in value)
    ):
        return {key: _plain(value[key], where, depth + 1) for key in sorted(value)}
    raise UserError(
        f"env_kwargs: {where} is {plain(repr(value), 60)}, but only JSON can be kept: finite"
        " numbers, text, true, false, null, lists and objects"
    )


def _texts(value: Any) -> Iterator[str]:
    """All text in a value, the names in objects included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
