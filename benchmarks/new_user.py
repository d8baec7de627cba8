"""Times a new user's first minutes: install, train, open the page, compare, export.

    python -m benchmarks.new_user

It uses a fresh virtual environment and directory, and the README's command. Two seeds of PPO train
on CartPole at the same time, until Ctrl-C stops them after a minute. Then a real browser opens the
page and uses it as a person does.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from agents.core.training.config import require
from benchmarks.browser import browser, until
from benchmarks.machine import write_result
from envs import UserError, command_line
from envs.entry import command as one_line_errors

HERE = Path(__file__).resolve().parents[1]

SEEDS = ("1", "2")

TRAIN = ("-m", "agents.ppo", "--env", "CartPole-v1", "--wandb", "disabled", "--no-video")

SAVE_SECONDS = 60.0
"""Time limit for a stopped training to save its state."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    seconds: float = 60.0  # Duration of the training, from the command to Ctrl-C.
    screenshot: Path | None = None  # File for a picture of the compared runs.
    install: bool = True  # Install into a fresh environment; otherwise use this Python's packages.


class Clock:
    """The seconds of each step, in order."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 1)
        print(f"{name}: {self.seconds[name]:.1f} s", flush=True)


def install_command() -> str:
    """The README's command that installs Joystick."""
    (command,) = re.findall(r"^(pip install .*) && python -m agents", read_me(), re.MULTILINE)
    return command


def read_me() -> str:
    """The text of the README."""
    return (HERE / "README.md").read_text("utf-8")


def run(command: list[str], **options: Any) -> None:
    """Runs a command; raises a UserError with its last line if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or [""]
        raise UserError(f"{' '.join(command)}: exit code {done.returncode}: {said[-1]}")


def train(python: str, runs: Path, seconds: float) -> None:
    """Trains all seeds at the same time, and stops them after so many seconds."""
    command = [python, *TRAIN, "--runs-dir", str(runs), "--eval-every-steps", "20000"]
    # The output is only a progress bar.
    to = subprocess.DEVNULL
    said = subprocess.STDOUT
    started = [
        subprocess.Popen([*command, "--seed", seed], cwd=HERE, stdout=to, stderr=said)
        for seed in SEEDS
    ]
    end = time.monotonic() + seconds
    for each in started:
        try:
            each.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            each.send_signal(signal.SIGINT)
    for seed, each in zip(SEEDS, started, strict=True):
        if each.wait(SAVE_SECONDS) not in (0, 128 + signal.SIGINT):
            raise UserError(f"the training of seed {seed} ended with {each.returncode}")


def look(page: Path, clock: Callable[[str], Any], screenshot: Path | None) -> dict[str, Any]:
    """Opens the page, compares both runs and saves a plot; returns what the page showed."""
    with browser() as opened:
        tab = opened.new_context(viewport={"width": 1366, "height": 860}).new_page()
        with clock("open the page"):
            tab.goto(page.as_uri())
            tab.wait_for_selector("#table tbody tr")
        names = tab.locator("#table tbody .name").all_text_contents()
        with clock("compare both runs"):
            for box in tab.locator("#table tbody input").all():
                box.check()
            tab.click("#compare")
            tab.locator("#curves").scroll_into_view_if_needed()
            until(tab, "document.querySelectorAll('#panels .scatterlayer .trace').length === 2")
        differences = tab.locator("#differences tbody tr").all_text_contents()
        with clock("save the plot as PNG and CSV"):
            saved = {kind: len(download(tab, kind)) for kind in ("PNG", "CSV")}
        if screenshot is not None:
            tab.evaluate("document.querySelector('#curves').scrollIntoView()")
            tab.screenshot(path=screenshot)
    return {"runs": names, "differences": differences, "saved_bytes": saved}


def download(tab: Any, kind: str) -> bytes:
    """The bytes that a button of the plot saves."""
    with tab.expect_download() as download:
        tab.locator(f'#panels button[title="Save as {kind}"]').first.click()
    return Path(download.value.path()).read_bytes()


def measure(arguments: Arguments) -> dict[str, Any]:
    """Does all steps in a temporary directory; returns their seconds and results."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = sys.executable
        if arguments.install:
            with clock("install"):
                run([sys.executable, "-m", "venv", str(folder / "venv")])
                path = f"{folder / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
                run(["bash", "-c", install_command()], cwd=HERE, env=os.environ | {"PATH": path})
            python = str(folder / "venv" / "bin" / "python")
        runs = folder / "runs"
        page = folder / "report.html"
        table = folder / "curves.csv"
        with clock(f"train {len(SEEDS)} seeds"):
            train(python, runs, arguments.seconds)
        with clock("make the page"):
            run([python, "-m", "agents.report", str(runs), "-o", str(page)], cwd=HERE)
        seen = look(page, clock, arguments.screenshot)
        with clock("export all curves"):
            run([python, "-m", "agents.report", str(runs), "--csv", str(table)], cwd=HERE)
        lines = len(table.read_text("utf-8").splitlines())
        trained = {path.name: last_of(path) for path in sorted(runs.iterdir())}
    total = round(sum(clock.seconds.values()), 1)
    about = {"page": seen, "exported_lines": lines, "trained": trained}
    return {"seconds": clock.seconds, "seconds_in_all": total, **about}


def last_of(run: Path) -> dict[str, float]:
    """The last step and the last returns of a run."""
    last: dict[str, float] = {}
    for line in (run / "metrics.jsonl").read_text("utf-8").splitlines():
        last |= json.loads(line)
    wanted = ("step", "charts/episodic_return_20", "eval/return_mean")
    return {name: last[name] for name in wanted if name in last}


def main(args: list[str] | None = None) -> None:
    with one_line_errors():
        arguments = command_line.parse(
            Arguments, args=args, prog="python -m benchmarks.new_user", description=__doc__
        )
        require(arguments.seconds > 0, "seconds", arguments.seconds, "above 0")
        result = measure(arguments)
        Console().print(result)
        print(f"wrote {write_result('new-user', result)}")


if __name__ == "__main__":
    main()
