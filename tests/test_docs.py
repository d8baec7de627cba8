"""The site: tables of flags from the code, hand-written pages beside it, and a strict build."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import pytest

import joystick
from agents.core import types
from agents.core.training import algorithms, help
from agents.core.types.settings import names
from envs import command_line
from joystick import commands, completion

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "docs"))

import tables  # noqa: E402


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
    assert "| `--total-steps` | `2_500_000` | `10_000_000` |" in presets


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


def test_the_page_of_the_api_has_every_public_name() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    shown = re.findall(r"^      heading: joystick\.(\w+)$", page, re.MULTILINE)
    # A run is a directory, which has a page of its own.
    assert sorted(shown) == sorted(set(joystick.__all__) - {"Run"})


def test_the_page_of_concepts_has_every_shape_letter() -> None:
    page = (ROOT / "docs" / "concepts.md").read_text()
    listed = (types.__doc__ or "").partition("Shape letters: ")[2].rstrip(".\n")
    axes = [each.split(maxsplit=1) for each in " ".join(listed.split()).split(", ")]
    assert len(axes) > 8
    assert [letter for letter, axis in axes if f"| `{letter}` | {axis} |" not in page] == []


def test_the_page_of_concepts_has_every_room() -> None:
    page = (ROOT / "docs" / "concepts.md").read_text()
    rooms = [each.parent.name for each in (ROOT / "agents" / "core").glob("*/__init__.py")]
    assert [room for room in rooms if f"| `{room}` | " not in page] == []


def test_the_site_builds_strictly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "site" / "algorithms" / "qr_dqn" / "index.html").read_text()
    assert "--num-quantiles" in table
