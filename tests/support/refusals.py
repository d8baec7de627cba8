"""How something bad is refused: one line, without a traceback."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from envs import UserError


def error_line(run: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> str:
    """The only line, without "error: ", of a command that exits with 2 or returns it."""
    capsys.readouterr()
    try:
        code = run()
    except SystemExit as ended:
        code = ended.code
    output = capsys.readouterr()
    assert code == 2, output
    assert output.err.startswith("error: "), output
    assert output.err.count("\n") == 1, output
    return output.err.rstrip("\n").removeprefix("error: ")


def refusal(run: Callable[[], object]) -> str:
    """The only line of the error that a call raises for a person to read."""
    with pytest.raises(UserError) as raised:
        run()
    (line,) = str(raised.value).splitlines()
    return line
