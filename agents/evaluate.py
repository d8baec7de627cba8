"""`python -m agents.evaluate runs/<run>` scores a run over full, unclipped games.

The environment is rebuilt exactly as in training, or refused with the field that differs.
Writes eval.json and a film into the run directory.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

import envs
from agents.core.config import from_json, require
from agents.core.device import resolve_device, tune_process
from agents.core.evaluation import Evaluation, Evaluator, film_evaluation
from agents.core.launch import SCORE_SEED, algorithm, one_line_errors
from agents.core.run import Run
from agents.core.types import Spaces
from envs import EnvSpec


@dataclass(frozen=True, kw_only=True)
class Arguments:
    run: tyro.conf.Positional[Path]  # The run directory.
    episodes: int = 30  # Full games to play.
    exploration: float | None = None  # ε or temperature; by default the run's own.
    checkpoint: Literal["best", "last"] = "best"  # Which weights to score.
    seed: int = SCORE_SEED  # Seed of the games.
    device: Literal["auto", "cpu", "cuda"] = "auto"  # Where the network runs.
    num_threads: int = 0  # CPU threads; 0 is one per core.
    video: bool = True  # Film the first game.


def evaluate(arguments: Arguments) -> Evaluation:
    """Score the run, write eval.json and the film, and return the evaluation."""
    require(arguments.episodes >= 1, "episodes", arguments.episodes, "at least 1")
    require(arguments.seed >= 0, "seed", arguments.seed, "at least 0")
    run = Run.open(arguments.run)
    saved = run.config()
    spec = EnvSpec.from_json(saved["env_spec"])
    spec.check_reproducible()
    module = algorithm(run.algo)
    env = envs.make(spec, 1)
    spaces = Spaces.of(env)
    env.close()
    config = from_json(module.Config, saved["config"])
    agent = module.build(config, spaces, resolve_device(arguments.device))
    if (exploration := arguments.exploration) is not None:
        most = 1.0 if agent.explores_by == "epsilon" else float("inf")
        allowed = f"an {agent.explores_by} from 0 to {most:g}"
        require(0 <= exploration <= most, "exploration", exploration, allowed)
    weights, step = run.weights(arguments.checkpoint)
    agent.learner.load_weights(weights)
    evaluator = Evaluator(spec, arguments.seed, arguments.num_threads or None)
    result = evaluator.evaluate(agent, arguments.episodes, step, arguments.exploration)
    print(result)
    run.save_score(result.to_json())
    print(f"wrote {run.path / 'eval.json'}")
    if arguments.video and (path := film_evaluation(result, run, print)):
        print(f"wrote {path}")
    return result


def main(args: list[str] | None = None) -> None:
    with one_line_errors():
        arguments = tyro.cli(
            Arguments, args=args, prog="python -m agents.evaluate", description=__doc__
        )
        tune_process()
        evaluate(arguments)
    sys.exit(0)


if __name__ == "__main__":
    main()
