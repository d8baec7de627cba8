"""Handles the signals that ask a process to end: Ctrl-C, SIGTERM, and SIGHUP.

SIGHUP arrives when a terminal closes. A command handles signals in three ways. While it starts,
Ctrl-C ends it at once. Later a signal raises `Interrupted` at any point of the program. Inside
`StopSignal` a signal is only noted. Work that must not stop at any point runs there, and calls
`check` at points that allow a stop. The second signal of a kind ends the process at once.
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
"""The handled signals. SIGHUP keeps its handler if it is ignored, as under nohup."""

KILLED_WITH_US: set[int] = set()
"""Leaders of process groups to kill when this process ends at once."""

COMMANDS = {"agents", "benchmarks", "demos", "joystick"}
"""Packages whose modules are commands, such as `python -m agents.dqn`."""

_noted: list[int] = []
_is_program = False
_is_command = False


class Interrupted(KeyboardInterrupt):
    """A signal asked the process to end."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


def received() -> int:
    """The last signal that asked the process to end, or 0 if there was none."""
    return _noted[-1] if _noted else 0


def check() -> None:
    """Raises `Interrupted` if a signal has asked the process to end."""
    if _noted:
        raise Interrupted(_noted[-1])


def _while_starting() -> None:
    """Makes Ctrl-C end the process with one line while one of our commands imports."""
    # sys.argv[0] is "-m" until Python has found the module to run.
    named = {word.split(".")[0] for word in sys.orig_argv}
    if sys.argv[:1] == ["-m"] and not named.isdisjoint(COMMANDS):
        starting()


def starting() -> None:
    """Marks this process as one of our commands: from now on Ctrl-C ends it with one line."""
    global _is_program
    _is_program = True
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave_with_a_line)


@contextmanager
def interrupting() -> Iterator[None]:
    """Inside it, the first signal of a kind raises `Interrupted`; the second ends the process."""
    global _is_command
    _noted.clear()
    outer = _is_command
    _is_command = True
    before = {signum: signal.signal(signum, _interrupt) for signum in _handled()}
    try:
        yield
    finally:
        _is_command = outer
        for signum, handler in before.items():
            # While the interpreter shuts down, nothing would catch `Interrupted`.
            signal.signal(signum, _leave if _is_program else handler)


@contextmanager
def importing() -> Iterator[None]:
    """Inside it, a signal ends a command at once with one line, because nothing can be lost yet.

    An import may run C++ code, such as PyTorch's, which an exception would abort. In a program
    that is not one of our commands, it changes no signal handler.
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

    In a program that uses Joystick as a library, it changes no signal handler.
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
    """Kills the process that leads a group and the whole group; does nothing if it has ended.

    Windows has no groups, so there it kills the process and its descendants.
    """
    kill = getattr(os, "killpg", None)
    if kill is not None:
        with suppress(OSError):
            kill(leader, getattr(signal, "SIGKILL"))  # noqa: B009
        return
    # Imported here, because only systems without groups need psutil.
    import psutil

    with suppress(psutil.Error):
        process = psutil.Process(leader)
        # The leader is first: it would see that its child ended, and go on.
        for each in [process, *process.children(recursive=True)]:
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
