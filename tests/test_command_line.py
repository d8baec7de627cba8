"""Words of a command line become values, or one line that says why not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import tyro

from agents import card, evaluate
from agents.dashboard import __main__ as dashboard
from agents.report import __main__ as report
from agents.sweep import __main__ as sweep
from benchmarks import memory
from demos import __main__ as demos
from envs import UserError, command_line


@dataclass(frozen=True, kw_only=True)
class Settings:
    run: tyro.conf.Positional[Path] = Path("run")
    whole: int = 3
    some_rate: float = 0.5
    maybe: float | None = None
    where: Path = Path("runs")
    words: tuple[str, ...] = ()
    wholes: tuple[int, ...] = (1, 2)
    which: Literal["a", "b"] = "a"


def settings(*words: str) -> Settings:
    return command_line.parse(Settings, list(words), "python -m settings", None)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e6", 10**6), ("1_000", 1000), ("2.5e1", 25), ("-7", -7), ("-1e1", -10), ("0", 0)],
)
def test_whole_numbers_are_read_as_they_are_written(text: str, value: int) -> None:
    assert settings("--whole", text).whole == value
    assert settings(f"--whole={text}").whole == value
    assert settings("--wholes", text, "1e1").wholes == (value, 10)


@pytest.mark.parametrize(
    "text", ["1.5", "2**64", "1e-1", "nan", "inf", "1e19", str(2**63), "x", ""]
)
def test_what_is_no_whole_number_is_named(text: str) -> None:
    with pytest.raises(UserError, match=f"--whole {re.escape(text)}: must be a whole number"):
        settings("--whole", text)


@pytest.mark.parametrize("flag", ["--some-rate", "--some_rate", "--maybe"])
@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "half"])
def test_what_is_no_finite_number_is_named(flag: str, text: str) -> None:
    shown = flag.replace("_", "-")
    with pytest.raises(UserError, match=f"^{shown} {text}: must be a finite number"):
        settings(flag, text)


def test_what_may_be_none_still_may_be() -> None:
    assert settings("--maybe", "None").maybe is None
    assert settings("--maybe", "1e-3").maybe == 0.001
    assert settings("--some-rate", "-1e-3").some_rate == -0.001


def test_a_home_is_found_where_the_shell_leaves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert settings("--where=~/x", "~/y").where == Path("/home/somebody/x")
    assert settings("--where=~/x", "~/y").run == Path("/home/somebody/y")
    assert settings("--where", "~nobody-at-all/x").where == Path("~nobody-at-all/x")


def test_words_that_are_values_keep_their_underscores() -> None:
    assert settings("--words", "a_b", "c_d").words == ("a_b", "c_d")
    assert settings("--where=a_b").where == Path("a_b")
    assert command_line.hyphenated(["--env_id=my_envs:A-v0", "x_y"]) == [
        "--env=my_envs:A-v0",
        "x_y",
    ]


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--wohle", "1"], "Unrecognized options: --wohle, 1; did you mean --whole?"),
        (["--which", "c"], "invalid choice 'c' for argument '--which'. Expected one of ('a', 'b')"),
        (["--whole"], "Missing value for argument '--whole'. Expected 1 values"),
    ],
)
def test_an_error_is_one_line_wherever_it_is_read(
    words: list[str], message: str, encoding: str, terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Output:
        def __init__(self) -> None:
            self.encoding = encoding

        def isatty(self) -> bool:
            return terminal

        def write(self, text: str) -> int:
            return len(text)

        def flush(self) -> None: ...

    monkeypatch.setattr("sys.stdout", Output())
    monkeypatch.setenv("TERM", "xterm-256color")
    with pytest.raises(UserError) as error:
        settings(*words)
    assert str(error.value) == message


COMMANDS = [evaluate.main, card.main, report.main, sweep.main, dashboard.main, demos.main]


@pytest.mark.parametrize("main", [*COMMANDS, memory.main])
@pytest.mark.parametrize("words", [["--nonsense", "1"], ["a", "b", "c", "d"]])
def test_every_command_says_in_one_line_what_it_does_not_know(
    main: Callable[[list[str]], None], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(words)
    assert exit_info.value.code == 2
    output = capsys.readouterr()
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    assert output.out == ""
