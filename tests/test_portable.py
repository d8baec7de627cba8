"""No module needs what Windows or macOS lacks: each use has a fallback."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from demos import frames
from envs import machine, signals

ROOT = Path(__file__).parent.parent

PACKAGES = ("agents", "benchmarks", "demos", "envs", "joystick")

ON_WINDOWS = """
    import builtins, importlib, os, pkgutil, runpy, signal, sys
    from types import ModuleType

    OURS = {"agents", "envs", "demos", "benchmarks", "joystick", "__main__"}
    MODULES = {"curses", "fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog",
               "termios", "tty"}
    LACKED = {
        "os": {"O_CLOEXEC", "O_DIRECTORY", "O_DSYNC", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK",
               "O_SYNC", "WNOHANG", "chown", "chroot", "confstr", "copy_file_range", "ctermid",
               "fchdir", "fchmod", "fchown", "fdatasync", "fork", "forkpty", "fstatvfs",
               "get_blocking", "getegid", "geteuid", "getgid", "getgroups", "getloadavg", "getpgid",
               "getpgrp", "getpriority", "getrandom", "getsid", "getuid", "killpg", "lchown",
               "lockf", "memfd_create", "mkfifo", "mknod", "nice", "openpty", "pathconf",
               "posix_fadvise", "posix_fallocate", "posix_spawn", "pread", "pwrite", "pwritev",
               "register_at_fork", "sched_getaffinity", "sched_setaffinity", "sched_yield",
               "sendfile", "set_blocking", "setpgid", "setpriority", "setsid", "setuid", "statvfs",
               "sync", "sysconf", "tcgetpgrp", "ttyname", "uname", "wait", "wait3", "wait4"},
        "signal": {"ITIMER_REAL", "SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE",
                   "SIGQUIT", "SIGSTOP", "SIGTSTP", "SIGUSR1", "SIGUSR2", "SIGWINCH", "alarm",
                   "getitimer", "pause", "pthread_kill", "pthread_sigmask", "setitimer", "sigwait"},
        "socket": {"AF_UNIX"},
        "time": {"clock_settime", "tzset"},
    }

    class Lacking(ModuleType):
        def __getattr__(self, name):
            if name in LACKED[self.__name__]:
                raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")
            return getattr(sys.modules[self.__name__], name)

    STANDINS = {name: Lacking(name) for name in LACKED}
    found = builtins.__import__

    def importing(name, globals=None, locals=None, fromlist=(), level=0):
        if level or (globals or {}).get("__name__", "").partition(".")[0] not in OURS:
            return found(name, globals, locals, fromlist, level)
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        module = found(name, globals, locals, fromlist, level)
        return STANDINS.get(name, module)

    builtins.__import__ = importing
"""
"""Hides from our modules what Windows lacks. Libraries see all of this system: they are its own."""

EVERY_MODULE = """
    for name in ("agents", "demos", "envs", "benchmarks", "joystick"):
        package = importlib.import_module(name)
        for each in pkgutil.walk_packages(package.__path__, name + "."):
            importlib.import_module(each.name)
            print(each.name)
"""

COMMANDS = """
    for line in sys.stdin:
        runs = [] if "RUN" not in line else os.listdir("runs")
        module, *sys.argv[1:] = line.replace("RUN", "".join(runs)).split()
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as leaving:
            assert not leaving.code, line
"""


def on_windows(program: str, cwd: Path, said: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program that sees a system with what Windows has."""
    text = textwrap.dedent(ON_WINDOWS) + textwrap.dedent(program)
    return subprocess.run(
        [sys.executable, "-c", text],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        input=said,
        text=True,
        capture_output=True,
        timeout=300,
    )


def test_every_module_imports_without_what_windows_lacks(tmp_path: Path) -> None:
    done = on_windows(EVERY_MODULE, tmp_path)
    assert done.returncode == 0, done.stderr
    modules = set(done.stdout.split())
    assert {"agents.dqn", "agents.sweep.trials", "demos.terminal", "envs.locks"} <= modules


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("import resource", "No module named 'resource'"),
        ("import os; os.killpg", "module 'os' has no attribute 'killpg'"),
        ("from time import tzset", "cannot import name 'tzset'"),
    ],
)
def test_what_windows_lacks_is_hidden_from_our_modules(line: str, why: str, tmp_path: Path) -> None:
    assert why in on_windows(line, tmp_path).stderr


