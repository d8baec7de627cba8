"""Runs commands as processes, a few at a time, and stops them when the time is over."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from envs import signals

LOOK_SECONDS = 0.2
"""Time between two looks at the running processes."""

GRACE_SECONDS = 120.0
"""Time that a process has to write its checkpoint before it is killed."""


@dataclass(frozen=True, eq=False)
class Job:
    """A command to run.

    Attributes:
        name: the job's name in messages.
        command: the words of the command.
        log: the file that gets the output, after the output of earlier tries.
    """

    name: str
    command: list[str]
    log: Path

    def start(self) -> subprocess.Popen[bytes]:
        """Starts the process, which leads a group of its own and computes on one thread."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                # Ctrl-C then reaches only us, and each process gets one signal.
                start_new_session=True,
            )
        signals.KILLED_WITH_US.add(process.pid)
        return process

    def last_line(self) -> str:
        """The last line of the output, or "" if there is none."""
        lines = self.log.read_text("utf-8", errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def run_all(
    jobs: Iterable[Job],
    at_once: int,
    ended: Callable[[Job, int], None],
    stop_at: float = float("inf"),
) -> bool:
    """Runs jobs in their order; returns whether all of them ended before the time was over.

    When the time is over, running processes get SIGTERM, at which a training writes a checkpoint.
    The same happens when a signal or an error ends this function.

    Args:
        at_once: the number of processes that run at the same time.
        ended: called with each job that ended by itself, and its exit code.
        stop_at: the time of `time.monotonic` at which it stops.
    """
    waiting = list(jobs)
    running: dict[Job, subprocess.Popen[bytes]] = {}
    try:
        while waiting or running:
            if time.monotonic() >= stop_at:
                return False
            while waiting and len(running) < at_once:
                job = waiting.pop(0)
                running[job] = job.start()
            time.sleep(LOOK_SECONDS)
            for job, process in list(running.items()):
                if process.poll() is not None:
                    del running[job]
                    signals.KILLED_WITH_US.discard(process.pid)
                    ended(job, process.returncode)
        return True
    finally:
        stop(list(running.values()))


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """Asks processes to end, and kills those that are still there after `GRACE_SECONDS`."""
    for process in processes:
        process.terminate()
    kill_at = time.monotonic() + GRACE_SECONDS
    for process in processes:
        try:
            process.wait(max(0.0, kill_at - time.monotonic()))
        except subprocess.TimeoutExpired:
            signals.kill_group(process.pid)
            process.wait()
        signals.KILLED_WITH_US.discard(process.pid)
