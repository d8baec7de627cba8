"""Train, load and evaluate from Python.

Errors are exceptions: `joystick.UserError` for what was asked, `joystick.Failure` for what went
wrong meanwhile. Nothing exits, reads `sys.argv` or handles signals, so that all of it works in a
notebook and in a thread. One training at a time is reproducible: torch's random numbers and
threads are settings of the whole process.
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
from demos.metadata import FILE as METADATA_FILE
from demos.shipped import shipped
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
    """Train an agent; `joystick.train("dqn", env="Pong")` is `joystick dqn --env Pong`.

        run = joystick.train("dqn", env="CartPole-v1", total_steps=50_000, seed=1)

    Args:
        algorithm: its name, such as "dqn".
        callbacks: each told of rounds, evaluations and checkpoints. Where `on_step` returns True,
            training ends: the checkpoint is written, and the run is scored.
        progress: whether progress is printed.
        plugin: Python files with algorithms or networks of yours.
        settings: as flags of the command line, `total_steps` for `--total-steps`. None is the
            default. `resume` goes on with a run.

    Returns:
        The run. `run.path` is its directory.

    Raises:
        UserError: a setting is unknown or cannot work.
        Failure: a loss was not finite, or the disk did not take the last checkpoint.
    """
    for path in [plugin] if isinstance(plugin, str | Path) else plugin:
        plugins.load(path)
    told = (callbacks,) if isinstance(callbacks, Callback) else tuple(callbacks)
    for each in told:
        if not isinstance(each, Callback):
            raise UserError(f"callbacks: {each!r} is no joystick.Callback")
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
    """The trained policy of a run.

    Args:
        source: the run, or its directory.
        checkpoint: which weights.
        device: where its network runs.
        exploration: ε or temperature; None is the run's own for evaluations.
        seed: of its random numbers.

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
    """Score a run over full, unclipped games; nothing is written.

    Args:
        source: the run, or its directory.
        episodes: games to play.
        checkpoint: which weights.
        exploration: ε or temperature; None is the run's own for evaluations.
        most_steps: steps of a game at most, 0 is its own limit; None is the run's.
        seed: of the games.
        device: where the network runs.
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
    """The run of a directory; a run itself.

    Raises:
        UserError: there is none.
    """
    if isinstance(source, Run):
        return source
    path = Path(source).expanduser()
    is_shipped = not path.exists() and str(source) in shipped()
    if is_shipped or (path / METADATA_FILE).exists():
        raise UserError(
            f"'{source}' is a dataset, which keeps the actions and not the policy;"
            f" joystick.train('bc', demos='{source}') makes a policy of it"
        )
    return Run.open(path)


def flags(name: str, value: Any) -> list[str]:
    """A keyword as words of the command line: `video=False` is `--no-video`."""
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
    """Inside it torch has our settings; after it, the program's own, and its random numbers."""
    precision = torch.get_float32_matmul_precision()
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        tune_numbers()
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(precision)
            torch.set_num_threads(threads)
