"""Puts what comes from the code into the pages of the site.

A page has a mark such as `<!-- settings: dqn -->` or `<!-- commands -->` where a table goes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import tables
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from envs import program

ROOT = Path(__file__).parents[1]
PICTURES = "../.github/"
OF_THE_ROOT = ("CONTRIBUTING", "CHANGELOG")
"""Pages that are files beside the README."""
MARK = re.compile(r"^<!-- (commands|settings: (\w+)) -->$", re.MULTILINE)


def on_startup(**_: Any) -> None:
    # Docstrings then name commands as a person types them: `joystick dqn`.
    program.called("joystick")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for picture in sorted((ROOT / ".github").glob("*.png")):
        target = f"pictures/{picture.name}"
        files.append(File.generated(config, target, abs_src_path=str(picture)))
    for name in OF_THE_ROOT:
        path = str(ROOT / f"{name}.md")
        files.append(File.generated(config, f"{name.lower()}.md", abs_src_path=path))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    return MARK.sub(made, markdown).replace(f"]({PICTURES}", "](pictures/")


def made(mark: re.Match[str]) -> str:
    """What a mark stands for."""
    return tables.of_algorithm(mark[2]) if mark[2] else tables.of_commands()
