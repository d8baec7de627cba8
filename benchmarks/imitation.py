"""Trains imitators on more or fewer demonstrations, and makes one table of their scores.

    python -m benchmarks.imitation --env Pong
    python -m benchmarks.imitation --env CartPole-v1 --counts 1 10 --steps 30000
    python -m benchmarks.imitation --env Pong --algos dagger --expert runs/<run>
    python -m benchmarks.imitation --env Pong --table

Agents that act have --steps steps of the environment. Behavior cloning has none; it trains on
--samples demonstrated steps. DAgger asks --expert, and a count is the number of games in its
rounds. DQN has no demonstrations: it stands beside them. Ten evaluations in training choose the
best weights, and the score is the mean return of other whole games with these weights.

Rows are added to one file, and a later call adds only the rows that are missing. A CSV file beside
it has the same rows. `--minutes` limits a sitting.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agents.core.training.config import require
from benchmarks import campaign, imitation_table
from benchmarks.campaign import EVALUATIONS, Task
from benchmarks.jobs import Job
from benchmarks.machine import RESULTS
from benchmarks.rows import Rows
from demos import Dataset, record
from demos.policies import RandomPolicy
from demos.shipped import find
from envs import EnvSpec, UserError, command_line, spaces_of, spec
from envs.entry import command as one_line_errors
from envs.errors import did_you_mean
from envs.files import portable_name

RANDOM_GAMES = 30
"""Games of random play, where its return is not known."""

CLONES = "bc"
"""Learns from demonstrations alone."""

ASKS = "dagger"
"""Asks an expert while it plays."""

ALONE = ("dqn", "ppo")
"""Agents without demonstrations."""

LEARNERS = (CLONES, "sqil", "iq_learn", "dqfd", "gail", ASKS, *ALONE)


@dataclass(frozen=True, kw_only=True)
class Arguments:
    env: str = "Pong"  # Environment.
    demos: str = "auto"  # Dataset.
    algos: tuple[str, ...] = (CLONES, "sqil", "iq_learn", "dqfd", "gail", "dqn")  # Agents.
    counts: tuple[int, ...] = (1, 5, 20)  # Numbers of demonstrations.
    seeds: tuple[int, ...] = (1, 2, 3)  # Seeds of each agent with each number.
    steps: int = 100_000  # Steps of the environment, for agents that act.
    samples: int = 400_000  # Demonstrated steps to train on, for behavior cloning.
    expert: str = ""  # The expert of dagger: a run, sb3:FILE.zip or script:module:function.
    games: int = 30  # Whole games of a score.
    eval_episodes: int = 10  # Whole games of an evaluation in training.
    at_once: int = 2  # Trainings at the same time, each on one thread.
    minutes: float = 0.0  # Length of this sitting; 0 goes on to the end.
    table: bool = False  # Only print the table of the rows so far, in Markdown.
    picture: Path | None = None  # Also draw the table to this PNG file.
    runs_dir: Path = Path("runs/imitation")  # Folder of the runs.
    out: Path | None = None  # File; None is benchmarks/results/imitation-<env>.json.

    @property
    def name(self) -> str:
        """The name of the table."""
        return f"imitation-{portable_name(self.env)}"

    @property
    def results(self) -> Rows:
        """The file of the rows."""
        return Rows(self.out or RESULTS / f"{self.name}.json", "imitation")


@dataclass(frozen=True)
class Source:
    """The demonstrations of a table.

    Attributes:
        name: the name of the dataset.
        episodes: the number of its episodes.
        random, demonstrator: mean returns of random play and of the dataset.
    """

    name: str
    episodes: int
    random: float
    demonstrator: float

    @classmethod
    def of(cls, arguments: Arguments) -> Source:
        dataset = Dataset.open(find(arguments.demos, spec(arguments.env)))
        scores = [episode.score for episode in dataset.episodes()]
        random = dataset.metadata.reference_scores.get("random")
        if random is None:
            random = random_return(dataset.metadata.spec)
        return cls(dataset.path.name, len(scores), random, sum(scores) / len(scores))


def random_return(env: EnvSpec) -> float:
    """The mean return of some games of random play."""
    policy = RandomPolicy(spaces_of(env)[1], seed=0)
    return statistics.mean(each.score for each in record(env, policy, RANDOM_GAMES, seed=0))


def length(arguments: Arguments, algo: str) -> int:
    """The steps of a training: of the environment, or demonstrated ones."""
    return arguments.samples if algo == CLONES else arguments.steps


def counts(arguments: Arguments, algo: str, source: Source) -> Sequence[int]:
    """The numbers of demonstrations with which an agent is trained."""
    if algo in ALONE:
        return (0,)
    if algo == ASKS:
        return arguments.counts
    return [count for count in arguments.counts if count <= source.episodes]


def settings(arguments: Arguments, algo: str, count: int) -> list[str]:
    """The settings of an agent with so many demonstrations."""
    if algo in ALONE:
        return []
    if algo == ASKS:
        return ["--expert", arguments.expert, "--games-per-round", str(count)]
    demos = ["--demos", arguments.demos, "--num-demos", str(count)]
    held_out = ["--validation-share", "0"] if algo == CLONES else []
    return [*demos, *held_out]


def task(arguments: Arguments, source: Source, algo: str, count: int, seed: int) -> Task:
    """A training of an agent with so many demonstrations."""
    steps = length(arguments, algo)
    folder = arguments.runs_dir / arguments.name / algo / f"{count}-{steps}" / str(seed)
    command = [sys.executable, "-m", "benchmarks.until", "--algo", algo]
    command += ["--folder", str(folder), "--step", str(steps), "--games", str(arguments.games)]
    command += ["--", "--env", arguments.env, "--seed", str(seed), "--total-steps", str(steps)]
    command += ["--eval-every-steps", str(steps // EVALUATIONS)]
    command += ["--eval-episodes", str(arguments.eval_episodes)]
    command += ["--num-threads", "1", "--wandb", "disabled", "--no-video"]
    command += settings(arguments, algo, count)
    key = {
        "agent": algo,
        "env": arguments.env,
        "demonstrations": count,
        "steps": steps,
        "seed": seed,
        "games": arguments.games,
        "eval_episodes": arguments.eval_episodes,
    }
    about = {
        "dataset": source.name,
        "random": source.random,
        "demonstrator": source.demonstrator,
        "environment_steps": 0 if algo == CLONES else steps,
    }
    name = f"{algo}, {count} demonstrations, seed {seed}"
    return Task(Job(name, command, folder / "log.txt"), steps, key, about)


def tasks(arguments: Arguments) -> list[Task]:
    """All trainings of a table, seed by seed, so that a stopped table has all agents."""
    source = Source.of(arguments)
    return [
        task(arguments, source, algo, count, seed)
        for seed in arguments.seeds
        for algo in arguments.algos
        for count in counts(arguments, algo, source)
    ]


def check(arguments: Arguments) -> None:
    """Raises a UserError if an argument is out of range."""
    for algo in arguments.algos:
        if algo not in LEARNERS:
            near = did_you_mean(algo, LEARNERS)
            raise UserError(f"--algos {algo}: must be one of {', '.join(LEARNERS)}{near}")
    if ASKS in arguments.algos and not arguments.expert:
        raise UserError(f"--algos {ASKS}: needs --expert")
    campaign.check(arguments, steps=arguments.steps, samples=arguments.samples)
    for name in ("counts", "algos"):
        require(bool(getattr(arguments, name)), name, "", "at least one")
    require(min(arguments.counts) >= 1, "counts", min(arguments.counts), "at least 1")


def main(args: list[str] | None = None) -> None:
    with one_line_errors():
        prog = "python -m benchmarks.imitation"
        arguments = command_line.parse(Arguments, args=args, prog=prog, description=__doc__)
        check(arguments)
        results = arguments.results
        if not arguments.table:
            campaign.go_on(arguments, partial(tasks, arguments), results)
            if results.rows:
                imitation_table.write_csv(results.rows, results.path.with_suffix(".csv"))
        if arguments.picture is not None:
            imitation_table.draw(results.rows, arguments.picture)
            print(f"wrote {arguments.picture}")
        print(imitation_table.markdown(results.rows))


if __name__ == "__main__":
    main()
