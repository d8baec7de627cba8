"""`python -m agents.sweep sweeps/dqn.yaml --trials 20` tries settings on this machine, with Optuna.

The file is a W&B sweep, or a name such as `dqn` stands for a sweep that comes with Joystick. Trials
run one after another; each is a separate training. The same command continues an earlier sweep. It
needs pip install -e ".[sweep]", and no account.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from agents.core.training.config import require
from envs import UserError, command_line
from envs.entry import command as one_line_errors
from envs.output import tell


@dataclass(frozen=True, kw_only=True)
class Arguments:
    file: tyro.conf.Positional[
        Path
    ]  # The sweep's YAML, or the name of a shipped sweep, such as dqn.
    trials: int = 20  # Total number of trials, including the trials of earlier calls.
    out: Path | None = None  # Folder of the sweep; None is runs/sweeps/<name of the file>.
    seed: int = 1  # Seed of the sampler, which chooses each trial's settings.


def sweep(arguments: Arguments) -> int:
    """Runs the sweep; returns the exit code."""
    require(arguments.trials >= 1, "trials", arguments.trials, "at least 1")
    require(arguments.seed >= 0, "seed", arguments.seed, "at least 0")
    try:
        import optuna  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ModuleNotFoundError:
        raise UserError("a sweep needs Optuna: pip install -e '.[sweep]'") from None
    from agents.sweep import plan, shipped, study

    file = shipped.located(arguments.file)
    if file != arguments.file:
        tell(f"{arguments.file} is the shipped sweep {file}")
    out = arguments.out or Path("runs") / "sweeps" / file.stem
    wanted = plan.read(file)
    return study.run(wanted, file, out, arguments.trials, arguments.seed)


def main(args: list[str] | None = None) -> None:
    """Runs the command and exits; the exit code is 2 on bad input."""
    with one_line_errors():
        code = sweep(
            command_line.parse(
                Arguments, args=args, prog="python -m agents.sweep", description=__doc__
            )
        )
        sys.exit(code)


if __name__ == "__main__":
    main()
