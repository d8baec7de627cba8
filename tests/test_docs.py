"""Code blocks of the README and the docs: Python compiles, commands exist and take their flags."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import pytest

from agents.core.training import algorithms, help
from agents.core.types.settings import names
from envs import command_line
from joystick import commands, completion

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "docs"))

import tables  # noqa: E402

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
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


def subcommands() -> list[tuple[str, Any]]:
    """The heading and the dataclass of each command that trains nothing."""
    found: list[tuple[str, Any]] = []
    for name in commands.TOOLS:
        kind = completion.settings_of(name)
        if get_origin(kind) is UnionType:
            found += [(f"{name} {each.__name__.lower()}", each) for each in get_args(kind)]
        else:
            found.append((name, kind))
    return found


@pytest.mark.parametrize(("name", "kind"), subcommands(), ids=[name for name, _ in subcommands()])
def test_the_page_of_commands_has_the_flags_of_the_help(
    name: str, kind: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command_line.parse(kind, ["--help"], name, "")
    entries = re.findall(r"^  (-[^\n]*?)(?:  |\n)", capsys.readouterr().out, re.MULTILINE)
    of_help = {flag for entry in entries for flag in re.findall(r"--[\w-]+", entry)} - {"--help"}
    section = tables.of_commands().partition(f"# joystick {name}\n")[2].partition("\n#")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    of_page = set(re.findall(r"--[\w-]+", " ".join(both_switches(row[0]) for row in rows)))
    assert of_page == of_help
    assert [row for row in rows if len(row) != 4 or not row[2].strip()] == []


def both_switches(term: str) -> str:
    return re.sub(r"--\[no-\]([\w-]+)", r"--\1 --no-\1", term)


@pytest.mark.parametrize("algo", algorithms.algorithms())
def test_the_page_of_an_algorithm_has_all_settings_with_their_explanations(algo: str) -> None:
    module = algorithms.algorithm(algo)
    page = tables.of_algorithm(algo)
    settings = page.partition("## Settings")[2]
    for name in names(module.Config):
        flag = help.term(module, name).split()[0]
        (row,) = re.findall(rf"^\| `{re.escape(flag)}`.*$", settings, re.MULTILINE)
        assert tables.cell(help.explanation(module.Config, name)) in row
    for title in help.groups(module.Config, algo):
        assert f"\n### {title}\n" in settings


def test_a_preset_has_a_cell_only_where_it_differs_from_the_first() -> None:
    presets = tables.of_presets(algorithms.algorithm("ppo"))
    assert "| Flag | `atari` | `atari-gpu` | `control` | `continuous` | `baselines` |" in presets
    assert "| `--epochs` | `4` |  | `6` | `10` |  |" in presets
    assert "`--seed`" not in presets


def test_the_example_of_a_docstring_is_a_block_on_the_page() -> None:
    made = tables.prose("`python -m demos` records.\n\npython -m demos list .")
    assert made == "`python -m demos` records.\n\n```text\npython -m demos list .\n```"


def test_every_algorithm_and_command_has_its_place_in_the_pages() -> None:
    docs = ROOT / "docs"
    for algo in algorithms.algorithms():
        assert f"<!-- settings: {algo} -->" in (docs / "algorithms" / f"{algo}.md").read_text()
    assert "<!-- commands -->" in (docs / "commands.md").read_text()


@pytest.mark.parametrize("algo", algorithms.algorithms())
def test_the_page_of_an_algorithm_has_the_equation_of_its_file(algo: str) -> None:
    lines = (algorithms.algorithm(algo).__doc__ or "").splitlines()
    equation = [line.strip() for line in lines if line.startswith("  ")]
    assert equation
    assert "\n".join(equation) in (ROOT / "docs" / "algorithms" / f"{algo}.md").read_text()


@pytest.mark.slow
def test_the_site_builds_strictly(tmp_path: Path) -> None:
    pytest.importorskip("mkdocstrings", reason="pip install -e '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "site" / "algorithms" / "qrdqn" / "index.html").read_text()
    assert "--num-quantiles" in table
