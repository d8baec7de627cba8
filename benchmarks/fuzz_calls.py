"""Calls commands one after another in one process, and reports how each call ended.

`Caller` starts a copy of this file as a program, with the commands of any source tree on its path.
The program reads a line of JSON for each call and writes one back. So commands are imported only
once, and a process that dies or hangs does not affect the caller. This file uses only the standard
library.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType, ModuleType
from typing import IO, Any

MOST_BYTES = 16 << 30
"""Limit of the process's address space, which protects the machine from files that claim more."""

CALLS_OF_A_PROCESS = 250
"""A new process starts after so many calls, so that leftovers of calls do not add up."""

GRACE_SECONDS = 20.0
"""Time from a hang until a process that cannot be interrupted is killed."""

START_SECONDS = 120.0
"""Time limit of the calls that warm up a process; they import modules."""

FORMERLY = {"agents.core.training.launch": "agents.core.launch"}
"""The names of called modules in older commits."""

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x9b]")
"""Characters that act on a terminal. A carriage return counts, because it hides a line."""


@dataclass(frozen=True)
class Ended:
    """How a call ended.

    Attributes:
        fault: "" for a correct end; otherwise "traceback", "hang", "died", "exit code" or
            "terminal", which means output that acts on a terminal.
        code: the exit code, or None if there was none.
        what: the exception or another fault in one line.
        where: file, line and function of the tree that raised the exception.
        said: the last lines of the output.
        seconds: the duration of the call.
    """

    fault: str
    code: int | None
    what: str = ""
    where: str = ""
    said: str = ""
    seconds: float = 0.0


class Hung(BaseException):
    """A call exceeded its time limit."""


class Caller:
    """A process that calls the commands of a source tree.

    Args:
        tree: the directory that holds the packages `agents`, `demos` and `envs`.
        folder: an existing directory, the working directory of the process.

    Attributes:
        first: modules and arguments of first calls, which import the modules that later calls need.
            Otherwise an import on a busy machine would look like a hang.
    """

    def __init__(self, tree: Path, folder: Path) -> None:
        self.tree = tree
        self.folder = folder
        self.first: list[tuple[str, list[Any]]] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._calls = 0

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def call(
        self, module: str, arguments: Sequence[Any], seconds: float, *, programs: bool = False
    ) -> Ended:
        """Calls `main` of a module.

        Args:
            arguments: positional arguments of `main`, as JSON.
            seconds: time limit; a longer call counts as a hang.
            programs: the call may start Python; otherwise each Python that it starts fails at once.
        """
        if self._process is None or self._calls >= CALLS_OF_A_PROCESS:
            self._begin()
            for first in self.first:
                self._call(*first, START_SECONDS, programs=False)
        self._calls += 1
        return self._call(module, arguments, seconds, programs=programs)

    def _call(
        self, module: str, arguments: Sequence[Any], seconds: float, *, programs: bool
    ) -> Ended:
        asked = {"module": module, "arguments": list(arguments), "seconds": seconds}
        start = time.monotonic()
        answer = self._answer(asked | {"programs": programs}, seconds + GRACE_SECONDS)
        ended = self._dead() if answer is None else Ended(**answer)
        return replace(ended, seconds=round(time.monotonic() - start, 3))

    def _answer(self, asked: dict[str, Any], patience: float) -> dict[str, Any] | None:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(asked).encode() + b"\n")
            process.stdin.flush()
        except OSError:
            return None
        ready, _, _ = select.select([process.stdout], [], [], patience)
        line = process.stdout.readline() if ready else b""
        return json.loads(line) if line else None

    def _dead(self) -> Ended:
        """The end of a call whose process does not answer."""
        assert self._process is not None
        try:
            code = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._end()
            return Ended("hang", None, "it takes too long, and no alarm interrupts it")
        self._end()
        return Ended("died", code, f"the process ended with exit code {code}")

    def _begin(self) -> None:
        self._end()
        # The folder of the original has modules with the names of Python's own modules.
        program = self.folder / "calls" / "program.py"
        program.parent.mkdir(exist_ok=True)
        shutil.copyfile(__file__, program)
        place = {**os.environ, "PYTHONPATH": str(self.tree), "OMP_NUM_THREADS": "1"}
        self._calls = 0
        self._process = subprocess.Popen(
            [sys.executable, str(program)],
            cwd=self.folder,
            env={**place, "SDL_VIDEODRIVER": "dummy", "WANDB_MODE": "disabled"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def _end(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with suppress(OSError):
                stream.close()
        self._process = None


def serve() -> None:
    """Answers calls until standard input ends; this is the program."""
    assert sys.platform != "win32"
    # Imported here, because Windows lacks this module but imports this file.
    import resource

    answers = os.fdopen(os.dup(1), "wb")
    questions = os.fdopen(os.dup(0), "rb")
    said = open("calls/said", "w+b")
    for descriptor in (1, 2):
        os.dup2(said.fileno(), descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    signal.signal(signal.SIGALRM, _hang)
    python = sys.executable
    for line in questions:
        asked = json.loads(line)
        sys.executable = python if asked["programs"] else shutil.which("false")
        ended = _called(asked["module"], asked["arguments"], asked["seconds"], said)
        answers.write(json.dumps(asdict(ended)).encode() + b"\n")
        answers.flush()


def _found(module: str) -> ModuleType:
    """The module of that name, or the module with its earlier name."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        return importlib.import_module(FORMERLY[module])


def _called(module: str, arguments: list[Any], seconds: float, said: IO[bytes]) -> Ended:
    """Calls `main` of a module and describes the end."""
    assert sys.platform != "win32"
    said.seek(0)
    said.truncate()
    error: BaseException | None = None
    main = _found(module).main
    try:
        # The alarm repeats, because some code catches every exception.
        signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
        try:
            main(*arguments)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except BaseException as raised:
        error = raised
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    said.seek(0)
    return judged(error, said.read().decode("utf-8", "replace"))


def judged(error: BaseException | None, said: str) -> Ended:
    """Describes the end of a call from its exception, if any, and its output."""
    last = said[-400:]
    if isinstance(error, Hung):
        return Ended("hang", None, "it takes too long", _where(error), last)
    if error is not None and not isinstance(error, SystemExit):
        line = traceback.format_exception_only(type(error), error)[-1].strip()
        return Ended("traceback", None, line[:300], _where(error), last)
    code = error.code if isinstance(error, SystemExit) else 0
    code = 0 if code is None else code
    if code not in (0, 1, 2):
        return Ended("exit code", None, f"exit code {code!r}"[:300], "", last)
    if "Traceback (most recent call last)" in said:
        return Ended("traceback", code, said.strip().splitlines()[-1][:300], "printed", last)
    found = CONTROL.search(said)
    if found:
        return Ended("terminal", code, f"it prints {found[0]!r}", "", last)
    return Ended("", code, "", "", last)


def _where(error: BaseException) -> str:
    """The innermost line of a traceback within the tree, with its path relative to the tree."""
    tree = os.environ["PYTHONPATH"]
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(tree)]
    if not ours:
        return ""
    return f"{os.path.relpath(ours[-1].filename, tree)}:{ours[-1].lineno} in {ours[-1].name}"


def _hang(signum: int, frame: FrameType | None) -> None:
    raise Hung


if __name__ == "__main__":
    serve()
