"""Trains an algorithm from a command line. All algorithms share this code."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from types import ModuleType
from typing import Any, NamedTuple

import torch

from agents.core.logging.reporter import Reporter
from agents.core.optimize.transfer import initialize
from agents.core.runs.run import Run
from agents.core.system import distributed
from agents.core.system.device import resolve_device, tune_process
from agents.core.training import reporting
from agents.core.training.algorithms import algorithm, name_of
from agents.core.training.arguments import Command, held_schedules, parse
from agents.core.training.building import TO_TRAIN, build_policy, spaces_of
from agents.core.training.callbacks import Callbacks
from agents.core.training.config import BaseConfig
from agents.core.training.loop import NO_CALLBACKS, Training
from agents.core.training.random_play import standardize
from agents.core.training.trainers import trainer_of
from envs import EnvSpec, UserError, locks, plugins, progress
from envs.entry import command as one_line_errors
from envs.errors import Failure, NotReproduced
from envs.probe import difference
from envs.signals import Interrupted, StopSignal


class Trained(NamedTuple):
    """The result of a training.

    Attributes:
        code: the exit code of a command: 0, or 128 + n after signal n.
        run: the run; None on a rank that saves nothing.
    """

    code: int
    run: Run | None


def main(algo: str, args: list[str] | None = None) -> None:
    """Runs the command line of one algorithm; exits with 2 on bad input, 1 on divergence."""
    with distributed.leaving(), one_line_errors(prints_result=False):
        sys.exit(train(algo, sys.argv[1:] if args is None else args))


def train(algo: str, args: list[str]) -> int:
    """Trains as the command line says; returns the exit code, 128 + n after signal n."""
    tune_process()
    return train_run(algo, args).code


def train_run(
    algo: str, args: list[str], callbacks: Callbacks = NO_CALLBACKS, console: bool = True
) -> Trained:
    """Trains as the command line says, without changing the settings of the process.

    Args:
        console: whether to print progress.
    """
    args = plugins.taken(args)
    module = algorithm(algo)
    command = parse(module, args)
    torch.manual_seed(command.config.seed)
    device = resolve_device(command.config.device)
    with distributed.joined(device.type), ExitStack() as held:
        if command.resumed is not None:
            lock = locks.alone(command.resumed.path)
            distributed.on_first_rank(lambda: held.enter_context(lock), device)
        with progress.showing(console and distributed.rank() == 0):
            training, notes = prepare(module, command, device, held, callbacks)
        logger = reporting.open_logger(training, console)
        for line in [reporting.headline(training), *notes]:
            logger.message(line)
        return Trained(finish(training, logger), training.run)


def prepare(
    module: ModuleType,
    command: Command,
    device: torch.device,
    held: ExitStack,
    callbacks: Callbacks,
) -> tuple[Training, list[str]]:
    """Prepares this rank's share of a training, at its first step or at the step to resume from.

    Args:
        held: receives the lock of a new run, and the trainer to close at the end. It already holds
            the lock of a resumed run.

    Returns:
        The training, and lines to print about it.
    """
    config: Any = command.config
    name = name_of(module)
    spec = spec_of(command)
    learning, begun = make_algorithm(module, command, spec, device)
    trainer = trainer_of(module)
    trainer.check(name, learning, config, command.fresh_episodes)
    differs = difference_on_any_rank(spec, device) if trainer.steps_environments else ""
    # Averaged weights need not be equal: only the first rank evaluates and saves.
    distributed.make_equal(list(learning.policy.network.state_dict().values()))
    run = command.resumed
    if run is None:
        run = distributed.on_first_rank(lambda: new_run(config, spec, name, held), device)
    made = trainer.make(learning, spec, config, run)
    held.callback(made.close)
    training = Training(learning, spec, made, config, run, callbacks)
    notes = held_schedules(module, config)
    if differs:
        notes.append(reporting.not_exact(spec, differs))
    if command.resumed is not None:
        notes += restore(training, command.resumed, command.fresh_episodes or bool(differs))
    if begun:
        notes.append(reporting.begun(begun))
    return training, notes


def make_algorithm(
    module: ModuleType, command: Command, spec: EnvSpec, device: torch.device
) -> tuple[Any, str]:
    """Makes the algorithm with its first weights.

    Returns:
        The algorithm, and a line that names the weights of `--init-from`, or "".
    """
    config: Any = command.config
    ours = distributed.share(config.num_envs)
    spaces = spaces_of(spec, ours.stop - ours.start)
    policy = build_policy(module, config, spaces, device, TO_TRAIN)
    begun = ""
    if command.resumed is None:
        if config.standardize_pixels:
            standardize(policy.network, spec)
        if config.init_from:
            begun = initialize(policy, Run.open(config.init_from))
    return module.make_algorithm(config, policy), begun


def finish(training: Training, logger: Reporter) -> int:
    """Trains to the end and scores the run; returns the exit code, 128 + n after signal n."""
    config = training.config
    run = training.run
    code = 1
    try:
        signum = training.train(logger)
        logger.summary(reporting.totals(training, logger.seconds))
        code = 128 + signum if signum else 0
        if run is not None and not training.saved:
            raise Failure(reporting.unsaved(run, training.step))
        if signum:
            logger.message(reporting.stopped(training))
        elif config.final_eval_episodes and distributed.rank() == 0:
            code = score(training, logger)
    finally:
        logger.close(code)
    return code


def spec_of(command: Command) -> EnvSpec:
    """The environment that the command names, or the original environment of a resumed run.

    Raises:
        UserError: a resumed run's environment cannot be rebuilt here.
    """
    config = command.config
    resumed = command.resumed
    if resumed is None:
        return config.spec_of(config.env_id)
    spec = EnvSpec.from_json(resumed.config()["env_spec"])
    spec.check_reproducible()
    # `EnvSpec.from_json` checks the arguments of the spec; the config's must be the same.
    if spec.family == "gymnasium" and config.env_kwargs != spec.env_kwargs:
        raise UserError(f"{resumed.path}: config.json has two env_kwargs that differ")
    return spec


def new_run(config: BaseConfig, spec: EnvSpec, algo: str, held: ExitStack) -> Run:
    """Creates a run; `held` receives its lock."""
    run = Run.create(config.runs_dir, spec.env_id, algo, config.seed)
    held.enter_context(locks.alone(run.path))
    return run


def difference_on_any_rank(spec: EnvSpec, device: torch.device) -> str:
    """How the environment fails to reproduce a tape on any rank; "" if it reproduces it.

    Every rank gets the same answer, because all ranks must act alike.
    """
    found = difference(spec)
    if distributed.largest(int(bool(found)), device):
        return found or "it differs on another rank"
    return ""


def restore(training: Training, run: Run, fresh_episodes: bool) -> list[str]:
    """Goes on from the run's newest checkpoint; returns lines to print about it.

    Raises:
        NotReproduced: the environments differ; the error names the flag that goes on nevertheless.
    """
    try:
        training.restore(run, fresh_episodes)
    except NotReproduced as error:
        raise NotReproduced(
            f"{error}; --fresh-episodes goes on with new episodes and keeps all the rest"
        ) from None
    return [reporting.FRESH_EPISODES] if fresh_episodes else []


def score(training: Training, logger: Reporter) -> int:
    """Scores the best weights; returns the exit code, 128 + n if signal n stops it."""
    with StopSignal() as stop:
        try:
            reporting.score_best(training, logger)
        except Interrupted:
            logger.message(reporting.unscored(training))
            return 128 + stop.signum
    return 0
