"""Runs a sweep: Optuna chooses each trial from the earlier ones. A folder keeps the sweep:

sweep.yaml        the file of the sweep
study.db          Optuna's trials, as SQLite: numbers, texts and JSON
.lock             lock of the process that runs the sweep, see `envs.locks`
<trial>/          output.txt and the run
"""

from __future__ import annotations

import os
import shlex
import signal
import time
from pathlib import Path

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from agents.report.parsing import is_number
from agents.report.reading import find
from agents.sweep.plan import MOST_BYTES, Plan, corners, program_words, python_command
from agents.sweep.trials import Outcome, run_trial
from envs import UserError, locks, signals
from envs.errors import first_line
from envs.files import is_directory, open_regular, read_regular, write_atomically
from envs.output import cell, tell
from envs.text import plain

DATABASE = ("study.db", "study.db-journal", "study.db-wal", "study.db-shm")

MOST_STUDY_BYTES = 1 << 30

ENDED = {"finished": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}
"""Optuna's state for each end of a trial."""


def run(plan: Plan, file: Path, out: Path, trials: int, seed: int) -> int:
    """Runs the missing trials and shows all trials; returns the exit code.

    Raises:
        UserError: as `open_study`, or another process runs a sweep in the folder.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {error.filename or out}: {error.strerror}") from None
    with locks.alone(out):
        return run_alone(plan, file, out, trials, seed)


def run_alone(plan: Plan, file: Path, out: Path, trials: int, seed: int) -> int:
    """As `run`, while the folder is locked."""
    study = open_study(plan, file, out)
    code = 0
    # An exception inside the database's code could leave half a transaction.
    with signals.StopSignal():
        try:
            while len(ended(study)) < trials:
                signals.check()
                one_trial(study, plan, out, seed)
        except KeyboardInterrupt:
            done = len(ended(study))
            tell(f"stopped after {done} of {trials} trials; the same command continues")
            code = 128 + (signals.received() or signal.SIGINT)
        best = show(study, plan, out)
    return code or (0 if best else 1)


def open_study(plan: Plan, file: Path, out: Path) -> optuna.Study:
    """Opens the study in a folder, or makes a new one.

    Raises:
        UserError: the folder holds another sweep or a damaged one, or cannot be written.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    kept = out / "sweep.yaml"
    try:
        out.mkdir(parents=True, exist_ok=True)
        wanted = read_regular(file, MOST_BYTES)
        if os.path.lexists(kept) and read_regular(kept, MOST_BYTES) != wanted:
            raise UserError(f"{out} has another sweep than {file}: name a new folder with --out")
        write_atomically(kept, wanted)
        for name in DATABASE:
            if os.path.lexists(out / name):
                # SQLite would follow a link or wait for a FIFO.
                open_regular(out / name, MOST_STUDY_BYTES).close()
    except OSError as error:
        raise UserError(f"--out {error.filename or out}: {error.strerror}") from None
    try:
        study = optuna.create_study(
            storage=f"sqlite:///{out / 'study.db'}",
            study_name="sweep",
            direction="maximize" if plan.maximize else "minimize",
            pruner=pruner(plan),
            load_if_exists=True,
        )
        trials = study.get_trials(deepcopy=False)
        for place, trial in enumerate(trials):
            require_form(trial, place, plan)
        for trial in [each for each in trials if each.state == TrialState.RUNNING]:
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params)
    except Exception as error:
        reason = first_line(error)
        raise UserError(f"{out / 'study.db'} cannot be read: {reason}") from None
    return study


def require_form(trial: FrozenTrial, place: int, plan: Plan) -> None:
    """Checks that a trial in the database fits the plan.

    SQLite stores values of any type in any column, and users copy the printed command of the best
    trial.

    Raises:
        ValueError: the trial's number, its score or one of its values does not fit.
    """
    if type(trial.number) is not int or trial.number != place:
        raise ValueError(f"trial {place} has the number {plain(trial.number)}")
    scores = [trial.value, *trial.intermediate_values.values()]
    if not all(score is None or is_number(score) for score in scores):
        raise ValueError(f"trial {place} has a score that is not a number")
    for name, value in trial.params.items():
        if name not in plan.parameters or not possible(value, plan.parameters[name]):
            raise ValueError(f"trial {place} tried {plain(name)} {plain(value)}")


