"""The product's files avoid phrases that make a reader stumble, and British spellings."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PHRASES = ("that of", "those of", "what it says of", "of before", "whoever", "lived again")
"""Phrases that hide their noun."""

BRITISH = (
    "artefacts?",
    "behaviours?",
    "colour(s|ed|ing)?",
    "favour(s|ed|ing|ite|able)?",
    "neighbour(s|ing|hood)?",
    "(cancel|label|model)l(ed|ing)",
    "(initial|maxim|minim|normal|optim|organ|recogn|serial|summar|synchron)is(e|es|ed|ers?|ing|ation)",
)
"""British spellings, as regular expressions."""

GAP = r"[\s#]+"
"""Between two words: also the end of a line, and the mark of a comment on the next one."""

BANNED = re.compile(
    r"(?<![a-zA-Z])("
    + "|".join([*(phrase.replace(" ", GAP) for phrase in PHRASES), *BRITISH])
    + r")(?![a-zA-Z])",
    re.IGNORECASE,
)

QUOTATIONS = {"agents/core/runs/earlier_names.py", "docs/history.md"}
"""Files that quote earlier names and texts."""


def offenders(text: str) -> list[str]:
    """Each banned word or phrase of a text, with the number of its line."""
    listed = []
    for found in BANNED.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        words = found.group().replace("#", " ").split()
        listed.append(f"{line}: {' '.join(words)}")
    return listed


def dirty_files() -> dict[str, list[str]]:
    """The offenders of each tracked file of the product that has some."""
    command = ["git", "ls-files", "-z", "--", "*.py", "*.md", ":!tests", ":!runs"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = set(listed.split("\0")) - {""}
    assert len(names) > 200
    found = {
        name: offenders((ROOT / name).read_text("utf-8"))
        for name in sorted(names - QUOTATIONS)
        if (ROOT / name).exists()
    }
    return {name: lines for name, lines in found.items() if lines}


@pytest.mark.parametrize(
    "text",
    [
        "Its shape is that of a batch.",
        "Their shapes are those\n    # of a batch.",
        "The frames of before.",
        "Whoever calls it waits.",
        "An episode is lived\nagain.",
        "the last step, and what it says of returns",
        "normalise_rewards",
        "the optimiser's state",
        "coloured",
        "Behaviour",
        "labelled",
    ],
)
def test_a_banned_phrase_is_found(text: str) -> None:
    assert len(offenders(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "Check that often.",
        "the beforehand",
        "optimizer, behavior, labeled, colored",
        "a rise of noise, precisely; organism",
    ],
)
def test_plain_words_pass(text: str) -> None:
    assert offenders(text) == []


def test_an_offender_is_listed_with_its_line() -> None:
    assert offenders("one\ntwo\nof those\n# of three") == ["3: those of"]


def test_the_product_has_no_banned_phrase() -> None:
    assert dirty_files() == {}
