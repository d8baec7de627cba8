"""Damages files of runs, datasets and sweeps in many ways, and counts the faults of commands.

    python -m benchmarks.fuzz --calls 2000
    python -m benchmarks.fuzz --calls 2000 --against ../before

It makes a small run of each kind, a dataset and a sweep. Each call changes one file of a copy
(`benchmarks.fuzz_files`) and runs a command that reads the file. The command must end with exit
code 0, 1 or 2 in a few seconds. It must print no traceback and no control characters, and must not
change the files that it only reads. --against takes the commands of another source tree.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import signal
import stat
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.table import Table

from agents.core.training.config import require
from benchmarks.fuzz_calls import Caller, Ended
from benchmarks.fuzz_files import change
from benchmarks.machine import write_result
from demos import provenance
from envs import UserError, command_line
from envs.entry import command as one_line_errors
from envs.text import plain

ROOT = Path(__file__).parents[1]

IMPORT_SECONDS = 120.0
"""Time limit of calls on intact files; they may import modules and start a training."""

MOST_HASHED_BYTES = 1 << 26
"""Largest file whose content is compared; of a larger file, only the size is compared."""

ENV = ("--env", "CartPole-v1", "--device", "cpu", "--num-threads", "1", "--precision", "fp32")

QUIET = ("--wandb", "disabled", "--no-video", "--final-eval-episodes", "0")

SMALL = (
    *(*ENV, *QUIET, "--hidden", "8", "--eval-episodes", "1", "--total-steps", "400"),
    *("--eval-every-steps", "200", "--checkpoint-every-steps", "200"),
)

SETTINGS = {
    "dqn": ("--batch-size", "8", "--buffer-size", "2000", "--learning-starts-steps", "64"),
    "ppo": ("--num-envs", "2", "--horizon-steps", "8", "--batch-size", "16"),
    "bc": ("--batch-size", "8", "--demos", "{base}/demos/D"),
}

SWEEP = """
method: random
metric: {name: eval/return_mean, goal: maximize}
early_terminate: {type: hyperband, min_iter: 2}
parameters:
  learning_rate: {min: 0.0001, max: 0.01, distribution: log_uniform_values}
  gamma: {values: [0.9, 0.99]}
command: [python, -m, agents.a2c, --env, CartPole-v1, --num-envs=2, --horizon-steps=4, --hidden=8,
  --total-steps=64, --no-video, --final-eval-episodes=0, --eval-episodes=1,
  --eval-every-steps=32, "${args}"]
