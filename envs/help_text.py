"""Text of `--help`, wrapped to the width of the terminal."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Sequence

LEAST_WIDTH = 40
"""Columns that a narrower terminal is taken to have: its own wrapping is no worse."""

WIDEST_TERM = 25
"""A longer term has its explanation below it, not beside it."""


def width() -> int:
    """Columns of the terminal; COLUMNS decides, and without both it is 80."""
    return max(shutil.get_terminal_size().columns, LEAST_WIDTH)


def wrapped(text: str, columns: int) -> str:
    """The text with no line longer than `columns`, its paragraphs filled.

    An indented line, such as an equation or an example, stays a line of its own. So does a line
    that begins with a command, and the line after each.
    """
    lines: list[str] = []
    for block in blocks(text.strip("\n").splitlines()):
        indent = block[: len(block) - len(block.lstrip())]
        lines += textwrap.wrap(
            block,
            columns,
            subsequent_indent=indent + ("    " if indent or is_command(block) else ""),
            break_long_words=False,
            break_on_hyphens=False,
        ) or [""]
    return "\n".join(lines)


def blocks(lines: Sequence[str]) -> list[str]:
    """The lines; the lines of a paragraph are joined to one."""
    found: list[str] = []
    for before, line in zip(["", *lines], lines, strict=False):
        if continues(before) and continues(line):
            found[-1] += " " + line
        else:
            found.append(line.rstrip())
    return found


def continues(line: str) -> bool:
    """Whether a line is part of a paragraph."""
    return bool(line.strip()) and not line.startswith(" ") and not is_command(line)


def is_command(line: str) -> bool:
    return re.match(r"python -m |joystick ", line) is not None


def rows(terms: dict[str, str], columns: int) -> str:
    """Terms with an explanation beside each, as lines no longer than `columns`."""
    # Both columns as wide on all terms: the eye finds a term at once.
    margin = " " * (WIDEST_TERM + 4)
    lines: list[str] = []
    for term, explanation in terms.items():
        body = textwrap.wrap(
            explanation,
            columns,
            initial_indent=margin,
            subsequent_indent=margin,
            break_long_words=False,
            break_on_hyphens=False,
        )
        if len(term) > WIDEST_TERM or not body:
            lines += textwrap.wrap(
                term, columns, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
            )
        else:
            body[0] = f"  {term:<{WIDEST_TERM}}  {body[0].lstrip()}"
        lines += body
    return "\n".join(lines)


def within(text: str, columns: int) -> str:
    """Help of tyro's, without spaces at the ends of lines, its long lines wrapped."""
    lines = [line.rstrip() for line in text.rstrip().splitlines()]
    return "\n".join(line if len(line) <= columns else folded(line, columns) for line in lines)


def folded(line: str, columns: int) -> str:
    """A line of usage as several; a list of choices breaks after a comma."""
    # A choice is one word otherwise, as long as all of them.
    parts = re.sub(r",(?=\w)", ", ", line)
    return "\n".join(textwrap.wrap(parts, columns, subsequent_indent="    "))
