"""Kills trainings and recordings at random moments, and counts the finished work that is lost.

    python -m benchmarks.kills --kills 100

The victims are small trainings of every agent on CartPole with frequent checkpoints, and a `demos
record`. Each is killed by SIGKILL repeatedly, and each later start continues from the remains.
After a kill, each finished checkpoint must be intact, and each recorded episode unchanged. Each
start must make progress. Half of the kills wait for progress, so that they strike during writing.
The others strike at any moment, such as start-up or restoring.
"""

from __future__ import annotations

import dataclasses
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.table import Table

from agents.core.runs import snapshots
from agents.core.runs.run import Run
from agents.core.runs.snapshots import DamagedCheckpoint
from agents.core.training.config import require
from benchmarks.machine import write_result
from demos import Dataset
from envs import UserError, command_line
from envs.entry import command as one_line_errors

ENV_ID = "CartPole-v1"

FOREVER = "1000000000"
"""A number of steps or episodes that no start reaches, because a kill comes first."""

EVERY_STEPS = 200
"""Steps between two checkpoints, and between two evaluations."""

PATIENCE_SECONDS = 120.0
"""Time limit for a start to make progress."""

STARTING_SECONDS = 6.0
"""A kill without waiting comes within this time after a start."""

WRITING_SECONDS = 1.0
"""A kill that waits comes within this time after the first progress."""

SMALL = (
    *("--env", ENV_ID, "--precision", "fp32", "--num-threads", "1", "--total-steps", FOREVER),
    *("--wandb", "disabled", "--no-video", "--eval-episodes", "1", "--final-eval-episodes", "0"),
    *("--eval-every-steps", str(EVERY_STEPS), "--checkpoint-every-steps", str(EVERY_STEPS)),
)

ROLLOUT = ("--horizon-steps", "8", "--learning-rate", "1e-3..0@0..100000")

REPLAY = ("--batch-size", "8", "--buffer-size", "2000", "--learning-starts-steps", "64")

