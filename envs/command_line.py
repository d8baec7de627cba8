"""Parses every command line, with tyro: accepts values as people write them, reports one line.

All commands parse here. So `--runs-dir=~/runs`, `--total-steps 1e6` and `--num_envs 8` work for
each of them, and each of them refuses `--learning-rate inf`.
"""

from __future__ import annotations

import argparse
import functools
import io
import math
import operator
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import dropwhile
from pathlib import Path
from typing import Annotated, Any, NoReturn

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from envs import help_text, plugins, program
from envs.errors import UserError
from envs.output import tell

LARGEST = 2**63 - 1
"""The largest whole number that PyTorch, NumPy and the emulator all accept."""

DESCRIPTION = "<description>"
"""Placeholder for the description in tyro's help, because tyro would join the lines of ours."""

FLAG = re.compile(r"^--[A-Za-z][\w.-]*")


def parse(
    kind: Any,
    args: Sequence[str] | None,
    prog: str,
    description: str | None,
    default: Any = None,
) -> Any:
    """Parses a command line into an instance of `kind`; `--help` prints and exits with 0.

    Args:
        kind: a dataclass, or a union of subcommands.
        args: the words after the command; None takes the words of this process.
        prog: the command, for `--help`.
        description: what the command does, for `--help`.
        default: an instance whose values are the defaults.

    Raises:
        UserError: a flag or a value is wrong; one line names the flag, its value and what is
            allowed.
    """
    words = hyphenated(plugins.taken(sys.argv[1:] if args is None else args))
    given: dict[str, Any] = {} if default is None else {"default": default}
    errors = io.StringIO()
    printed = io.StringIO()
    try:
        with redirect_stderr(errors), redirect_stdout(printed):
            return tyro.cli(
                kind,
                args=words,
                prog=program.as_called(prog),
                description=DESCRIPTION,
                registry=VALUES,
                **given,
            )
    except SystemExit as exit_:
        if exit_.code:
            raise UserError(one_line(errors.getvalue())) from None
        tell(help_of(printed.getvalue(), program.as_called(description or "")))
        raise


def help_of(printed: str, description: str) -> str:
    """tyro's text for `--help`, wrapped to the terminal's width, with our description."""
    columns = help_text.width()
    text = help_text.within(printed, columns)
    return text.replace(DESCRIPTION, help_text.wrapped(description, columns), 1)


def completion(kinds: dict[str, Any], prog: str, shell: str) -> str:
    """A shell script that completes commands, flags and values.

    Args:
        kinds: the `kind` that `parse` gets, by the name of the command.
        prog: the program that has these commands.
        shell: "bash" or "zsh".
    """
    commands: list[Any] = [
        Annotated[kind, tyro.conf.subcommand(name)] for name, kind in kinds.items()
    ]
    printed = io.StringIO()
    # tyro prints the script and exits.
    with redirect_stdout(printed), suppress(SystemExit):
        tyro.cli(
            functools.reduce(operator.or_, commands),
            prog=prog,
            args=["--tyro-print-completion", shell],
            registry=VALUES,
        )
    return printed.getvalue()


class Flags(argparse.ArgumentParser):
    """Parses a few flags of a command line before `parse` parses all of them."""

    def __init__(self) -> None:
        super().__init__(add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UserError(re.sub(r"^argument (\S+): ", r"\1: ", message))


def hyphenated(args: Sequence[str]) -> list[str]:
    """The same words with flags in our spelling: `--num_envs=8` becomes `--num-envs=8`."""
    return [flag_of(word) + FLAG.sub("", word) for word in args]


def flag_of(word: str) -> str:
    """The flag in a word such as `--num_envs=8`, in our spelling; "" for a value."""
    found = FLAG.match(word)
    flag = found.group().replace("_", "-") if found else ""
    return "--env" if flag == "--env-id" else flag


def changed(words: Sequence[str], flag: str, change: Callable[[str], str]) -> list[str]:
    """The same words with `change` applied to each value of a flag.

    Args:
        words: with flags in our spelling, as `hyphenated` returns them.
    """
    result = list(words)
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == flag and equals:
            result[place] = f"{flag}={change(value)}"
        elif name == flag and place + 1 < len(words):
            result[place + 1] = change(words[place + 1])
    return result


def whole_number(text: str) -> int:
    """Reads a whole number; `1000000`, `1_000_000` and `1e6` are equal.

    Raises:
        ValueError: the text is not a whole number below 2**63.
    """
    try:
        value = Decimal(text)
        if value.is_finite() and abs(value) <= LARGEST and value == int(value):
            return int(value)
    except InvalidOperation:
        pass
    raise ValueError(f"{text}: must be a whole number below 2**63, such as 1000000 or 1e6")


def finite_number(text: str) -> float:
    """Reads a number; raises a ValueError if it is NaN or infinite."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{text}: must be a finite number, such as 0.5 or 5e-4")
    return value


def path(text: str) -> Path:
    """Reads a path and expands `~`, which a shell does not expand in `--runs-dir=~/runs`."""
    return Path(os.path.expanduser(text))


@dataclass(frozen=True)
class Unit:
    """The unit of a setting in `--help`, as in `Annotated[int, Unit("STEPS")]`."""

    name: str


VALUES = ConstructorRegistry()
"""tyro's registry of our readers."""

READERS: dict[Any, tuple[str, Callable[[str], Any]]] = {
    int: ("INT", whole_number),
    float: ("FLOAT", finite_number),
    Path: ("PATH", path),
}
"""For each type, the name of its values in `--help` and the function that reads one."""


def reads(kind: Any, metavar: str, read: Callable[[str], Any]) -> None:
    """Makes every command line read values of a type with `read`.

    Args:
        metavar: the name of such a value in `--help`.
        read: raises a ValueError for text that it cannot read.
    """
    READERS[kind] = (metavar, read)


@VALUES.primitive_rule
def value_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """tyro's description of the reader in `READERS` for a type; None if there is none."""
    if info.type not in READERS:
        return None
    metavar, read = READERS[info.type]
    fuzzy = info.type is float
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: read(words[0]),
        is_instance=lambda value: (
            (isinstance(value, info.type) and not isinstance(value, bool))
            or ("~" if fuzzy and isinstance(value, int) else False)
        ),
        str_from_instance=lambda value: [str(value)],
    )


def one_line(box: str) -> str:
    """The message in tyro's drawing of an error: a box with a title, the message and a rule."""
    drawn = re.sub(r"\x1b\[[0-9;]*m", "", box).strip().splitlines()[1:]
    lines = [line.strip("│|╭╮╰╯+ ") for line in drawn]
    # A terminal without Unicode gets a rule under the title too.
    lines = list(dropwhile(is_rule, filter(None, lines)))
    end = next((i for i, line in enumerate(lines) if is_rule(line)), len(lines))
    message = re.sub(r"^Error parsing (\S+): ", r"\1 ", " ".join(lines[:end])).rstrip(".")
    # For an optional value, keep only the message of its own type.
    message = re.sub(r" no type matching .* - <class '\w+'>: ", " ", message)
    near = re.search(r"Perhaps you meant:\s+(--[\w-]+)", " ".join(lines[end:]))
    if near:
        message += f"; did you mean {near.group(1)}?"
    elif message.startswith("Unrecognized"):
        message += "; --help lists all"
    return message or "the command line cannot be read"


def is_rule(line: str) -> bool:
    """Whether a line is a horizontal rule."""
    return set(line) <= {"─", "-"}
