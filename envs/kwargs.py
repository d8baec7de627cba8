"""Parses the arguments of an environment's constructor, and decides which of them are trusted.

Arguments are plain JSON. Yet a constructor may open a text as a path (MuJoCo's `xml_file`), import
it (highway-env's `other_vehicles_type`) or load it as a network. Text from a file is therefore
trusted only if it is a plain word and the environment is Gymnasium's own or ours; their
constructors do nothing of the kind with a word. Any other text needs the user's consent: the user
typed it in this process, or named its argument in the variable JOYSTICK_KWARGS.
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
    "render_mode": "Joystick renders pictures itself when it needs them",
    "max_episode_steps": "use --max-episode-steps",
    "disable_env_checker": "environments are built without the checker",
    "id": "use --env",
}
"""Arguments of `gymnasium.make` that no environment's constructor gets, and what to do instead."""

SAFE_PACKAGES = ("gymnasium.envs.", "envs.")
WORD = re.compile(r"[A-Za-z0-9_ -]{1,64}")
PYTHON_WORDS = {"True": True, "False": False, "None": None}
MOST_DEPTH = 8

_typed: set[str] = set()


def parsed(texts: Sequence[str]) -> dict[str, Any]:
    """Parses typed arguments: `gravity=-5.0 continuous=true`, or one JSON object.

    A value is JSON, True, False or None; any other value is a text.

    Raises:
        UserError: a word has neither of the two forms.
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
    """Returns a copy of the arguments with the types that JSON preserves.

    Raises:
        UserError: a value is not plain JSON, or an argument is not for the constructor.
    """
    for name in kwargs:
        if not isinstance(name, str) or not name.isidentifier():
            raise UserError(
                f"env_kwargs has the name {plain(repr(name))}, which cannot name an argument"
            )
        if name in ELSEWHERE:
            raise UserError(f"env_kwargs has {name}: {ELSEWHERE[name]}")
    return {name: _plain(value, name, 0) for name, value in sorted(kwargs.items())}


def in_words(kwargs: Mapping[str, Any]) -> str:
    """The arguments as text: `gravity=-5.0, continuous=true`."""
    each = (f"{name}={json.dumps(value, sort_keys=True)}" for name, value in kwargs.items())
    return ", ".join(each)


def trust(kwargs: Mapping[str, Any]) -> None:
    """Trusts the text in these arguments from now on, because the user typed them."""
    _typed.update(f"{name}={text}" for name, value in kwargs.items() for text in _texts(value))


def require_trusted(env_id: str, kwargs: Mapping[str, Any]) -> None:
    """Checks that arguments from a file may reach a constructor; the module's docstring says when.

    Raises:
        UserError: an argument holds untrusted text; the message names it and the way out.
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
        raise UserError(f"--env-kwargs {plain(text)}: not JSON: {plain(error)}") from None
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
        f"env_kwargs: {where} is {plain(repr(value), 60)}, but must be JSON: finite numbers,"
        " text, true, false, null, lists and objects"
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