AGENTS: dict[str, tuple[str, ...]] = {
    "a2c": ("a2c", *ROLLOUT),
    "bc": ("bc", "--batch-size", "8"),
    "dqn": ("dqn", *REPLAY),
    "dqn beside": ("dqn", *REPLAY, "--overlap-learning", "--num-threads", "2"),
    "ppo": ("ppo", *ROLLOUT, "--batch-size", "32"),
    "ppo lstm": ("ppo", *ROLLOUT, "--batch-size", "32", "--core", "lstm", "--hidden", "32"),
    "reinforce": ("reinforce", *ROLLOUT),
}
"""A module and its settings, by the name of the victim."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    kills: int = 100  # Number of kills of all victims.
    jobs: int = 2  # Processes that run at the same time.
    seed: int = 0  # Seed of the moments of kills.
    only: tuple[str, ...] = ()  # Names of victims; all by default.


class Victim(Protocol):
    """A command that is killed and started again."""

    def command(self) -> list[str]:
        """The command that starts it, or continues from the remains."""
        ...

    def finished(self) -> set[str]:
        """Names of the finished work."""
        ...

    def damages(self, before: set[str]) -> list[str]:
        """Descriptions of lost or damaged work, if the work `before` was finished; [] if none."""
        ...


@dataclass(frozen=True)
class TrainingVictim:
    """A training with its run in a separate folder."""

    settings: tuple[str, ...]
    folder: Path

    def run(self) -> Path | None:
        """The run that has a checkpoint; earlier runs were killed before their first one."""
        found = self.folder.glob("*/checkpoints/[0-9]*")
        return next((each.parents[1] for each in found), None)

    def command(self) -> list[str]:
        module, *settings = self.settings
        start = [sys.executable, "-m", f"agents.{module}"]
        run = self.run()
        if run is not None:
            return [*start, "--resume", str(run)]
        return [*start, "--runs-dir", str(self.folder), *SMALL, *settings]

    def finished(self) -> set[str]:
        found = self.folder.glob("*/checkpoints/*")
        return {each.name for each in found if re.fullmatch(r"\d{12}", each.name)}

    def damages(self, before: set[str]) -> list[str]:
        found = self.finished()
        path = self.run()
        if path is None:
            return ["the run has no checkpoint left"] if before else []
        wrong = []
        # Only newer checkpoints replace a checkpoint, and the newest two stay.
        if before and max(found, default="") < max(before):
            wrong.append(f"checkpoint {max(before)} is gone")
        if len(found) < min(2, len(before)):
            wrong.append(f"of checkpoints {sorted(before)} only {sorted(found)} are left")
        run = Run.open(path)
        best = list(path.glob("best/[0-9]*"))
        # Two evaluations come before the second checkpoint.
        if len(before) > 1 and not best:
            wrong.append("the best weights are gone")
        for snapshot in (*path.glob("checkpoints/[0-9]*"), *best):
            try:
                load(run, snapshot)
            except DamagedCheckpoint as damage:
                wrong.append(str(damage))
        if found and run.restore()[0] != int(max(found)):
            wrong.append(f"the newest checkpoint {max(found)} is ignored")
        return wrong


def load(run: Run, snapshot: Path) -> None:
    """Reads all files and chunks of a snapshot; raises DamagedCheckpoint if one is damaged."""
    manifest = snapshots.read_manifest(snapshot)
    for name in manifest["files"]:
        snapshots.read_tensors(snapshot, manifest, name)
    for reference in manifest.get("chunks", ()):
        run.read_chunk(reference)


@dataclass(frozen=True)
class RecordingVictim:
    """A `demos record` that adds to a dataset."""

    path: Path

    def command(self) -> list[str]:
        record = [sys.executable, "-m", "demos", "record", "--env", ENV_ID, "--policy", "random"]
        return [*record, "--episodes", FOREVER, "--append", "--out", str(self.path)]

    def finished(self) -> set[str]:
        if not (self.path / "dataset.json").exists():
            return set()
        # A listed episode may still have its temporary name.
        files = Dataset.open(self.path).files()
        return {re.sub(r"^\.tmp-[0-9a-f]+-", "", file.name) for file in files}

    def damages(self, before: set[str]) -> list[str]:
        found = self.finished()
        wrong = [f"episode {name} is gone" for name in sorted(before - found)]
        if found:
            verify = [sys.executable, "-m", "demos", "verify", str(self.path)]
            done = subprocess.run(verify, capture_output=True, text=True)
            if done.returncode:
                wrong.append(f"demos verify: {(done.stdout + done.stderr).strip()}")
        return wrong


@dataclass
class Outcome:
    """The outcome of the kills of one victim.

    Attributes:
        kills: number of kills.
        while_writing: number of kills that waited for progress.
        finished: total number of finished checkpoints or episodes at all kills.
        resumed: number of starts that made progress.
        problems: descriptions of lost work, and of starts without progress.
    """

    kills: int = 0
    while_writing: int = 0
    finished: int = 0
    resumed: int = 0
    problems: list[str] = field(default_factory=list)


def haunt(victim: Victim, kills: int, chance: random.Random) -> Outcome:
    """Kills a victim so often; the last start must still make progress."""
    outcome = Outcome()
    for number in range(kills):
        waits = number % 2 == 0
        one_kill(victim, outcome, waits, chance)
        outcome.kills += 1
        outcome.while_writing += waits
    one_kill(victim, outcome, True, chance)
    return outcome


def one_kill(victim: Victim, outcome: Outcome, waits: bool, chance: random.Random) -> None:
    """Starts a victim, kills it and checks the remains."""
    found = victim.finished()
    got_further = True
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(victim.command(), stdout=said, stderr=subprocess.STDOUT)
        try:
            if waits:
                got_further = until(lambda: victim.finished() - found, process)
                outcome.resumed += got_further
            time.sleep(chance.uniform(0, WRITING_SECONDS if waits else STARTING_SECONDS))
            before = victim.finished()
            ended = process.poll()
        finally:
            process.kill()
            process.wait()
        if ended is not None or not got_further:
            said.seek(0)
            lines = said.read().strip().splitlines() or [""]
            outcome.problems.append(f"it made no progress (exit code {ended}): {lines[-1]}")
    outcome.finished += len(before)
    outcome.problems += victim.damages(before)


def until(true: Callable[[], Any], process: subprocess.Popen[bytes]) -> bool:
    """Waits until `true` returns a true value; returns False if the process or the time ends."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        if process.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def victims(folder: Path, only: tuple[str, ...]) -> dict[str, Victim]:
    """The victims by name; each has a separate folder."""
    made: dict[str, Victim] = {
        name: TrainingVictim(settings, folder / name) for name, settings in AGENTS.items()
    }
    made["record"] = RecordingVictim(folder / "record")
    unknown = sorted(set(only) - made.keys())
    if unknown:
        raise UserError(f"--only {unknown[0]}: must be one of {', '.join(made)}")
    chosen = {name: victim for name, victim in made.items() if not only or name in only}
    if "bc" in chosen:
        chosen["bc"] = with_demonstrations(AGENTS["bc"], folder)
    return chosen


