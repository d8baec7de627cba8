"""Makes text from files safe for a terminal, a page or a one-line error."""

from __future__ import annotations

import unicodedata
from typing import Any

MOST_CHARACTERS = 200
"""Longest text; a longer one is cut, because it would push everything else off the screen."""

# Control characters, surrogates and format characters. Format characters include marks that change
# the direction of writing. Private-use and unassigned characters are harmless.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def plain(value: Any, most_characters: int = MOST_CHARACTERS) -> str:
    """Returns a value as one line of text; "?" replaces each unsafe character.

    Unsafe are control, escape, bidirectional and surrogate characters.

    Args:
        value: any value; `str` converts it.
        most_characters: a longer text is cut and ends in "…".
    """
    # Cut before the characters are checked, because a name in a file may have megabytes.
    text = str(value)[: most_characters + 1]
    if not (text.isascii() and text.isprintable()):
        text = "".join("?" if unicodedata.category(each) in _UNSAFE else each for each in text)
    if len(text) > most_characters:
        text = text[: most_characters - 1] + "…"
    return text


def counted(number: int, noun: str) -> str:
    """A number with its noun, such as "1 run" and "2,000 runs"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
