"""From a command line to a trained agent: the wiring that all algorithms share."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch

import envs
from agents.core.logging.reporter import Reporter
from agents.core.optimize.transfer import initialize
from agents.core.runs import earlier_names
from agents.core.runs.run import Run
from agents.core.system import distributed
from agents.core.system.device import resolve_device, tune_process
from agents.core.training.agent import Agent, OnlineAgent
from agents.core.training.building import TO_TRAIN, build
from agents.core.training.config import MAY_CHANGE_ON_RESUME, BaseConfig, flag, from_json, require
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
from envs import EnvSpec, UserError, command_line, locks
from envs.catalog import canonical_id
from envs.entry import command as one_line_errors
from envs.errors import Failure, NotReproduced, did_you_mean
from envs.probe import difference
from envs.signals import Interrupted, StopSignal


def main(algo: str, args: list[str] | None = None) -> None:
    """The command line of one algorithm; exits with 2 on bad input, 1 on divergence."""
    with distributed.leaving(), one_line_errors(prints_result=False):
        tune_process()
        sys.exit(train(algo, sys.argv[1:] if args is None else args))


def algorithm(name: str) -> ModuleType:
    """The module `agents.<name>`; a UserError with the nearest match when there is none."""
    names = algorithms()
    if name not in names:
        allowed = ", ".join(names)
        raise UserError(
            f"unknown algorithm '{name}' (known: {allowed})" + did_you_mean(name, names)
        )
    return importlib.import_module(f"agents.{name}")


def algorithms() -> list[str]:
    """Names of the modules of this package that build an agent."""
    folder = Path(__file__).parents[2]
    return sorted(
        file.stem for file in folder.glob("*.py") if "\ndef build(" in file.read_text("utf-8")
    )


class Command(NamedTuple):
    """What a command line asks for.

    Attributes:
        resumed: the run to go on with, if any.
        fresh_episodes: it goes on with new episodes, not with those that were under way.
    """

    config: BaseConfig
    resumed: Run | None
    fresh_episodes: bool


def parse(module: ModuleType, args: list[str]) -> Command:
    """What a command line of an algorithm asks for.

    Defaults come from `--preset`; or from the run of `--resume`, most of whose settings must stay.
    """
    args = earlier_names.flags(command_line.hyphenated(args))
    first = command_line.Flags()
    first.add_argument("--preset", default="auto")
    first.add_argument("--env", default=None)
    first.add_argument("--resume", type=command_line.path, default=None)
    first.add_argument("--fresh-episodes", action="store_true")
    chosen, rest = first.parse_known_args(args)
    if chosen.fresh_episodes and chosen.resume is None:
        raise UserError("--fresh-episodes: only a run of --resume has episodes to replace")
    second = command_line.Flags()
    second.add_argument("--device", default="auto")
    device = second.parse_known_args(args)[0].device
    run = Run.open(chosen.resume) if chosen.resume else None
    if run is not None:
        require_algorithm(run, module)
        run.require_no_links()
        saved = run.config()
        default = from_json(module.Config, saved["config"])
        same = chosen.preset in ("auto", default.preset)
        require(same, "preset", chosen.preset, f"{default.preset}, that of the run")
    else:
        default = preset(module, chosen.preset, chosen.env, device)
    presets = "|".join(["auto", *module.PRESETS])
    config = command_line.parse(
        module.Config,
        default=default,
        args=rest,
        prog=f"python -m {module.__name__}",
        description=(
            f"{module.__doc__}\n--preset {presets}    --resume runs/<run>\n{HELD}\n{AFRESH}"
        ),
    )
    if run is not None:
        refuse_changes(default, config, chosen.env)
    else:
        config = hold_schedules(config, {command_line.flag_of(word) for word in rest})
    config.validate()
    return Command(config, run, chosen.fresh_episodes)


HELD = "A schedule whose start alone is given stays there: --clip 0.1 is 0.1 to the end."


AFRESH = "--resume RUN --fresh-episodes goes on where an environment is not reproducible."


def hold_schedules(config: Any, given: set[str]) -> Any:
    """The config with each schedule constant whose start is among the flags and nothing else.

    A preset's end belongs to the preset's start: with another start it would be a schedule that
    nobody asked for.
    """
    held: dict[str, Any] = {}
    for schedule in config.schedules:
        rest = {flag(schedule.end), flag(schedule.steps)}
        if flag(schedule.start) in given and not rest & given:
            held[schedule.end] = getattr(config, schedule.start)
    return dataclasses.replace(config, **held)


def held_schedules(module: ModuleType, config: Any) -> list[str]:
    """In words, which schedules of the run's preset are constant in the run."""
    preset = module.PRESETS[config.preset]
    said: list[str] = []
    for start, end, _ in config.schedules:
        usual = getattr(preset, start), getattr(preset, end)
        value, last = getattr(config, start), getattr(config, end)
        if value == last and usual[1] not in (last, usual[0]):
            said.append(f"{flag(start)} {value:g} stays; {flag(end)} would move it")
    return said


def require_algorithm(run: Run, module: ModuleType) -> None:
    """Raise a UserError, with the right command, where another algorithm made the run."""
    name = module.__name__.rpartition(".")[2]
    if run.algo != name:
        raise UserError(
            f"{run.path} is a run of {run.algo}, and this is {name}; "
            f"python -m agents.{run.algo} --resume {run.path} goes on with it"
        )


def preset(module: ModuleType, name: str, env_id: str | None, device: str) -> Any:
    """The preset of that name for that environment, which may be None for the preset's own.

    `auto` is `atari` for Atari games, on a GPU `atari-gpu` where there is one, and `control` for
    everything else.
    """
    if name == "auto":
        atari = env_id is None or envs.spec(env_id).family == "atari"
        name = "atari" if atari else "control"
        on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        if on_gpu and f"{name}-gpu" in module.PRESETS:
            name = f"{name}-gpu"
    if name not in module.PRESETS:
        known = ["auto", *module.PRESETS]
        near = did_you_mean(name, known)
        raise UserError(f"unknown preset '{name}' (known: {', '.join(known)}){near}")
    chosen = {"preset": name} | ({"env_id": env_id} if env_id else {})
    return dataclasses.replace(module.PRESETS[name], **chosen)


def refuse_changes(saved: Any, config: Any, env_id: str | None) -> None:
    """Raise a UserError for a setting that a resumed run cannot change."""
    if env_id is not None and canonical_id(env_id) != canonical_id(saved.env_id):
        raise UserError(f"--env {env_id}: the run to resume is of {saved.env_id}")
    for field in dataclasses.fields(saved):
        before, after = getattr(saved, field.name), getattr(config, field.name)
        if before != after and field.name not in MAY_CHANGE_ON_RESUME:
            raise UserError(
                f"--{field.name.replace('_', '-')} {after}: a resumed run keeps its {before}; "
                f"only {', '.join(sorted(MAY_CHANGE_ON_RESUME))} may change"
            )


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
