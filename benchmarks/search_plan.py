"""Reads the plan of a search: a YAML file that names the candidates."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from agents.core.training import arguments
from agents.core.training.algorithms import algorithm
from envs import UserError, schema
from envs.command_line import flag_of
from envs.files import portable_name, read_regular

MOST_BYTES = 1 << 20

OWN = (
    *("--env", "--seed", "--total-steps", "--runs-dir", "--wandb", "--num-threads", "--resume"),
    *("--eval-every-steps", "--eval-episodes", "--final-eval-episodes", "--init-from"),
)
"""Flags that the plan sets alike for all candidates."""


@dataclass(frozen=True)
class Candidate:
    """An algorithm and its command line."""

    algo: str
    settings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The content of a plan's file.

    Attributes:
        candidates: the command line of each candidate by name, as `dqn --double`.
        rungs: steps after which candidates are dropped; the last one is the length of a run.
        seeds: seeds of all candidates.
        rung_seeds: how many of the seeds each rung has; by default all.
        baseline: the candidate that is never dropped; by default the first one.
        most: how many other candidates may go on after each rung; 0 sets no limit.
        settings: flags of all candidates.
        games: whole games of a score.
        eval_every_steps: steps between evaluations in training, which choose the best weights; 0
            is the largest number that divides all rungs.
        eval_episodes: whole games of such an evaluation.
        threads: CPU threads of a run.
    """

    env: str
    rungs: tuple[int, ...]
    candidates: dict[str, str]
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    rung_seeds: tuple[int, ...] = ()
    baseline: str = ""
    most: int = 0
    settings: str = ""
    games: int = 30
    eval_every_steps: int = 0
    eval_episodes: int = 10
    threads: int = 1

    def seeds_of(self, rung: int) -> tuple[int, ...]:
        """The seeds of a rung."""
        counts = self.rung_seeds or (len(self.seeds),) * len(self.rungs)
        return self.seeds[: counts[self.rungs.index(rung)]]

    @property
    def control(self) -> str:
        """The name of the baseline."""
        return self.baseline or next(iter(self.candidates))

    def candidate(self, name: str) -> Candidate:
        """The algorithm of a candidate, and its flags without the seed and the folder."""
        algo, *own = shlex.split(self.candidates[name])
        every = self.eval_every_steps or math.gcd(*self.rungs)
        shared = (
            *("--env", self.env, "--total-steps", str(self.rungs[-1])),
            *("--eval-every-steps", str(every), "--eval-episodes", str(self.eval_episodes)),
            *("--num-threads", str(self.threads), "--wandb", "disabled", "--no-video"),
        )
        return Candidate(algo, (*shared, *shlex.split(self.settings), *own))

    def validate(self) -> None:
        """Checks the numbers, and tries each candidate on its algorithm's command line.

        Raises:
            UserError: an entry is wrong; the message names it.
        """
        every = self.eval_every_steps or math.gcd(*self.rungs)
        require(bool(self.candidates), "candidates", "at least one")
        ascending = list(self.rungs) == sorted(set(self.rungs)) and self.rungs[0] > 0
        require(ascending, "rungs", "steps that rise")
        divided = every > 0 and not any(rung % every for rung in self.rungs)
        require(divided, "eval_every_steps", "a divisor of every rung")
        distinct = len(set(self.seeds)) == len(self.seeds) > 0
        require(distinct, "seeds", "at least one, each once")
        require(len(self.rung_seeds) in (0, len(self.rungs)), "rung_seeds", "one for each rung")
        counted = all(1 <= each <= len(self.seeds) for each in self.rung_seeds)
        require(counted, "rung_seeds", f"from 1 to {len(self.seeds)}, the number of seeds")
        require(self.games >= 2, "games", "at least 2")
        require(self.eval_episodes >= 1, "eval_episodes", "at least 1")
        require(self.threads >= 1, "threads", "at least 1")
        require(self.most >= 0, "most", "at least 0")
        known = self.control in self.candidates
        require(known, "baseline", f"one of {', '.join(self.candidates)}")
        for name in self.candidates:
            self.try_candidate(name)

    def try_candidate(self, name: str) -> None:
        """Raises a UserError if the algorithm refuses a candidate's command line."""
        require(name == portable_name(name), f"candidates: {name}", "letters, digits, - and _")
        try:
            words = shlex.split(self.candidates[name])
            taken = [flag_of(word) for word in (*words, *shlex.split(self.settings))]
            for flag in OWN:
                require(flag not in taken, flag, "left to the plan, alike for all candidates")
            require(bool(words), "its first word", "an algorithm")
            candidate = self.candidate(name)
            arguments.parse(algorithm(candidate.algo), [*candidate.settings])
        except ValueError as error:
            raise UserError(f"candidates: {name}: {error}") from None


def require(condition: bool, entry: str, allowed: str) -> None:
    """Raises a UserError with the entry and what is allowed unless `condition`."""
    if not condition:
        raise UserError(f"{entry}: must be {allowed}")


def read(path: Path) -> Plan:
    """Reads the plan of a file.

    Raises:
        UserError: the file cannot be read, or an entry is wrong; the message names both.
    """
    try:
        values = yaml.safe_load(read_regular(path, MOST_BYTES))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    plan = made(values, path)
    try:
        plan.validate()
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return plan


def made(values: Any, path: Path) -> Plan:
    """The plan with the values of a file; raises a UserError for an unknown or wrong entry."""
    if not isinstance(values, dict):
        raise UserError(f"{path}: must have the entries env, rungs and candidates")
    known = Plan.__dataclass_fields__
    for name in values:
        if name not in known:
            raise UserError(f"{path}: unknown entry '{name}' (known: {', '.join(known)})")
    return schema.convert(values, Plan, str(path))