def possible(value: object, drawn_from: BaseDistribution) -> bool:
    """Whether a distribution can give this value."""
    if isinstance(drawn_from, CategoricalDistribution):
        return any(value == each and type(value) is type(each) for each in drawn_from.choices)
    first, last = corners(drawn_from)
    return is_number(value) and float(first or 0) <= float(value) <= float(last or 0)


def pruner(plan: Plan) -> optuna.pruners.BasePruner:
    """The pruner of W&B's Hyperband: at each rung, only the best trials so far continue."""
    if plan.stop_after == 0:
        return optuna.pruners.NopPruner()
    return optuna.pruners.SuccessiveHalvingPruner(
        min_resource=plan.stop_after, reduction_factor=plan.stop_factor
    )


def sampler(method: str, seed: int, number: int) -> optuna.samplers.BaseSampler:
    """The sampler of one trial; a continued sweep chooses as an uninterrupted one."""
    drawn = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    kinds = {"bayes": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    return kinds[method](seed=drawn)


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that ended by themselves, without the trials that the user interrupted."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or "error" in trial.user_attrs
    ]


def one_trial(study: optuna.Study, plan: Plan, out: Path, seed: int) -> None:
    """Chooses a trial, runs it and stores its outcome."""
    study.sampler = sampler(plan.method, seed, len(study.get_trials(deepcopy=False)))
    trial = study.ask(plan.parameters)
    folder = out / f"{trial.number:03d}"
    start = time.monotonic()
    tell(f"trial {trial.number}: {in_words(trial.params)}")

    def report(evaluation: int, value: float) -> bool:
        trial.report(value, evaluation)
        return not trial.should_prune()

    arguments = plan.arguments(trial.params)
    where = [f"--runs-dir={folder}", "--wandb=disabled"]
    try:
        command = python_command(plan, [*arguments, *where])
        outcome = run_trial(command, folder, plan.metric, report)
    except KeyboardInterrupt:
        study.tell(trial, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)
        raise
    trial.set_user_attr("seconds", round(time.monotonic() - start, 1))
    if outcome.state == "failed":
        trial.set_user_attr("error", outcome.error)
    values = outcome.score if outcome.state == "finished" else None
    study.tell(trial, values, state=ENDED[outcome.state])
    tell(f"trial {trial.number}: {told(outcome, plan.metric)}")


def told(outcome: Outcome, metric: str) -> str:
    """An outcome as text."""
    if outcome.state == "failed":
        return f"failed: {outcome.error}"
    return f"{outcome.state}, {metric} {outcome.score:g}"


def in_words(values: dict[str, object]) -> str:
    """The values of a trial as text."""
    return ", ".join(f"{name} {short(value)}" for name, value in values.items())


def short(value: object) -> str:
    """A value as text; a float has four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def show(study: optuna.Study, plan: Plan, out: Path) -> FrozenTrial | None:
    """Prints all trials, best first, and the command that repeats the best; returns the best."""
    sign = -1 if plan.maximize else 1
    ranks = {TrialState.COMPLETE: 0, TrialState.PRUNED: 1, TrialState.FAIL: 2}
    trials = sorted(
        ended(study),
        key=lambda each: (ranks[each.state], sign * (each.value if each.value is not None else 0)),
    )
    words = {state: word for word, state in ENDED.items()}
    table = Table(box=None, pad_edge=False)
    for name in ("trial", "", plan.metric, "seconds", *plan.parameters):
        table.add_column(cell(name), justify="right" if name else "left")
    for each in trials:
        score = "" if each.value is None else short(float(each.value))
        taken = each.user_attrs.get("seconds")
        seconds = f"{taken:.0f}" if is_number(taken) else ""
        values = [short(each.params.get(name, "")) for name in plan.parameters]
        table.add_row(*map(cell, (each.number, words[each.state], score, seconds, *values)))
    if trials:
        # A terminal wraps long lines; with its real width, rich would cut them.
        Console(width=1_000).print(table)
    if not trials or trials[0].state != TrialState.COMPLETE:
        tell("no trial has finished")
        return None
    best = trials[0]
    folder = out / f"{best.number:03d}"
    runs = find(folder)[0] if is_directory(folder) else []
    tell(f"best: trial {best.number}, {runs[0] if runs else 'its run is gone'}")
    tell(shlex.join(["python", *program_words(plan), *plan.arguments(best.params)]))
    return best
