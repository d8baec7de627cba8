"""The command `joystick`; `joystick dqn --env Pong` equals `python -m agents.dqn --env Pong`."""

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
"""Width of the list of commands in columns."""


def main(called: str = "joystick") -> None:
    """Runs a command and exits; the exit code is 2 on bad input.

    Args:
        called: the name of this program, as the user calls it.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Until `envs.signals` is imported, Ctrl-C would print a traceback.
        signal.signal(signal.SIGINT, _leave_with_a_line)
    words = sys.argv[1:]
    if words[:1] == ["--version"]:
        from joystick import __version__

        print(f"joystick {__version__}")
        return
    take_own_packages()
    run(called, words)


def take_own_packages() -> None:
    """Makes Python import our packages from beside this one, even if others have the same names.

    If another package has replaced one of our files, the program ends with a one-line error.
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
    """Runs the command in the words of a command line."""
    if os.getcwd() not in sys.path:
        # The user's modules, as in `--env my_module:MyEnv-v0`, are in the working directory.
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

            # `tell` would cut its long lines.
            with signals.importing():
                print(completion.script(words[1:]))
        else:
            with signals.importing():
                rest = plugins.taken(words[1:])
                function = command(called, first)
            sys.argv[1:] = words[1:]
            function(rest)


def command(called: str, name: str) -> Callable[[list[str]], None]:
    """Returns the function that runs a command.

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
        raise UserError(f"{name} must follow a command; {called} --help lists all")
    what = "flag" if name.startswith("-") else "command"
    near = did_you_mean(name, [*known, *FLAGS])
    own = f"; --plugin {name}.py adds it if it is your own file" if name.isidentifier() else ""
    raise UserError(f"unknown {what} '{name}'{near or own}; {called} --help lists all")


def listing(called: str) -> str:
    """The list of all commands, each with one line about it."""
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
