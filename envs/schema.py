"""Reads JSON files and checks them against a type before anything uses them.

msgspec checks: it supports dataclasses, TypedDicts, Literals and unions, and its import takes 22
ms. pydantic's import takes 84 ms.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from envs.errors import UserError
from envs.files import read_regular
from envs.text import plain

T = TypeVar("T")

Natural = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""A whole number from 0 that fits NumPy's int64."""

MOST_BYTES = 16 << 20
"""Largest JSON file in bytes, unless the caller sets another limit."""


class Malformed(UserError):
    """The content of a file has the wrong type; one line says where."""


def parse(data: bytes | str, kind: type[T], what: str, *, finite: bool = True) -> T:
    """Parses JSON text into a value of a type.

    Args:
        data: UTF-8 text.
        kind: a type that msgspec supports. A dataclass ignores unknown fields.
        what: the first words of the error, such as the file's path.
        finite: refuse NaN, infinities and numbers that a float cannot hold.

    Raises:
        Malformed: the text is not JSON, or has another type.
    """
    return convert(_loaded(data, what, finite), kind, what)


def convert(value: Any, kind: type[T], what: str) -> T:
    """Converts a value of JSON's types into a value of a type; raises as `parse`."""
    try:
        return msgspec.convert(value, kind, dec_hook=_decoded)
    except (msgspec.ValidationError, RecursionError, OverflowError) as error:
        raise Malformed(f"{what}: {plain(_in_words(error))}") from None
    except (UserError, ValueError, TypeError) as error:
        # A dataclass may check its own values and raise these.
        raise Malformed(f"{what}: {plain(error)}") from None


def natural(value: Any, what: str) -> int:
    """Checks that a value is a whole number from 0 and returns it; raises as `parse`."""
    kind: Any = Natural
    return convert(value, kind, what)


def read(path: Path, kind: type[T], most_bytes: int = MOST_BYTES) -> T:
    """Reads a JSON file into a value of a type.

    Raises:
        Malformed: as `parse`.
        FileNotFoundError: the file is missing.
        OSError: the file cannot be read, or must not be read (`envs.files.Unreadable`).
    """
    return parse(read_regular(path, most_bytes), kind, str(path))


def _decoded(kind: type, value: Any) -> Any:
    """Converts values of types that msgspec does not support."""
    if issubclass(kind, Path) and isinstance(value, str):
        return kind(value)
    raise TypeError(f"expected `{kind.__name__}`, got {value!r}")


def _loaded(data: bytes | str, what: str, finite: bool) -> Any:
    try:
        if finite:
            return json.loads(data, parse_float=_finite, parse_constant=_refused)
        return json.loads(data)
    except RecursionError:
        raise Malformed(f"{what} is nested too deeply") from None
    except ValueError as error:
        raise Malformed(f"{what} is damaged: {plain(error)}") from None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{plain(text, 40)} is not a finite number")
    return value


def _refused(name: str) -> float:
    raise ValueError(f"{name} is not a finite number")


def _in_words(error: Exception) -> str:
    """Puts the place first in msgspec's "Expected `int`, got `str` - at `$.config.seed`"."""
    text, found, place = str(error).partition(" - at `$")
    text = f"{text[:1].lower()}{text[1:]}"
    if not found:
        return text or "it is nested too deeply"
    name = place.rstrip("`").lstrip(".")
    return f"{name}: {text}"
