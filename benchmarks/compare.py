"""Trains many agents on one task with the same steps and seeds, and makes one table of them.

    python -m benchmarks.compare --env CartPole-v1 --steps 100000
    python -m benchmarks.compare --env Pendulum-v1 --algos sac ppo sb3-sac sb3-ppo --steps 20000
    python -m benchmarks.compare --env CartPole-v1 --steps 100000 --table
    python -m benchmarks.compare --page docs/value-agents.md

Each of our agents has its default preset, on one thread. On a task with continuous actions it has
the preset "continuous", if there is one. Agents of Stable-Baselines3 have the tuned settings of
`benchmarks.peer_settings`. Ten evaluations in training choose the best weights, and the score is
the mean return of whole games with these weights.

Rows are added to one file, and a later call adds only the rows that are missing. `--minutes` limits
a sitting. `--page` renews the tables of a Markdown page, between its marks.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from agents.core.training import arguments as command_lines
from agents.core.training.algorithms import algorithm, algorithms
from agents.core.training.building import build_policy, spaces_of
from benchmarks import compare_table
from benchmarks.campaign import EVALUATIONS, Task, check, go_on
from benchmarks.jobs import Job
from benchmarks.machine import RESULTS
from benchmarks.peer import settings_of
from benchmarks.peer_settings import PEERS
from benchmarks.rows import Rows
from envs import UserError, command_line, spec
from envs.entry import command as one_line_errors
from envs.files import portable_name


@dataclass(frozen=True, kw_only=True)
class Arguments:
    env: str = "CartPole-v1"  # Environment.
    algos: tuple[str, ...] = ()  # Agents; () is all that train online for the task's actions.
    seeds: tuple[int, ...] = (1, 2, 3)  # Seeds of each agent.
    steps: int = 0  # Steps of each training; 0 is 500,000 for Atari, otherwise 100,000.
    games: int = 30  # Whole games of a score.
    eval_episodes: int = 10  # Whole games of an evaluation in training.
    at_once: int = 2  # Trainings at the same time, each on one thread.
    minutes: float = 0.0  # Length of this sitting; 0 goes on to the end.
    table: bool = False  # Only print the table of the rows so far, in Markdown.
    page: Path | None = None  # Only renew the tables of this Markdown page.
    runs_dir: Path = Path("runs/compare")  # Folder of the runs.
    out: Path | None = None  # File; None is benchmarks/results/compare-<env>-<steps>.json.

    @property
    def length(self) -> int:
        """The steps of each training."""
        return self.steps or (500_000 if spec(self.env).family == "atari" else 100_000)

    @property
    def name(self) -> str:
        """The name of the comparison."""
        return f"compare-{portable_name(self.env)}-{self.length}"

    @property
    def results(self) -> Rows:
        """The file of the rows."""
        return Rows(self.out or RESULTS / f"{self.name}.json", "compare")


@cache
def preset_of(algo: str, env: str) -> str:
    """The preset of an agent for a task; "auto" is the algorithm's own choice."""
    continuous = bool(spaces_of(spec(env)).action_low)
    return "continuous" if continuous and "continuous" in algorithm(algo).PRESETS else "auto"


def fits(algo: str, env: str) -> str:
    """Why one of our agents cannot train on a task; "" if it can."""
    module = algorithm(algo)
    if module.TRAINER != "online":
        return "it learns from demonstrations"
    words = ["--env", env, "--preset", preset_of(algo, env)]
    config: Any = command_lines.parse(module, words).config
    try:
        build_policy(module, config, spaces_of(spec(env)), torch.device("cpu"))
    except UserError as error:
        return str(error)
    return ""


def chosen(arguments: Arguments) -> list[str]:
    """The agents to train.

    Raises:
        UserError: a named agent does not exist, or does not fit the task.
    """
    for algo in arguments.algos:
        if algo in PEERS:
            settings_of(algo, arguments.env)
        elif algo.startswith("sb3"):
            raise UserError(f"unknown peer '{algo}' (known: {', '.join(PEERS)})")
        else:
            why = fits(algo, arguments.env)
            if why:
                raise UserError(f"--algos {algo}: {why}")
    return list(arguments.algos) or [algo for algo in algorithms() if not fits(algo, arguments.env)]


def key(arguments: Arguments, algo: str, seed: int) -> dict[str, Any]:
    """The entries that tell a row from others."""
    return {
        "agent": algo,
        "env": arguments.env,
        "steps": arguments.length,
        "seed": seed,
        "games": arguments.games,
        "eval_episodes": arguments.eval_episodes,
    }


def job(arguments: Arguments, algo: str, seed: int) -> Job:
    """The job that trains and scores an agent with a seed."""
    folder = arguments.runs_dir / arguments.name / algo / str(seed)
    every = arguments.length // EVALUATIONS
    shared = ["--folder", str(folder), "--games", str(arguments.games)]
    evaluations = ["--eval-episodes", str(arguments.eval_episodes)]
    evaluations += ["--eval-every-steps", str(every)]
    command = [sys.executable, "-m"]
    if algo in PEERS:
        command += ["benchmarks.peer", "--algo", algo, *shared, "--env", arguments.env]
        command += ["--steps", str(arguments.length), "--seed", str(seed), *evaluations]
    else:
        command += ["benchmarks.until", "--algo", algo, *shared, "--step", str(arguments.length)]
        command += ["--", "--env", arguments.env, "--preset", preset_of(algo, arguments.env)]
        command += ["--total-steps", str(arguments.length), "--seed", str(seed), *evaluations]
        command += ["--num-threads", "1", "--wandb", "disabled", "--no-video"]
    return Job(f"{algo}, seed {seed}", command, folder / "log.txt")


def tasks(arguments: Arguments) -> list[Task]:
    """All trainings of a comparison, seed by seed."""
    agents = chosen(arguments)
    found: list[Task] = []
    for seed in arguments.seeds:
        for algo in agents:
            preset = "tuned" if algo in PEERS else preset_of(algo, arguments.env)
            wanted = key(arguments, algo, seed)
            its_job = job(arguments, algo, seed)
            found.append(Task(its_job, arguments.length, wanted, {"preset": preset}))
    return found


def main(args: list[str] | None = None) -> None:
    with one_line_errors():
        arguments = command_line.parse(
            Arguments, args=args, prog="python -m benchmarks.compare", description=__doc__
        )
        if arguments.page is not None:
            compare_table.renew(arguments.page)
            print(f"wrote {arguments.page}")
            return
        check(arguments, steps=arguments.length)
        if not arguments.table:
            go_on(arguments, partial(tasks, arguments), arguments.results)
        print(compare_table.markdown(arguments.results.rows))


if __name__ == "__main__":
    main()