def test_trains_resumes_and_verifies_without_what_windows_lacks(tmp_path: Path) -> None:
    settings = "--wandb disabled --no-video --device cpu --final-eval-episodes 1"
    small = "--runs-dir runs --num-envs 2 --horizon-steps 50 --total-steps 200"
    train = f"agents.reinforce --env CartPole-v1 {small} {settings}\n"
    verify = "demos verify cartpole-expert-v1\n"
    resume = f"agents.reinforce --resume runs/RUN --total-steps 300 {settings}\n"
    done = on_windows(COMMANDS, tmp_path, train + verify + resume)
    assert done.returncode == 0, done.stderr
    (metrics,) = tmp_path.glob("runs/*/metrics.jsonl")
    assert json.loads(metrics.read_text().splitlines()[-1])["step"] == 300


@pytest.mark.slow
@pytest.mark.parametrize("system", ["Windows", "Darwin"])
def test_no_module_uses_what_a_system_lacks(system: str) -> None:
    """Pyright knows for each system which functions its standard library has."""
    pyright = shutil.which("pyright", path=str(Path(sys.executable).parent)) or "pyright"
    command = [pyright, "--pythonplatform", system]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=500)
    assert done.returncode == 0, done.stdout


def test_frames_need_room_on_the_disk_where_nothing_reserves_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    with open(tmp_path / "frames", "w+b") as file:
        frames.take_room(file.fileno(), 1_000, tmp_path)
        assert os.fstat(file.fileno()).st_size == 1_000
        with pytest.raises(OSError, match="No space left"):
            frames.take_room(file.fileno(), 1 << 60, tmp_path)


@pytest.mark.parametrize("has_groups", [True, False])
def test_what_must_not_outlive_a_process_is_killed_with_its_children(
    has_groups: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_groups:
        monkeypatch.delattr(os, "killpg")
    program = "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=1)"
    leader = subprocess.Popen(
        [sys.executable, "-c", program + "; p.wait()"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert leader.stdout is not None
    child = psutil.Process(int(leader.stdout.readline()))
    signals.kill_group(leader.pid)
    assert leader.wait(60) == -signal.SIGKILL
    leader.stdout.close()
    deadline = time.monotonic() + 60
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the child lives"
        time.sleep(0.05)
    signals.kill_group(leader.pid)


def test_the_peak_of_memory_is_known_on_every_system(monkeypatch: pytest.MonkeyPatch) -> None:
    held = psutil.Process().memory_info().rss
    assert machine.peak_memory_bytes() >= 0.9 * held
    monkeypatch.setitem(sys.modules, "resource", None)
    assert machine.peak_memory_bytes() >= 0.9 * held


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="binds no process to cores")
@pytest.mark.parametrize("hidden", [(), ("sched_getaffinity",)])
def test_threads_are_counted_by_the_cores_that_a_process_may_use(
    hidden: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under `taskset -c 0`, a container's cpuset or a job scheduler."""
    allowed = os.sched_getaffinity(0)
    set_affinity = os.sched_setaffinity
    for name in hidden:
        monkeypatch.delattr(os, name)
    set_affinity(0, {min(allowed)})
    try:
        assert machine.available_cores() == 1
    finally:
        set_affinity(0, allowed)
    assert machine.available_cores() == len(allowed)


COUNTING = re.compile(r"cpu_count|sched_getaffinity|cpu_affinity|PoolExecutor\(\)")
"""What counts cores, or leaves it to Python, which counts those of the machine."""

COUNTS = {
    "envs/machine.py": "the one place",
    "agents/core/training/reporting.py": "the description of the hardware has both",
    "benchmarks/machine.py": "the description of the hardware has the physical cores too",
}


def test_cores_are_counted_in_one_place() -> None:
    files = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    counting = {path for path in files if COUNTING.search(path.read_text("utf-8"))}
    assert {path.relative_to(ROOT).as_posix() for path in counting} == set(COUNTS)


@pytest.mark.skipif(not shutil.which("taskset"), reason="no taskset")
def test_a_training_takes_the_cores_that_taskset_allows(tmp_path: Path) -> None:
    core = str(min(os.sched_getaffinity(0)))
    program = "from agents.core.system.device import cores; print(cores(0))"
    done = subprocess.run(
        ["taskset", "-c", core, sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
        capture_output=True,
    )
    assert done.stdout == "1\n", done.stderr


def test_where_no_process_is_bound_every_core_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(psutil.Process, "cpu_affinity", raising=False)
    assert machine.available_cores() == os.cpu_count()
