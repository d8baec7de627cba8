"""Signals that ask a process to end: Ctrl-C, SIGTERM, and SIGHUP when a terminal closes.

A command goes through three stages. While it starts, Ctrl-C ends it at once. Then a signal raises
`Interrupted`, wherever the program is. Inside `StopSignal` a signal is only noted: work that must
not be cut anywhere goes on, and calls `check` where it can stop. The second signal of a kind ends
the process at once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

ENDING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""The signals that are handled; SIGHUP is left alone where the parent ignores it, as nohup does."""

KILLED_WITH_US: set[int] = set()
"""Processes that lead a group, and must not outlive a process that ends at once."""

COMMANDS = {"agents", "benchmarks", "demos", "joystick"}
"""Packages whose modules are commands, `python -m agents.dqn`."""

_noted: list[int] = []
_is_program = False
_is_command = False


class Interrupted(KeyboardInterrupt):
    """A signal asked the process to end."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


def received() -> int:
    """The last signal that asked the process to end, 0 as long as there is none."""
    return _noted[-1] if _noted else 0


def check() -> None:
    """Raise `Interrupted` where a signal has asked the process to end."""
    if _noted:
        raise Interrupted(_noted[-1])


def _while_starting() -> None:
    """Have Ctrl-C end the process with one line while one of our commands imports."""
    # Python says "-m" here until it has found the module to run.
    named = {word.split(".")[0] for word in sys.orig_argv}
    if sys.argv[:1] == ["-m"] and not named.isdisjoint(COMMANDS):
        starting()


def starting() -> None:
    """Say that this process is one of our commands: from now on Ctrl-C ends it with one line."""
    global _is_program
    _is_program = True
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave_with_a_line)


@contextmanager
def interrupting() -> Iterator[None]:
    """Inside it, the first signal of a kind raises `Interrupted`, the second ends the process."""
    global _is_command
    _noted.clear()
    outer, _is_command = _is_command, True
    before = {signum: signal.signal(signum, _interrupt) for signum in _handled()}
    try:
        yield
    finally:
        _is_command = outer
        for signum, handler in before.items():
            # While the interpreter is taken down, nobody is left to catch what is raised.
            signal.signal(signum, _leave if _is_program else handler)


@contextmanager
def importing() -> Iterator[None]:
    """Inside it, a signal ends a command at once with one line, as long as nothing can be lost.

    An import may run C++ code, PyTorch's for one, which an exception would abort. In a program of
    somebody else's it leaves the signals alone.
    """
    handled = _handled() if _is_command else []
    before = {each: signal.signal(each, _leave_with_a_line) for each in handled}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


class StopSignal:
    """Inside it, the first signal of a kind is noted as `signum`; the next one acts as before.

    In a program of somebody else's, which calls ours as a library, it leaves the signals alone.
    """

    def __enter__(self) -> StopSignal:
        self.signum = 0
        handled = _handled() if _is_command else []
        self._previous = {each: signal.signal(each, self._stop) for each in handled}
        return self

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum
        _noted.append(signum)
        signal.signal(signum, self._previous[signum])

    def __exit__(self, *exception: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)


def _handled() -> list[int]:
    hangup = getattr(signal, "SIGHUP", None)
    return [each for each in ENDING if each != hangup or signal.getsignal(each) != signal.SIG_IGN]


def _interrupt(signum: int, frame: FrameType | None) -> None:
    if signum in _noted:
        _leave(signum, frame)
    _noted.append(signum)
    raise Interrupted(signum)


def kill_group(leader: int) -> None:
    """Kill a process that leads a group, and all of its group; nothing where it has ended.

    Windows has no groups: there it is the process and what it started.
    """
    kill = getattr(os, "killpg", None)
    if kill is not None:
        with suppress(OSError):
            kill(leader, getattr(signal, "SIGKILL"))  # noqa: B009
        return
    # Only systems without groups need psutil here.
    import psutil

    with suppress(psutil.Error):
        process = psutil.Process(leader)
        for each in [*process.children(recursive=True), process]:
            with suppress(psutil.Error):
                each.kill()


def _leave(signum: int, frame: FrameType | None) -> None:
    for leader in KILLED_WITH_US:
        kill_group(leader)
    os._exit(128 + signum)


def _leave_with_a_line(signum: int, frame: FrameType | None) -> None:
    with suppress(OSError):
        os.write(2, f"{Interrupted(signum)}\n".encode())
    _leave(signum, frame)


_while_starting()
