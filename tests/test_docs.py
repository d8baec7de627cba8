"""Code blocks of the README and the docs: Python compiles, commands exist and take their flags."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from joystick import commands

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    found = [(page.name, *match) for page in PAGES for match in BLOCK.findall(page.read_text())]
    return [(name, text) for name, kind, text in found if kind == language]


def used() -> list[tuple[str, list[str]]]:
    """The page and the words of every command of ours in a block of bash."""
    lines = []
    for page, text in blocks("bash"):
        for line in re.split(r"\n|&&|;", text):
            words = shlex.split(line, comments=True)
            if words[:1] == ["joystick"]:
                lines.append((page, words[1:]))
            elif words[:2] == ["python", "-m"] and words[2].startswith(("agents.", "demos")):
                lines.append((page, [words[2].removeprefix("agents."), *words[3:]]))
    return lines


@cache
def help_of(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "joystick", *words, "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
    )
    assert done.returncode == 0, (words, done.stderr)
    # A switch is listed as `--[no-]video`.
    return re.sub(r"--\[no-\]([\w-]+)", r"--\1 --no-\1", done.stdout)


def unknown_flags(words: list[str]) -> list[str]:
    """The flags of a command line that its command does not have."""
    called = words[:2] if words[0] == "demos" else words[:1]
    flags = [word.split("=")[0].replace("_", "-") for word in words if word.startswith("--")]
    taken = help_of(*called) + " --preset --resume --fresh-episodes --plugin "
    return [flag for flag in flags if not re.search(rf"(?<![\w-]){flag}(?![\w-])", taken)]


@pytest.mark.parametrize(("page", "text"), blocks("python"))
def test_python_blocks_compile(page: str, text: str) -> None:
    compile(text, page, "exec")


def test_every_command_of_a_block_exists_and_takes_its_flags() -> None:
    found = [(page, words) for page, words in used() if words and not words[0].startswith("-")]
    assert len(found) > 30
    known = commands.every()
    assert [each for each in found if each[1][0] not in known] == []
    assert [(page, words) for page, words in found if unknown_flags(words)] == []


def test_an_unknown_flag_is_found() -> None:
    assert unknown_flags(["ppo", "--env", "Pong", "--no-such-flag"]) == ["--no-such-flag"]


def test_examples_in_the_docs_are_the_files_that_tests_run() -> None:
    page = (ROOT / "docs" / "extending.md").read_text()
    for file in sorted((ROOT / "docs" / "examples").glob("*.py")):
        assert file.read_text().strip() in page, file.name


@pytest.mark.slow
def test_the_site_builds_strictly(tmp_path: Path) -> None:
    pytest.importorskip("mkdocstrings", reason="pip install -e '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "site" / "algorithms" / "qrdqn" / "index.html").read_text()
    assert "--num-quantiles" in table
