"""From a command line to a trained agent: the wiring that all algorithms share."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from types import ModuleType
from typing import Any

import torch

from agents.core.logging.reporter import Reporter
from agents.core.optimize.transfer import initialize
from agents.core.runs.run import Run
from agents.core.system import distributed
from agents.core.system.device import resolve_device, tune_process
from agents.core.training.agent import Agent, OnlineAgent
from agents.core.training.algorithms import algorithm
from agents.core.training.arguments import Command, held_schedules, parse
from agents.core.training.building import TO_TRAIN, build
from agents.core.training.config import BaseConfig
from agents.core.training.experience import (
    Collector,
    OfflineTrainer,
    make_groups,
    overlaps_learning,
    spaces_of,
)
from agents.core.training.loop import Training
from agents.core.training.random_play import standardize
from agents.core.training.reporting import open_logger, score_best, totals
from envs import EnvSpec, UserError, locks
from envs.entry import command as one_line_errors
from envs.errors import Failure, NotReproduced
from envs.probe import difference
from envs.signals import Interrupted, StopSignal


def main(algo: str, args: list[str] | None = None) -> None:
    """The command line of one algorithm; exits with 2 on bad input, 1 on divergence."""
    with distributed.leaving(), one_line_errors(prints_result=False):
        tune_process()
        sys.exit(train(algo, sys.argv[1:] if args is None else args))


def train(algo: str, args: list[str]) -> int:
    """Train as the command line says; returns the exit code, 128 + n after signal n."""
    module = algorithm(algo)
    command = parse(module, args)
    config = command.config
    resumed = command.resumed
    tune_process()
    torch.manual_seed(config.seed)
    device = resolve_device(config.device)
    with distributed.joined(device.type), ExitStack() as held:
        if resumed is not None:
            lock = locks.alone(resumed.path)
            distributed.on_first_rank(lambda: held.enter_context(lock), device)
        return train_on_this_rank(module, command, device, held)


def train_on_this_rank(
    module: ModuleType, command: Command, device: torch.device, held: ExitStack
) -> int:
    """Train this rank's share of the environments; rank 0 logs and saves for all.

    Args:
        held: takes the lock of a new run; of a resumed one it has it.
    """
    config: Any = command.config
    resumed = command.resumed
    algo = module.__name__.rpartition(".")[2]
    if resumed is None:
        spec = config.spec_of(config.env_id)
    else:
        spec = EnvSpec.from_json(resumed.config()["env_spec"])
        spec.check_reproducible()
        # Only what the spec has was held against what a file may pass on.
        if spec.family == "gymnasium" and config.env_kwargs != spec.env_kwargs:
            raise UserError(f"{resumed.path}: config.json has two env_kwargs that differ")
    ours = distributed.share(config.num_envs)
    agent = build(module, config, spaces_of(spec, ours.stop - ours.start), device, TO_TRAIN)
    online = isinstance(agent, OnlineAgent)
    if distributed.size() > 1 and not (online and not agent.can_overlap):
        raise UserError(f"{algo} trains in one process: its data is not shared between ranks")
    if config.overlap_learning and not (online and agent.can_overlap):
        raise UserError(f"--overlap-learning: {algo} has no replay to learn from while it acts")
    if command.fresh_episodes and not online:
        raise UserError(f"--fresh-episodes: {algo} plays no episodes, it learns from others'")
    if config.standardize_pixels and resumed is None:
        standardize(agent.learner.network, spec)
    begun = ""
    if config.init_from and resumed is None:
        begun = initialize(agent.learner, Run.open(config.init_from))
    agent.prepare()
    differs = difference_on_any_rank(spec, device) if online else ""
    # Averages are the first rank's affair: it evaluates and saves.
    distributed.make_equal(list(agent.learner.network.state_dict().values()))
    run = resumed
    if run is None:
        run = distributed.on_first_rank(lambda: new_run(config, spec, algo, held), device)
    experience = (
        Collector(agent, make_groups(spec, config), config) if online else OfflineTrainer(agent)
    )
    training = Training(agent, spec, experience, config, run)
    notes = [not_exact(spec, differs)] if differs else []
    if resumed is not None:
        notes += restore(training, resumed, command.fresh_episodes or bool(differs))
    logger = open_logger(training)
    code = 1
    try:
        learner = agent.learner
        threads = learner.shards * learner.threads_per_shard
        ranks = f"{distributed.size()} ranks, " if distributed.size() > 1 else ""
        beside = ", learning beside acting" if overlaps_learning(config) else ""
        how = f"preset {config.preset}, {ranks}{device.type}, {threads} threads{beside}"
        parts = f"{how}, {learner.precision}"
        logger.message(f"{algo} on {spec.protocol} ({parts}) -> {run and run.path}")
        if begun:
            notes.append(f"begins where another ended: {begun}")
        for said in [*held_schedules(module, config), *notes]:
            logger.message(said)
        signum = training.train(logger)
        logger.summary(totals(training, logger.seconds))
        code = 128 + signum if signum else 0
        if run is not None and not training.saved:
            raise Failure(unsaved(run, training.step))
        if signum:
            logger.message(
                f"stopped at step {training.step:,}; --resume {run and run.path} goes on"
            )
        elif config.final_eval_episodes and distributed.rank() == 0:
            code = score(agent, training, logger)
    finally:
        logger.close(code)
        experience.close()
    return code


def new_run(config: BaseConfig, spec: EnvSpec, algo: str, held: ExitStack) -> Run:
    """A new run, whose lock `held` takes."""
    run = Run.create(config.runs_dir, spec.env_id, algo, config.seed)
    held.enter_context(locks.alone(run.path))
    return run


def difference_on_any_rank(spec: EnvSpec, device: torch.device) -> str:
    """How the environment fails to reproduce a tape on some rank, "" where it does not fail.

    All ranks must decide the same.
    """
    found = difference(spec)
    if distributed.largest(int(bool(found)), device):
        return found or "it differs on another rank"
    return ""


def not_exact(spec: EnvSpec, differs: str) -> str:
    """What a person must know of a run whose environment is not reproducible."""
    return (
        f"{spec.env_id} is not reproducible ({differs}): a resume will not be exact, its"
        " episodes begin anew; --init-from keeps the weights alone"
    )


def restore(training: Training, run: Run, fresh_episodes: bool) -> list[str]:
    """Go on from the run's newest checkpoint; returns what a person must know about it.

    Raises:
        NotReproduced: names the flag that goes on nevertheless.
    """
    try:
        training.restore(run, fresh_episodes)
    except NotReproduced as error:
        raise NotReproduced(
            f"{error}; --fresh-episodes goes on with new episodes and keeps all the rest"
        ) from None
    if not fresh_episodes:
        return []
    return ["resumed with new episodes: weights, optimizer, counters and replay are the run's"]


def score(agent: Agent, training: Training, logger: Reporter) -> int:
    """Score the best weights; returns the exit code, 128 + n where signal n stopped it."""
    with StopSignal() as stop:
        try:
            score_best(agent, training, logger)
        except Interrupted:
            path = training.run and training.run.path
            logger.message(f"training is saved, its score is not; --resume {path} scores it")
            return 128 + stop.signum
    return 0


def unsaved(run: Run, step: int) -> str:
    """What is said where training ends at a step that the disk did not take."""
    at = run.newest_step()
    kept = "nothing is saved" if at is None else f"--resume {run.path} goes on from step {at:,}"
    return f"training ended at step {step:,}, which could not be saved; {kept}"
