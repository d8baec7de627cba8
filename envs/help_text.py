"""Wraps the text of `--help` to the width of the terminal."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Sequence

LEAST_WIDTH = 40
"""Smallest width in columns; a narrower terminal wraps the lines itself."""

WIDEST_TERM = 25
"""Widest term, in characters, that has its explanation beside it; a longer term has it below."""


def width() -> int:
    """The terminal's width in columns: COLUMNS if it is set, and 80 without a terminal."""
    return max(shutil.get_terminal_size().columns, LEAST_WIDTH)


def wrapped(text: str, columns: int) -> str:
    """Fills the paragraphs of a text, with no line longer than `columns`.

    An indented line, such as an equation or an example, stays a separate line. So does a line that
    begins with a command.
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
    """The lines, with the lines of each paragraph joined into one."""
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
    """Whether a line begins with a command."""
    return re.match(r"python -m |joystick ", line) is not None


def rows(terms: dict[str, str], columns: int) -> str:
    """Lines of terms with their explanations beside them, none longer than `columns`."""
    # All explanations begin at the same column, so that a term is easy to find.
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
    """tyro's help text with long lines wrapped and without spaces at the ends of lines."""
    lines = [line.rstrip() for line in text.rstrip().splitlines()]
    return "\n".join(line if len(line) <= columns else folded(line, columns) for line in lines)


def folded(line: str, columns: int) -> str:
    """Wraps a long line of usage; a list of choices may break after a comma."""
    # Without the space, the list of choices would be one long word.
    parts = re.sub(r",(?=\w)", ", ", line)
    return "\n".join(textwrap.wrap(parts, columns, subsequent_indent="    "))
