"""`python -m agents.report runs/ -o report.html` makes a page of the runs in a directory.

python -m agents.report runs/ --serve            the same page, kept up to date while runs train
python -m agents.report runs/ --csv curves.csv   all curves as one tidy table
python -m agents.report runs/ --tensorboard tb   event files: pip install -e ".[tensorboard]"
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from agents.core.training.config import require
from agents.report import demonstrations, export, page, serve
from agents.report.content import Content, assemble
from agents.report.reading import Reader
from demos.dataset import write
from envs import command_line
from envs.entry import command as one_line_errors
from envs.output import tell
from envs.text import counted

MOST_FILM_MB = 200.0
"""Largest page that browsers still open."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    runs: tyro.conf.Positional[Path] = Path("runs")  # A run, or a directory of runs.
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("report.html")  # The page to write.
    csv: Path | None = None  # Write all curves as CSV to this file instead.
    tensorboard: Path | None = None  # Write TensorBoard files to this directory instead.
    serve: bool = False  # Serve the page on this machine instead.
    port: int = 8000  # Port of --serve, at 127.0.0.1.
    read_every_seconds: float = 10.0  # Seconds between two readings of the runs with --serve.
    demos: tuple[str, ...] = ()  # More datasets to show, beside the found and the shipped ones.
    demo_films: int = 2  # Episodes of a dataset to film, from the best to the worst.
    film_mb: float = 8.0  # Largest size of all films in a page; it names the films left out.


def maker(arguments: Arguments) -> Callable[[], Content]:
    """Returns a function that reads the runs at each call; the demonstrations are read once."""
    reader = Reader(arguments.runs)
    runs, _ = reader.read()
    paths = demonstrations.shown(arguments.runs, arguments.demos, runs)
    datasets = [demonstrations.described(path, arguments.demo_films) for path in paths]
    return lambda: assemble(arguments.runs.resolve().name, *reader.read(), datasets)


def report(arguments: Arguments) -> None:
    """Writes or serves the report in the form that is asked for."""
    require(arguments.demo_films >= 0, "demo_films", arguments.demo_films, "at least 0")
    allowed = f"between 0 and {MOST_FILM_MB:g}"
    require(0 <= arguments.film_mb <= MOST_FILM_MB, "film_mb", arguments.film_mb, allowed)
    require(0 <= arguments.port < 65536, "port", arguments.port, "between 0 and 65535")
    every = arguments.read_every_seconds
    require(1 <= every <= 3600, "read_every_seconds", every, "between 1 and 3600")
    if arguments.csv is not None:
        lines = export.write_csv(Reader(arguments.runs).read()[0], arguments.csv)
        tell(f"wrote {arguments.csv}: {counted(lines, 'value')}")
    elif arguments.tensorboard is not None:
        count = export.write_tensorboard(Reader(arguments.runs).read()[0], arguments.tensorboard)
        tell(f"wrote {counted(count, 'run')}: tensorboard --logdir {arguments.tensorboard}")
    elif arguments.serve:
        serve.serve(maker(arguments), arguments.port, every)
    else:
        made = maker(arguments)()
        text = page.build(made, arguments.film_mb)
        write(arguments.out, text.encode())
        runs = counted(len(made.data["runs"]), "run")
        tell(f"wrote {arguments.out}: {runs}, {len(text) / 1e6:.1f} MB")


def main(args: list[str] | None = None) -> None:
    """Runs the command and exits; the exit code is 2 on bad input."""
    with one_line_errors():
        report(
            command_line.parse(
                Arguments, args=args, prog="python -m agents.report", description=__doc__
            )
        )
    sys.exit(0)


if __name__ == "__main__":
    main()
