"""`python -m agents` lists the algorithms: a line, a paper and the command of each."""

from __future__ import annotations

import re
from types import ModuleType

from rich.console import Console
from rich.table import Table

from agents.core.training.algorithms import algorithm, algorithms
from envs import signals
from envs.entry import command


def main() -> None:
    with command():
        with signals.importing():
            modules = {name: algorithm(name) for name in algorithms()}
        show(modules)


def show(modules: dict[str, ModuleType]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("command", no_wrap=True)
    table.add_column("what")
    table.add_column("paper", no_wrap=True)
    for name, module in modules.items():
        text = module.__doc__ or ""
        paper = re.search(r"https?://[^\s,)]+", text)
        link = paper.group().rstrip(".") if paper else ""
        table.add_row(f"python -m agents.{name}", text.splitlines()[0].rstrip("."), link)
    console = Console()
    console.print(table)
    console.print("\npython -m agents.evaluate runs/<run>    score a run over full games")


if __name__ == "__main__":
    main()
