"""Text from files, made safe for a terminal, a page or an error's one line."""

from __future__ import annotations

import unicodedata
from typing import Any

MOST_CHARACTERS = 200
"""Longer names are cut: nobody reads them, and they push everything else off the screen."""

# Control characters, surrogates and format characters, among them those that turn the direction
# of writing. Private-use and unassigned characters are harmless.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def plain(value: Any, most_characters: int = MOST_CHARACTERS) -> str:
    """A value as one line of text without control, escape, bidirectional or surrogate characters.

    Args:
        value: anything; its `str` is taken.
        most_characters: a longer text is cut and ends in "…".
    """
    # The cut comes first too: a file may hold megabytes in one name.
    text = str(value)[: most_characters + 1]
    if not (text.isascii() and text.isprintable()):
        text = "".join("?" if unicodedata.category(each) in _UNSAFE else each for each in text)
    if len(text) > most_characters:
        text = text[: most_characters - 1] + "…"
    return text


def counted(number: int, noun: str) -> str:
    """A number with its noun, such as "1 run" and "2,000 runs"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