"""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    calls: int = 2000  # Number of calls, each on a changed copy.
    seed: int = 0  # Seed of the changes and of the choice of commands.
    against: Path | None = None  # Source tree whose commands are called; None is this one.
    only: tuple[str, ...] = ()  # Some of dqn, ppo, bc, demos and sweep; all by default.
    hang_seconds: float = 10.0  # Time limit of a call; on intact files it takes at most 2 seconds.
    keep: Path | None = None  # Directory for the copies that revealed a fault.


@dataclass(frozen=True)
class Command:
    """A command that reads a run, a dataset or a sweep.

    Attributes:
        module: the module whose `main` is called.
        arguments: arguments of `main`; {at} stands for the copy and {base} for the originals.
        reads: files or directories below the copy that the command reads.
        writes: the names among `reads` that the command may change.
        code: exit code of the command on intact files.
    """

    module: str
    arguments: tuple[Any, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...] = ()
    code: int = 0

    def given(self, at: Path, base: Path) -> list[Any]:
        def filled(value: Any) -> Any:
            if isinstance(value, str):
                return value.replace("{at}", str(at)).replace("{base}", str(base))
            return [filled(each) for each in value]

        return [filled(each) for each in self.arguments]


TRAIN = "agents.core.training.launch"

RUN = "{at}/runs/R"

BEST = ("runs/R/config.json", "runs/R/best")

LAST = ("runs/R/config.json", "runs/R/checkpoints")


def of_run(algo: str) -> dict[str, Command]:
    """The commands that read a run, which is {at}/runs/R."""
    evaluate = (RUN, "--episodes", "1", "--no-video", "--num-threads", "1")
    scored = ("runs/R/eval.json",)
    on = ("--resume", RUN, "--total-steps", "416")
    new = ("--runs-dir", "{at}/out", *SMALL, *SETTINGS[algo], "--total-steps", "16")
    play = ("record", "--env", "CartPole-v1", "--policy", RUN, "--episodes", "1")
    last = (*evaluate, "--checkpoint", "last")
    card = (RUN, "--out", "{at}/out/card.md")
    return {
        "evaluate": Command("agents.evaluate", (evaluate,), BEST, scored),
        "evaluate last": Command("agents.evaluate", (last,), LAST, scored),
        "resume": Command(TRAIN, (algo, on), ("runs/R",), ("runs/R",)),
        "init-from": Command(TRAIN, (algo, (*new, "--init-from", RUN)), BEST),
        "record": Command("demos.__main__", ((*play, "--out", "{at}/out/D"),), BEST),
        "card": Command("agents.card", (card,), SHOWN),
        **of_report("{at}/runs"),
    }


SHOWN = tuple(f"runs/R/{name}" for name in ("config.json", "metrics.jsonl", "eval.json", "videos"))


def of_report(runs: str) -> dict[str, Command]:
    module = "agents.report.__main__"
    reads = (*SHOWN, "sweep/000")
    page = (runs, "-o", "{at}/out/page.html", "--demo-films", "0")
    return {
        "report": Command(module, (page,), reads),
        "report --csv": Command(module, ((runs, "--csv", "{at}/out/curves.csv"),), reads),
    }


def of_demos() -> dict[str, Command]:
    """The commands that read a dataset, which is {at}/demos/D."""
    path = "{at}/demos/D"
    reads = ("demos",)
    clone = ("--runs-dir", "{at}/out", *SMALL, "--batch-size", "8", "--total-steps", "16")
    page = ("{base}/ppo", "-o", "{at}/out/page.html", "--demo-films", "1", "--demos", path)
    words = {
        "list": ("list", "{at}/demos"),
        "stats": ("stats", path),
        "verify": ("verify", path),
        "replay": ("replay", path, "--to", "{at}/out/film.gif"),
        "card": ("card", path),
        "filter": ("filter", path, "--out", "{at}/out/D"),
        "split": ("split", path, "--out", "{at}/out/D", "{at}/out/E"),
    }
    return {
        **{name: Command("demos.__main__", (each,), reads) for name, each in words.items()},
        "bc": Command(TRAIN, ("bc", (*clone, "--demos", path)), reads),
        "report": Command("agents.report.__main__", (page,), reads),
    }


def of_sweep() -> dict[str, Command]:
    """The commands that read a sweep: its file {at}/sweep.yaml and its folder {at}/sweep."""
    module = "agents.sweep.__main__"
    reads = ("sweep.yaml", "sweep")
    words = ("{at}/sweep.yaml", "--trials", "1", "--out")
    return {
        "go on": Command(module, ((*words, "{at}/sweep"),), reads, ("sweep",)),
        # Its trial fails: no call starts another Python.
        "begin": Command(module, ((*words, "{at}/out/sweep"),), ("sweep.yaml",), code=1),
        **of_report("{at}/sweep"),
    }


VICTIMS: dict[str, dict[str, Command]] = {
    "dqn": of_run("dqn"),
    "ppo": of_run("ppo"),
    "bc": of_run("bc"),
    "demos": of_demos(),
    "sweep": of_sweep(),
}
"""Commands by the name of the thing that they read."""

WEIGHTS = {"dqn": 5, "ppo": 4, "bc": 2, "demos": 5, "sweep": 2}
"""Relative frequencies of calls."""


@dataclass
class Found:
    """The outcomes of the calls of one command.

    Attributes:
        calls: number of calls.
        refused: number of calls that ended with exit code 1 or 2.
        slowest: seconds of the longest call.
        faults: number of faulty calls, by kind of fault.
    """

    calls: int = 0
    refused: int = 0
    slowest: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """One faulty call, with the facts that repeat it."""

    number: int
    victim: str
    command: str
    file: str
    change: str
    kind: str
    what: str
    where: str


class Fuzz:
    """Makes the intact originals, and calls commands on changed copies of them.

    Args:
        caller: calls the commands.
        folder: an existing, empty directory.
        hang_seconds: time limit of a call.
        only: names of victims; () takes all.
    """

    def __init__(
        self, caller: Caller, folder: Path, hang_seconds: float, only: tuple[str, ...] = ()
    ) -> None:
        unknown = sorted(set(only) - VICTIMS.keys())
        if unknown:
            raise UserError(f"--only {unknown[0]}: must be one of {', '.join(VICTIMS)}")
        self.caller = caller
        self.base = folder / "base"
        self.at = folder / "at"
        self.victims = {name: VICTIMS[name] for name in VICTIMS if not only or name in only}
        self.hang_seconds = hang_seconds
        self.left_out: list[str] = []
        self.base.mkdir()

    def prepare(self) -> None:
        """Makes the originals, and leaves out the commands that the tree lacks.

        Raises:
            UserError: the originals cannot be made.
        """
        play = ("record", "--env", "CartPole-v1", "--policy", "random", "--episodes", "2")
        self._make("demos.__main__", (*play, "--out", "{base}/demos/D"))
        for algo in ("dqn", "ppo", "bc"):
            # The page of demonstrations also shows a run of PPO.
            if algo in self.victims or (algo == "ppo" and "demos" in self.victims):
                self._train(algo)
        if "sweep" in self.victims:
            folder = self.base / "sweep"
            folder.mkdir()
            (folder / "sweep.yaml").write_text(SWEEP)
            words = ("{base}/sweep/sweep.yaml", "--trials", "1", "--out", "{base}/sweep/sweep")
            self._make("agents.sweep.__main__", words)
        for victim, commands in self.victims.items():
            self.victims[victim] = dict(self._working(victim, commands))
        words = (*SMALL, *SETTINGS["bc"], "--total-steps", "16", "--runs-dir", "{base}/first")
        self.caller.first = [(TRAIN, self._given("bc", words))]

    def _train(self, algo: str) -> None:
        runs = self.base / algo / "runs"
        self._make(TRAIN, algo, ("--runs-dir", str(runs), *SMALL, *SETTINGS[algo]))
        (run,) = runs.iterdir()
        run.rename(runs / "R")
        self._make("agents.evaluate", (str(runs / "R"), "--episodes", "1", "--num-threads", "1"))

    def _make(self, module: str, *arguments: Any) -> None:
        given = self._given(*arguments)
        ended = self.caller.call(module, given, IMPORT_SECONDS, programs=True)
        if ended.fault or ended.code != 0:
            raise UserError(f"{module}: {plain(ended.what + ended.said, 300)}")

    def _given(self, *arguments: Any) -> list[Any]:
        return Command("", arguments, ()).given(self.at, self.base)

    def _working(self, victim: str, commands: dict[str, Command]) -> Iterator[tuple[str, Command]]:
        for name, each in commands.items():
            self._copy(victim)
            before = fingerprints(self.at)
            ended = self._call(each, IMPORT_SECONDS)
            if (
                ended.fault
                or ended.code != each.code
                or altered(before, fingerprints(self.at), each)
            ):
                self.left_out.append(f"{victim}: {name}: {plain(ended.what + ended.said, 300)}")
            else:
                yield name, each

    def _copy(self, victim: str) -> None:
        if self.at.exists():
            shutil.rmtree(self.at)
        (self.at / "outside").mkdir(parents=True)
        (self.at / "outside" / "mine").write_bytes(b"mine")
        (self.at / "out").mkdir()
        source = self.base / victim
        place = self.at / "demos" if victim == "demos" else self.at
        shutil.copytree(source, place, dirs_exist_ok=True)

    def _call(self, each: Command, seconds: float) -> Ended:
        return self.caller.call(each.module, each.given(self.at, self.base), seconds)

    def one(self, number: int, seed: int) -> tuple[str, str, Ended, Fault | None]:
        """Calls a command on a changed copy; returns victim, command, end and fault of the call."""
        chance = Random(f"{seed} {number}")
        victim = chance.choices(list(self.victims), [WEIGHTS[each] for each in self.victims])[0]
        name = chance.choice(sorted(self.victims[victim]))
        each = self.victims[victim][name]
        self._copy(victim)
        path = chosen(self.at, each, chance)
        file = str(path.relative_to(self.at))
        done = change(self.at, path, chance)
        before = fingerprints(self.at)
        ended = self._call(each, self.hang_seconds)
        kind = ended.fault
        what = ended.what
        wrong = "" if kind else altered(before, fingerprints(self.at), each, ended)
        if wrong:
            kind = "altered"
            what = f"{wrong} was changed"
        fault = None
        if kind:
            fault = Fault(number, victim, name, file, plain(done), kind, plain(what), ended.where)
        return victim, name, ended, fault


def chosen(at: Path, each: Command, chance: Random) -> Path:
    """Chooses the file to change among those that a command reads, or rarely a directory.

    All kinds of files are equally likely.
    """
    named = [(path, str(path.relative_to(at))) for path in sorted(at.rglob("*"))]
    read = [path for path, name in named if any(within(name, reads) for reads in each.reads)]
    folders = [path for path in read if path.is_dir() and path.parent != at]
    if folders and chance.random() < 0.05:
        return chance.choice(folders)
    kinds: dict[str, list[Path]] = {}
    for path in read:
        if not path.is_dir():
            kind = path.name if path.suffix == ".json" else path.suffix
            kinds.setdefault(kind, []).append(path)
    return chance.choice(kinds[chance.choice(sorted(kinds))])


def fingerprints(at: Path) -> dict[str, str]:
    """The kind and content of each file and directory below a directory; follows no link."""
    found: dict[str, str] = {}
    for path in sorted(at.rglob("*")):
        status = path.lstat()
        content = ""
        if stat.S_ISLNK(status.st_mode):
            content = str(path.readlink())
        elif stat.S_ISREG(status.st_mode):
            content = str(status.st_size)
            if status.st_size <= MOST_HASHED_BYTES:
                content = hashlib.blake2b(path.read_bytes()).hexdigest()
        found[str(path.relative_to(at))] = f"{stat.S_IFMT(status.st_mode)} {content}"
    return found


def altered(
    before: dict[str, str], after: dict[str, str], each: Command, ended: Ended | None = None
) -> str:
    """The first file that a command must not change but did; "" if there is none.

    A command that ends with exit code 2 may change only locks.
    """
    refused = ended is not None and ended.code == 2
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) == after.get(name) or name.startswith("out/") or name.endswith(".lock"):
            continue
        if not refused and any(within(name, allowed) for allowed in each.writes):
            continue
        return name
    return ""


def within(name: str, folder: str) -> bool:
    """Whether a name is a folder or lies in it."""
    return name == folder or name.startswith(f"{folder}/")


def measure(arguments: Arguments) -> dict[str, Any]:
    """Makes the originals, does all calls and returns their outcomes."""
    if not hasattr(signal, "setitimer"):
        raise UserError("the fuzzer needs Linux or macOS: Windows has no timer for calls")
    tree = (arguments.against or ROOT).resolve()
    if not (tree / "agents").is_dir():
        raise UserError(f"--against {tree}: must be a source tree of Joystick, but has no agents")
    found: dict[str, Found] = {}
    faults: list[Fault] = []
    with tempfile.TemporaryDirectory(prefix="joystick-fuzz-") as name:
        folder = Path(name)
        with Caller(tree, folder) as caller:
            fuzz = Fuzz(caller, folder, arguments.hang_seconds, arguments.only)
            fuzz.prepare()
            for number in range(arguments.calls):
                victim, command_name, ended, fault = fuzz.one(number, arguments.seed)
                counted = found.setdefault(f"{victim} {command_name}", Found())
                counted.calls += 1
                counted.slowest = max(counted.slowest, ended.seconds)
                counted.refused += not ended.fault and ended.code != 0
                if fault is not None:
                    counted.faults[fault.kind] = counted.faults.get(fault.kind, 0) + 1
                    faults.append(fault)
                    keep(fuzz.at, fault, arguments.keep)
        left_out = fuzz.left_out
    return {
        "protocol": __doc__,
        "arguments": {**dataclasses.asdict(arguments), "against": str(arguments.against or "")}
        | {"keep": str(arguments.keep or "")},
        "commands_of": provenance.commit(tree),
        "calls": arguments.calls,
        "faults": dict(Counter(fault.kind for fault in faults)),
        "left_out": left_out,
        "found": {name: dataclasses.asdict(found[name]) for name in sorted(found)},
        "distinct": distinct(faults),
    }


def keep(at: Path, fault: Fault, folder: Path | None) -> None:
    """Moves the copy that revealed a fault into a folder, if the user named one."""
    if folder is not None:
        place = folder / f"{fault.number:06d}"
        shutil.rmtree(place, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.move(at, place)


def distinct(faults: list[Fault]) -> list[dict[str, Any]]:
    """The distinct faults by kind and place, most frequent first, with a count and an example."""
    groups: dict[tuple[str, str, str], list[Fault]] = {}
    for fault in faults:
        kind_of_error = fault.what.partition(":")[0] if fault.kind == "traceback" else ""
        groups.setdefault((fault.kind, fault.where, kind_of_error), []).append(fault)
    ordered = sorted(groups.values(), key=len, reverse=True)
    return [{"times": len(group), **dataclasses.asdict(group[0])} for group in ordered]


def show(result: dict[str, Any]) -> None:
    """Prints the outcomes as a table, and the faults below it."""
    kinds = sorted(result["faults"])
    table = Table(box=None, pad_edge=False)
    for name in ("", "calls", "refused", "slowest", *kinds):
        table.add_column(name, justify="right" if name else "left")
    for name, counted in result["found"].items():
        counts = [counted["calls"], counted["refused"], f"{counted['slowest']:.1f} s"]
        counts += [counted["faults"].get(kind, 0) for kind in kinds]
        table.add_row(name, *map(str, counts))
    Console().print(table)
    for each in result["distinct"]:
        about = f"{each['victim']} {each['command']}, {each['file']}: {each['change']}"
        print(f"{each['times']} x {each['kind']} {each['where']}: {each['what']}")
        print(f"    call {each['number']}: {about}")
    for each in result["left_out"]:
        print(f"left out: {each}")
    print(f"{result['calls']} calls, {sum(result['faults'].values())} faults")


def main(args: list[str] | None = None) -> None:
    with one_line_errors():
        arguments = command_line.parse(
            Arguments, args=args, prog="python -m benchmarks.fuzz", description=__doc__
        )
        require(arguments.calls >= 1, "calls", arguments.calls, "at least 1")
        seconds = arguments.hang_seconds
        require(0 < seconds < 3600, "hang_seconds", seconds, "above 0 and below 3600")
        result = measure(arguments)
        show(result)
        print(f"wrote {write_result('fuzz', result)}")
        sys.exit(1 if result["faults"] else 0)


if __name__ == "__main__":
    main()
