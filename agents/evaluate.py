"""`python -m agents.evaluate runs/<run>` scores a run over full, unclipped games.

The environment equals the one of training; if it cannot, an error names the field that differs. The
command writes eval.json and a film into the run directory.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from agents.core.runs.run import Run
from agents.core.system.device import tune_process
from agents.core.training.config import require
from agents.core.training.demonstrator import load_policy, own_exploration
from agents.core.training.evaluation import Evaluation, Evaluator, film_evaluation
from agents.core.training.reporting import SCORE_SEED
from envs import command_line
from envs.entry import command as one_line_errors
from envs.output import tell
from envs.signals import StopSignal


@dataclass(frozen=True, kw_only=True)
class Arguments:
    run: tyro.conf.Positional[Path]  # Directory of the run.
    episodes: int = 30  # Full games to play.
    exploration: float | None = None  # ε or temperature; None is the run's evaluation value.
    checkpoint: Literal["best", "last"] = "best"  # Weights to score.
    most_steps: int | None = None
    """Longest game, in steps; 0 is the environment's own limit, None is the run's setting."""
    seed: int = SCORE_SEED  # Seed of the games.
    device: Literal["auto", "cpu", "cuda"] = "auto"  # Device of the network.
    num_threads: int = 0  # CPU threads; 0 is one per core.
    video: bool = True  # Film the first game.


def score(arguments: Arguments) -> Evaluation:
    """Plays full games with the run's policy and returns the evaluation; writes no file."""
    require(arguments.episodes >= 1, "episodes", arguments.episodes, "at least 1")
    require(arguments.seed >= 0, "seed", arguments.seed, "at least 0")
    run = Run.open(arguments.run)
    run.require_no_links()
    policy, spec, step, config = load_policy(run, arguments.checkpoint, arguments.device)
    exploration = own_exploration(policy, arguments.exploration)
    most_steps = arguments.most_steps
    if most_steps is None:
        most_steps = config.eval_most_steps
    require(most_steps >= 0, "most_steps", most_steps, "at least 0")
    evaluator = Evaluator(spec, arguments.seed, arguments.num_threads or None, most_steps)
    with StopSignal():
        return evaluator.evaluate(policy, arguments.episodes, step, exploration)


def evaluate(arguments: Arguments) -> Evaluation:
    """Scores the run, writes eval.json and the film, and returns the evaluation."""
    result = score(arguments)
    run = Run.open(arguments.run)
    tell(result)
    run.save_score(result.to_json())
    tell(f"wrote {run.path / 'eval.json'}")
    path = film_evaluation(result, run, tell) if arguments.video else None
    if path:
        tell(f"wrote {path}")
    return result


def main(args: list[str] | None = None) -> None:
    """Runs the command and exits; the exit code is 2 on bad input."""
    with one_line_errors():
        arguments = command_line.parse(
            Arguments, args=args, prog="python -m agents.evaluate", description=__doc__
        )
        tune_process()
        evaluate(arguments)
    sys.exit(0)


if __name__ == "__main__":
    main()