def with_demonstrations(settings: tuple[str, ...], folder: Path) -> Victim:
    """A cloning of random play as a victim."""
    path = folder / "demonstrations"
    record = RecordingVictim(path).command()
    record[record.index(FOREVER)] = "5"
    done = subprocess.run(record, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"demos record failed: {done.stderr.strip()}")
    return TrainingVictim((*settings, "--demos", str(path)), folder / "bc")


def measure(arguments: Arguments) -> dict[str, Any]:
    """Kills all victims, each about equally often; returns the outcomes."""
    with tempfile.TemporaryDirectory(prefix="joystick-kills-") as name:
        chosen = victims(Path(name), arguments.only)
        each, more = divmod(arguments.kills, len(chosen))
        with ThreadPoolExecutor(arguments.jobs) as pool:
            started = {
                name: pool.submit(
                    haunt,
                    victim,
                    each + (number < more),
                    random.Random(f"{arguments.seed} {name}"),
                )
                for number, (name, victim) in enumerate(chosen.items())
            }
            outcomes = {name: future.result() for name, future in started.items()}
    return {
        "protocol": __doc__,
        "arguments": dataclasses.asdict(arguments),
        "kills": sum(outcome.kills for outcome in outcomes.values()),
        "problems": sum(len(outcome.problems) for outcome in outcomes.values()),
        "outcomes": {name: dataclasses.asdict(each) for name, each in outcomes.items()},
    }


def show(result: dict[str, Any]) -> None:
    """Prints the outcomes as a table, and the problems below it."""
    table = Table(box=None, pad_edge=False)
    names = [each.name for each in dataclasses.fields(Outcome)]
    for name in ("", *names):
        table.add_column(name.replace("_", " "), justify="right" if name else "left")
    for name, outcome in result["outcomes"].items():
        counts = [len(value) if isinstance(value, list) else value for value in outcome.values()]
        table.add_row(name, *map(str, counts))
    Console().print(table)
    for name, outcome in result["outcomes"].items():
        for problem in outcome["problems"]:
            print(f"{name}: {problem}")
    print(f"{result['kills']} kills, {result['problems']} problems")


def main(args: list[str] | None = None) -> None:
    with one_line_errors():
        arguments = command_line.parse(
            Arguments, args=args, prog="python -m benchmarks.kills", description=__doc__
        )
        require(arguments.kills >= 1, "kills", arguments.kills, "at least 1")
        require(arguments.jobs >= 1, "jobs", arguments.jobs, "at least 1")
        result = measure(arguments)
        show(result)
        print(f"wrote {write_result('kills', result)}")
        sys.exit(1 if result["problems"] else 0)


if __name__ == "__main__":
    main()
