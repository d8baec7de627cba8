"""Kill trainings and recordings at random moments, and count what finished work was lost.

    python -m benchmarks.kills --kills 100

Small trainings of every agent on CartPole with frequent checkpoints, and a `demos record`, end by
SIGKILL, again and again; each start but the first goes on with what the kill left. After a kill
every checkpoint that was finished must be whole, and every recorded episode as it was; each start
must then get further than the one before. Half of the kills wait until it has, so that they strike
while files are written; the others strike at any moment, at start-up and restoring too.
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
"""Steps or episodes: a kill comes first."""

EVERY_STEPS = 200
"""Between two checkpoints, and two evaluations."""

PATIENCE_SECONDS = 120.0
"""What a start has to get further."""

STARTING_SECONDS = 6.0
"""Within so long a kill at any moment comes."""

WRITING_SECONDS = 1.0
"""Within so long a kill comes that waited for a first checkpoint."""

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
"""A module and its settings, by the name of what is killed."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    kills: int = 100  # Kills over all agents and the recording.
    jobs: int = 2  # Processes beside each other.
    seed: int = 0  # Of the moments.
    only: tuple[str, ...] = ()  # Names of what is killed; all by default.


class Victim(Protocol):
    """What is killed and goes on."""

    def command(self) -> list[str]:
        """How to start it, or to go on with what is there."""
        ...

    def finished(self) -> set[str]:
        """Names of the work that is finished."""
        ...

    def damages(self, before: set[str]) -> list[str]:
        """What is not as it must be, after work `before` was finished; [] is right."""
        ...


@dataclass(frozen=True)
class TrainingVictim:
    """A training with its run in a folder of its own."""

    settings: tuple[str, ...]
    folder: Path

    def run(self) -> Path | None:
        """Its run that has a checkpoint: an earlier one was killed before it had."""
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
            return ["the run has no checkpoint any more"] if before else []
        wrong = []
        # A checkpoint makes way for newer ones, never for nothing: the newest two are kept.
        if before and max(found, default="") < max(before):
            wrong.append(f"checkpoint {max(before)} is gone")
        if len(found) < min(2, len(before)):
            wrong.append(f"of checkpoints {sorted(before)} only {sorted(found)} are left")
        run = Run.open(path)
        best = list(path.glob("best/[0-9]*"))
        # Two evaluations were over when the second checkpoint was.
        if len(before) > 1 and not best:
            wrong.append("the best weights are gone")
        for snapshot in (*path.glob("checkpoints/[0-9]*"), *best):
            try:
                load(run, snapshot)
            except DamagedCheckpoint as damage:
                wrong.append(str(damage))
        if found and run.restore()[0] != int(max(found)):
            wrong.append(f"the newest checkpoint {max(found)} is passed over")
        return wrong


def load(run: Run, snapshot: Path) -> None:
    """Read all files and chunks of a snapshot; DamagedCheckpoint where one is not what it was."""
    manifest = snapshots.read_manifest(snapshot)
    for name in manifest["files"]:
        snapshots.read_tensors(snapshot, manifest, name)
    for reference in manifest.get("chunks", ()):
        run.read_chunk(reference)


@dataclass(frozen=True)
class RecordingVictim:
    """A `demos record` into a dataset."""

    path: Path

    def command(self) -> list[str]:
        record = [sys.executable, "-m", "demos", "record", "--env", ENV_ID, "--policy", "random"]
        return [*record, "--episodes", FOREVER, "--append", "--out", str(self.path)]

    def finished(self) -> set[str]:
        if not (self.path / "dataset.json").exists():
            return set()
        # An episode that is listed may not have got its name yet.
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
    """What happened to one victim.

    Attributes:
        kills: how often it was killed.
        while_writing: how many of the kills waited until the start had got further.
        finished: how many finished checkpoints or episodes were there at the kills, in all.
        resumed: how many starts got further than what they found.
        problems: what was lost, or did not go on.
    """

    kills: int = 0
    while_writing: int = 0
    finished: int = 0
    resumed: int = 0
    problems: list[str] = field(default_factory=list)


def haunt(victim: Victim, kills: int, chance: random.Random) -> Outcome:
    """Kill it so often; then it must get further once more."""
    outcome = Outcome()
    for number in range(kills):
        waits = number % 2 == 0
        one_kill(victim, outcome, waits, chance)
        outcome.kills += 1
        outcome.while_writing += waits
    one_kill(victim, outcome, True, chance)
    return outcome


def one_kill(victim: Victim, outcome: Outcome, waits: bool, chance: random.Random) -> None:
    """Start it, kill it and look at what is left."""
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
            outcome.problems.append(f"it got no further (exit code {ended}): {lines[-1]}")
    outcome.finished += len(before)
    outcome.problems += victim.damages(before)


def until(true: Callable[[], Any], process: subprocess.Popen[bytes]) -> bool:
    """Wait until it is true; False where the process ends or the patience does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        if process.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def victims(folder: Path, only: tuple[str, ...]) -> dict[str, Victim]:
    """All that is to be killed, by name; each has a folder of its own."""
    made: dict[str, Victim] = {
        name: TrainingVictim(settings, folder / name) for name, settings in AGENTS.items()
    }
    made["record"] = RecordingVictim(folder / "record")
    if unknown := sorted(set(only) - made.keys()):
        raise UserError(f"--only {unknown[0]}: must be one of {', '.join(made)}")
    chosen = {name: victim for name, victim in made.items() if not only or name in only}
    if "bc" in chosen:
        chosen["bc"] = with_demonstrations(AGENTS["bc"], folder)
    return chosen


def with_demonstrations(settings: tuple[str, ...], folder: Path) -> Victim:
    """A clone of random play."""
    path = folder / "demonstrations"
    record = RecordingVictim(path).command()
    record[record.index(FOREVER)] = "5"
    done = subprocess.run(record, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"no demonstrations: {done.stderr.strip()}")
    return TrainingVictim((*settings, "--demos", str(path)), folder / "bc")


def measure(arguments: Arguments) -> dict[str, Any]:
    """Kill all victims; the kills are shared out evenly."""
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
