"""The README's first five minutes, timed: install, train, evaluate, watch, report, and Python.

    python -m benchmarks.five_minutes

A clone of the repository goes into a fresh directory, with a virtual environment of its own. Then
the commands are exactly the README's: the installation, each line of its "Five minutes" and its
block of Python. `runs/<run>` is the run that the first line leaves. `joystick watch` writes a film,
since there is no display. The result keeps the seconds and the last lines that each command prints.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.machine import write_result
from benchmarks.new_user import HERE, install_command, read_me
from envs import UserError, command_line
from envs.entry import command as one_line_errors

LAST_LINES = 3
"""Lines of a command's output that the result keeps."""

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    install: bool = True  # Without it, this Python's packages are used.


@dataclass(frozen=True)
class Done:
    """A command that ended well: how long it took, and its last lines."""

    command: str
    seconds: float
    printed: list[str]


def section() -> str:
    """The README's text from "Five minutes" to the next title."""
    _, _, after = read_me().partition("\n## Five minutes\n")
    return after.partition("\n## ")[0]


def block(language: str) -> str:
    """The section's first block of code in a language."""
    found = re.search(rf"^```{language}\n(.*?)^```", section(), re.MULTILINE | re.DOTALL)
    if found is None:
        raise UserError(f"README.md: 'Five minutes' has no block of {language}")
    return found.group(1)


def commands() -> list[str]:
    """The lines of the section's block of bash, without comments."""
    lines = [line.partition(" #")[0].strip() for line in block("bash").splitlines()]
    return [line for line in lines if line]


def run(command: list[str], shown: str, folder: Path, environment: dict[str, str]) -> Done:
    """Run a command to its end.

    Raises:
        UserError: it failed; the line has the last thing that it printed.
    """
    start = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seconds = round(time.perf_counter() - start, 1)
    printed = [line.rstrip() for line in ESCAPES.sub("", done.stdout).splitlines() if line.strip()]
    if done.returncode:
        raise UserError(f"{shown}: exit code {done.returncode}: {printed[-1] if printed else ''}")
    print(f"{seconds:6.1f} s  {shown}", flush=True)
    return Done(shown, seconds, printed[-LAST_LINES:])


def measure(arguments: Arguments) -> dict[str, Any]:
    """Go the whole way in a directory that is gone after it."""
    with tempfile.TemporaryDirectory(prefix="five-minutes-") as name:
        folder = Path(name) / "joystick"
        subprocess.run(["git", "clone", "--quiet", str(HERE), str(folder)], check=True)
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        environment["WANDB_MODE"] = "disabled"
        done: list[Done] = []
        if arguments.install:
            bin_folder = Path(name) / "venv" / "bin"
            subprocess.run([sys.executable, "-m", "venv", str(bin_folder.parent)], check=True)
            environment["PATH"] = f"{bin_folder}{os.pathsep}{environment['PATH']}"
            install = install_command()
            done.append(run(["bash", "-c", install], install, folder, environment))
        else:
            environment["PYTHONPATH"] = str(folder)
        for line in commands():
            done.append(run(["bash", "-c", as_run(line, folder)], line, folder, environment))
        python = ["python", "-c", block("python")]
        done.append(run(python, "the block of Python", folder, environment))
    return {
        "protocol": __doc__,
        "commands": [vars(each) for each in done],
        "python": block("python"),
        "seconds_in_all": round(sum(each.seconds for each in done), 1),
    }


def as_run(line: str, folder: Path) -> str:
    """A line of the README with the name of the run, and a film in place of a window."""
    if "runs/<run>" in line:
        (path,) = (folder / "runs").glob("CartPole*")
        line = line.replace("runs/<run>", f"runs/{path.name}")
    if line.startswith("joystick watch"):
        line += " --to film.mp4"
    return line


def main(args: list[str] | None = None) -> None:
    with one_line_errors():
        arguments = command_line.parse(
            Arguments, args=args, prog="python -m benchmarks.five_minutes", description=__doc__
        )
        result = measure(arguments)
        Console().print(result)
        print(f"wrote {write_result('five-minutes', result)}")


if __name__ == "__main__":
    main()
