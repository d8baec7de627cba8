"""Train, load and evaluate from Python.

A wrong argument raises `joystick.UserError`; a fault during the work raises `joystick.Failure`. No
function exits, reads `sys.argv` or handles signals, so all of them work in a notebook and in a
thread. Only one training at a time is reproducible, because the whole process shares torch's random
numbers and threads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch

from agents import evaluate as evaluation
from agents.core.runs.run import Run
from agents.core.system.device import tune_numbers
from agents.core.training import launch
from agents.core.training.callbacks import Callback, Callbacks
from agents.core.training.demonstrator import load_policy
from agents.core.training.evaluation import Evaluation
from agents.core.training.reporting import SCORE_SEED
from demos.shipped import names_dataset
from envs import UserError, plugins
from joystick.player import Player

Source = Run | str | os.PathLike[str]
"""A run, or the path of its directory."""


def train(
    algorithm: str,
    *,
    callbacks: Callback | Sequence[Callback] = (),
    progress: bool = True,
    plugin: str | Path | Sequence[str | Path] = (),
    **settings: Any,
) -> Run:
    """Trains an agent; `joystick.train("dqn", env="Pong")` equals `joystick dqn --env Pong`.

        run = joystick.train("dqn", env="CartPole-v1", total_steps=50_000, seed=1)

    Args:
        algorithm: name of the algorithm, such as "dqn".
        callbacks: they get each round, evaluation and checkpoint. If `on_step` returns True,
            training ends: it writes a checkpoint and scores the run.
        progress: print the progress.
        plugin: Python files with your own algorithms or networks.
        settings: the flags of the command line: `total_steps` is `--total-steps`. None takes the
            default. `resume` continues a run.

    Returns:
        The run. `run.path` is its directory.

    Raises:
        UserError: a setting is unknown or out of range.
        Failure: a loss was not finite, or the last checkpoint could not be written.
    """
    for path in [plugin] if isinstance(plugin, str | Path) else plugin:
        plugins.load(path)
    told = (callbacks,) if isinstance(callbacks, Callback) else tuple(callbacks)
    for each in told:
        if not isinstance(each, Callback):
            raise UserError(f"callbacks: {each!r} must be a joystick.Callback")
    args = [word for name, value in settings.items() for word in flags(name, value)]
    with host_settings_kept():
        trained = launch.train_run(algorithm, args, Callbacks(told), console=progress)
    assert trained.run is not None
    return trained.run


def load(
    source: Source,
    *,
    checkpoint: Literal["best", "last"] = "best",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    exploration: float | None = None,
    seed: int = 0,
) -> Player:
    """Loads the trained policy of a run.

    Args:
        source: the run, or its directory.
        checkpoint: the weights to load.
        device: device of the network.
        exploration: ε or temperature; None takes the run's evaluation value.
        seed: seed of the policy's random numbers.

    Raises:
        UserError: there is no such run, or its environment cannot be built here as in training.
    """
    run = run_of(source)
    with host_settings_kept():
        return Player(load_policy(run, checkpoint, device), seed, exploration)


def evaluate(
    source: Source,
    episodes: int = 30,
    *,
    checkpoint: Literal["best", "last"] = "best",
    exploration: float | None = None,
    most_steps: int | None = None,
    seed: int = SCORE_SEED,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    num_threads: int = 0,
) -> Evaluation:
    """Scores a run over full, unclipped games; writes no file.

    Args:
        source: the run, or its directory.
        episodes: number of games to play.
        checkpoint: the weights to score.
        exploration: ε or temperature; None takes the run's evaluation value.
        most_steps: longest game, in steps; 0 is the environment's own limit, None is the run's
            setting.
        seed: seed of the games.
        device: device of the network.
        num_threads: CPU threads; 0 is one per core.

    Returns:
        The evaluation: `mean`, `ci95` (half the width of its 95% interval) and `returns`.

    Raises:
        UserError: there is no such run, or its environment cannot be built here as in training.
    """
    arguments = evaluation.Arguments(
        run=run_of(source).path,
        episodes=episodes,
        exploration=exploration,
        checkpoint=checkpoint,
        most_steps=most_steps,
        seed=seed,
        device=device,
        num_threads=num_threads,
    )
    with host_settings_kept():
        return evaluation.score(arguments)


def run_of(source: Source) -> Run:
    """Returns a run itself, or opens the run in a directory.

    Raises:
        UserError: there is no such run.
    """
    if isinstance(source, Run):
        return source
    path = Path(source)
    if names_dataset(path):
        raise UserError(
            f"'{source}' is a dataset, which holds actions and no policy;"
            f" joystick.train('bc', demos='{source}') trains a policy on it"
        )
    return Run.open(path.expanduser())


def flags(name: str, value: Any) -> list[str]:
    """A keyword as words of the command line: `video=False` becomes `--no-video`."""
    dashed = name.replace("_", "-")
    if value is None:
        return []
    if isinstance(value, bool):
        return [f"--{dashed}" if value else f"--no-{dashed}"]
    if isinstance(value, Run):
        value = value.path
    if isinstance(value, dict):
        value = json.dumps(value)
    values = value if isinstance(value, list | tuple) else [value]
    return [f"--{dashed}", *map(str, values)] if len(values) != 1 else [f"--{dashed}={values[0]}"]


@contextmanager
def host_settings_kept() -> Iterator[None]:
    """Gives torch our settings inside the context, and restores the program's own afterwards."""
    precision = torch.get_float32_matmul_precision()
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        tune_numbers()
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(precision)
            torch.set_num_threads(threads)
