"""Command lines: tyro's, with values as people write them and errors in one line.

Every command of ours is parsed here, so that `--runs-dir=~/runs`, `--total-steps 1e6` and
`--num_envs 8` mean the same everywhere, and `--learning-rate inf` is refused everywhere.
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
"""The largest whole number that PyTorch, NumPy and the emulator all take."""

DESCRIPTION = "<description>"
"""Stands for a description in tyro's help: tyro would join the lines of ours, and wrap none."""

FLAG = re.compile(r"^--[A-Za-z][\w.-]*")


def parse(
    kind: Any,
    args: Sequence[str] | None,
    prog: str,
    description: str | None,
    default: Any = None,
) -> Any:
    """What a command line says, as tyro reads it for `kind`; `--help` prints and exits with 0.

    Args:
        kind: a dataclass, or a union of subcommands.
        args: the words after the command; None takes the process's own.
        prog: the command, for `--help`.
        description: what the command does, for `--help`.
        default: an instance whose values are the defaults.

    Raises:
        UserError: the command line cannot be read; one line names the flag, its value and what
            is allowed.
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
    """What tyro prints for `--help`, within the terminal's width and with our description."""
    columns = help_text.width()
    text = help_text.within(printed, columns)
    return text.replace(DESCRIPTION, help_text.wrapped(description, columns), 1)


def completion(kinds: dict[str, Any], prog: str, shell: str) -> str:
    """A script for a shell, by which it completes commands, flags and values.

    Args:
        kinds: what `parse` takes, of each command.
        prog: the program whose commands they are.
        shell: "bash" or "zsh".
    """
    commands: list[Any] = [
        Annotated[kind, tyro.conf.subcommand(name)] for name, kind in kinds.items()
    ]
    printed = io.StringIO()
    # It prints, and exits.
    with redirect_stdout(printed), suppress(SystemExit):
        tyro.cli(
            functools.reduce(operator.or_, commands),
            prog=prog,
            args=["--tyro-print-completion", shell],
            registry=VALUES,
        )
    return printed.getvalue()


class Flags(argparse.ArgumentParser):
    """A parser for a few flags of a command line that leaves the others to `parse`."""

    def __init__(self) -> None:
        super().__init__(add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UserError(re.sub(r"^argument (\S+): ", r"\1: ", message))


def hyphenated(args: Sequence[str]) -> list[str]:
    """The same words, flags as we spell them: `--num_envs=8` is `--num-envs=8`."""
    return [flag_of(word) + FLAG.sub("", word) for word in args]


def flag_of(word: str) -> str:
    """The flag of a word such as `--num_envs=8`, as we spell it; "" for a value."""
    found = FLAG.match(word)
    flag = found.group().replace("_", "-") if found else ""
    return "--env" if flag == "--env-id" else flag


def changed(words: Sequence[str], flag: str, change: Callable[[str], str]) -> list[str]:
    """The same words with each value that follows a flag changed; flags are spelled as ours."""
    result = list(words)
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == flag and equals:
            result[place] = f"{flag}={change(value)}"
        elif name == flag and place + 1 < len(words):
            result[place + 1] = change(words[place + 1])
    return result


def whole_number(text: str) -> int:
    """`1000000`, `1_000_000` and `1e6` are the same number."""
    try:
        value = Decimal(text)
        if value.is_finite() and abs(value) <= LARGEST and value == int(value):
            return int(value)
    except InvalidOperation:
        pass
    raise ValueError(f"{text}: must be a whole number below 2**63, such as 1000000 or 1e6")


def finite_number(text: str) -> float:
    """A number, neither NaN nor infinite."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{text}: must be a finite number, such as 0.5 or 5e-4")
    return value


def path(text: str) -> Path:
    """A path whose `~` is the home directory: a shell leaves it in `--runs-dir=~/runs`."""
    return Path(os.path.expanduser(text))


@dataclass(frozen=True)
class Unit:
    """What a setting's value is, in a word for `--help`: `Annotated[int, Unit("STEPS")]`."""

    name: str


VALUES = ConstructorRegistry()
"""How words become values."""

READERS: dict[Any, tuple[str, Callable[[str], Any]]] = {
    int: ("INT", whole_number),
    float: ("FLOAT", finite_number),
    Path: ("PATH", path),
}


def reads(kind: Any, metavar: str, read: Callable[[str], Any]) -> None:
    """Have every command line read values of a type with `read`, which raises a ValueError."""
    READERS[kind] = (metavar, read)


@VALUES.primitive_rule
def value_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Our reader of a type of which we have one."""
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
    """The message of an error that tyro draws in a box, under a title and above a rule."""
    drawn = re.sub(r"\x1b\[[0-9;]*m", "", box).strip().splitlines()[1:]
    lines = [line.strip("│|╭╮╰╯+ ") for line in drawn]
    # Without Unicode there is a rule under the title too.
    lines = list(dropwhile(is_rule, filter(None, lines)))
    end = next((i for i, line in enumerate(lines) if is_rule(line)), len(lines))
    message = re.sub(r"^Error parsing (\S+): ", r"\1 ", " ".join(lines[:end])).rstrip(".")
    # Of a value that may be None too, what its own type says.
    message = re.sub(r" no type matching .* - <class '\w+'>: ", " ", message)
    near = re.search(r"Perhaps you meant:\s+(--[\w-]+)", " ".join(lines[end:]))
    if near:
        message += f"; did you mean {near.group(1)}?"
    elif message.startswith("Unrecognized"):
        message += "; --help lists all"
    return message or "the command line cannot be read"


def is_rule(line: str) -> bool:
    return set(line) <= {"─", "-"}
