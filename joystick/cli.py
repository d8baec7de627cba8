"""The command `joystick`: `joystick dqn --env Pong` is `python -m agents.dqn --env Pong`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

HEAD = "Reinforcement and imitation learning: every algorithm is one readable file."

FLAGS = {
    "--help": "this list; after a command, what it does and its flags",
    "--plugin": "FILE.py, after a command: adds your own algorithm or network",
    "--version": "says which version this is",
    "--print-completion": "prints what completes commands and flags in bash or zsh",
}

WIDTH = 80
"""Columns of the list of commands."""


def main(called: str = "joystick") -> None:
    """The command line; exits with 2 on bad input.

    Args:
        called: how a person calls this program.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Until our own signals are imported, Ctrl-C would be a traceback.
        signal.signal(signal.SIGINT, _leave_with_a_line)
    words = sys.argv[1:]
    if words[:1] == ["--version"]:
        from joystick import __version__

        print(f"joystick {__version__}")
        return
    take_own_packages()
    run(called, words)


def take_own_packages() -> None:
    """Import our packages from beside this one, whatever else has their names.

    Where another package has replaced a file of ours, the program ends with one line.
    """
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    from envs import siblings

    sys.path.pop(0)
    siblings.prefer()
    for name in siblings.PACKAGES:
        clash = siblings.clash(name)
        if clash:
            print(f"error: {clash}", file=sys.stderr)
            sys.exit(2)


def run(called: str, words: list[str]) -> None:
    """Do what the words ask for."""
    if os.getcwd() not in sys.path:
        # A person's own modules, `--env my_module:MyEnv-v0`, are found where they work.
        sys.path.append(os.getcwd())
    from envs import entry, plugins, program, signals
    from envs.output import tell

    signals.starting()
    program.called(called)
    first = words[0] if words else "--help"
    with entry.command():
        if first in ("-h", "--help"):
            tell(listing(called))
        elif first == "--print-completion":
            from joystick import completion

            # Its lines are longer than any that `tell` prints.
            with signals.importing():
                print(completion.script(words[1:]))
        else:
            with signals.importing():
                rest = plugins.taken(words[1:])
                function = command(called, first)
            sys.argv[1:] = words[1:]
            function(rest)


def command(called: str, name: str) -> Callable[[list[str]], None]:
    """The function of a command.

    Raises:
        UserError: there is no such command.
    """
    from envs import UserError
    from envs.errors import did_you_mean
    from joystick import commands

    known = commands.every()
    if name in known:
        return commands.main_of(name)
    if name in FLAGS:
        raise UserError(f"{name} comes after a command: {called} --help lists all")
    what = "flag" if name.startswith("-") else "command"
    near = did_you_mean(name, [*known, *FLAGS])
    own = f"; --plugin {name}.py adds it where it is a file of yours" if name.isidentifier() else ""
    raise UserError(f"unknown {what} '{name}'{near or own}; {called} --help lists all")


def listing(called: str) -> str:
    """Every command with a line of what it does."""
    from textwrap import shorten

    from joystick import commands

    groups = {
        "Train an agent": {name: each.about for name, each in commands.trainings().items()},
        "Use it, and more": {name: each.about for name, each in commands.TOOLS.items()},
        "Flags": FLAGS,
    }
    lines = [HEAD, "", f"usage: {called} <command> [flags]"]
    for title, group in groups.items():
        width = max(map(len, group))
        lines += ["", f"{title}:"]
        for name, about in group.items():
            lines.append(f"  {name:<{width}}  {shorten(about, WIDTH - width - 4)}")
    return "\n".join(lines)


def _leave_with_a_line(signum: int, frame: FrameType | None) -> None:
    del frame
    with suppress(OSError):
        os.write(2, f"stopped by {signal.Signals(signum).name}\n".encode())
    os._exit(128 + signum)
