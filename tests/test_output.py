"""Text from files on a terminal: it has no markup, no escape sequences and one line."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table
from test_demos import dataset, episode, rewritten
from test_demos_cli import demos

from agents.core.logging.console import LiveConsole, PlainConsole, Progress
from envs import UserError, entry, output

HOSTILE = [
    "[/bold]",
    "[bold red]",
    "[link=file:///etc/passwd]x[/link]",
    "\x1b[2J\x1b]0;owned\x07",
    "\x9b2J",
    "a\rb\x08c",
    "\u202edesrever\u2066",
    "\ud800",
    "name\nerror: another line",
    "x" * 10_000,
]
UNSAFE = set("\x1b\x9b\x07\x08\r\u202e\u2066\ud800")


def each_hostile(function):
    ids = [f"text{number}" for number in range(len(HOSTILE))]
    return pytest.mark.parametrize("text", HOSTILE, ids=ids)(function)


def require_safe(printed: str) -> None:
    assert not UNSAFE & set(printed)
    assert "\nerror: another line" not in printed


@each_hostile
def test_a_dataset_whose_texts_are_hostile_is_listed_and_described(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
):
    dataset(tmp_path / "set").append(episode())
    texts = dict.fromkeys(("policy", "created", "command", "commit", "license"), text)
    rewritten(tmp_path / "set", lambda values: values.update(texts))
    for words in (["list", tmp_path], ["stats", tmp_path / "set"], ["card", tmp_path / "set"]):
        assert demos(*words) == 0
        printed = capsys.readouterr().out
        require_safe(printed)
        if text.startswith("["):
            assert text in printed.replace("\n", "")
    demos("verify", tmp_path / "set")
    require_safe("".join(capsys.readouterr()))


@each_hostile
def test_an_error_with_hostile_text_is_one_harmless_line(
    capsys: pytest.CaptureFixture[str], text: str
):
    for error in (UserError(f"no policy {text}"), OSError(5, "unreadable", text)):
        with pytest.raises(SystemExit), entry.command():
            raise error
        printed = capsys.readouterr().err
        assert not UNSAFE & set(printed)
        assert printed.count("\n") == 1
        assert len(printed) <= output.MOST_OF_A_LINE + 1


@each_hostile
def test_a_message_of_training_is_harmless(capsys: pytest.CaptureFixture[str], text: str):
    PlainConsole(Progress(100, 1, 0)).message(text)
    assert not UNSAFE & set(capsys.readouterr().out)
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=80, color_system=None)
    live = LiveConsole(Progress(100, 1, 0), console)
    before = shown.tell()
    live.message(text)
    live.close()
    assert "]0;owned" not in shown.getvalue()[before:].replace("?]0;owned", "")
    assert "\x9b" not in shown.getvalue()


@each_hostile
def test_a_cell_is_its_text_and_no_markup(text: str):
    shown = io.StringIO()
    table = Table(box=None)
    table.add_column(output.cell(text))
    table.add_column("name")
    table.add_row(output.cell(text), "1")
    Console(file=shown, width=1_000).print(table)
    assert not UNSAFE & set(shown.getvalue())


def test_a_list_names_a_damaged_dataset_whose_error_has_markup(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "[bold]").mkdir()
    text = json.dumps({"joystick_demos": 2, "[/bold]\x1b[2J": 1, "digest": "", "episodes": []})
    (tmp_path / "[bold]" / "dataset.json").write_text(text)
    assert demos("list", tmp_path) == 0
    printed = capsys.readouterr().out
    assert "[bold]" in printed
    require_safe(printed)
