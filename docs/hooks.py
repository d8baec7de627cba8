"""Builds the pages that come from the code: one for each algorithm, and one of all commands."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from agents.core.training import algorithms
from joystick import commands

ROOT = Path(__file__).parents[1]
PICTURES = "../.github/"
OWN = ("a2c", "bc", "dqn", "ppo", "qrdqn", "reinforce")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name in OWN:
        page = algorithm_page(name)
        files.append(File.generated(config, f"algorithms/{name}.md", content=page))
    files.append(File.generated(config, "commands.md", content=commands_page()))
    for picture in sorted((ROOT / ".github").glob("*.png")):
        target = f"pictures/{picture.name}"
        files.append(File.generated(config, target, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    return markdown.replace(f"]({PICTURES}", "](pictures/")


def commands_page() -> str:
    """Every command with a line of what it does."""
    rows = [f"| `joystick {name}` | {each.about} |" for name, each in commands.every().items()]
    head = ["# Commands", "", "| Command | What it does |", "|---|---|"]
    note = "`joystick COMMAND --help` lists the flags of a command."
    return "\n".join([*head, *rows, "", note, ""])


def algorithm_page(name: str) -> str:
    """The paper and equation of an algorithm, and its settings by preset."""
    module = algorithms.algorithm(name)
    title = module.Config.title or name
    paper = (module.__doc__ or "").strip()
    text = [f"# {title}", "", "```text", paper, "```", "", "## Settings by preset", ""]
    return "\n".join([*text, *settings_table(module), ""])


def settings_table(module: ModuleType) -> list[str]:
    """A row for each setting of an algorithm, a column for each of its presets."""
    presets: dict[str, Any] = module.PRESETS
    lines = [
        "| Flag | " + " | ".join(f"`{preset}`" for preset in presets) + " |",
        "|---" * (len(presets) + 1) + "|",
    ]
    for field in dataclasses.fields(module.Config):
        if field.init and field.name != "preset":
            values = [shown(getattr(preset, field.name)) for preset in presets.values()]
            flag = "env" if field.name == "env_id" else field.name.replace("_", "-")
            lines.append(f"| `--{flag}` | " + " | ".join(values) + " |")
    return lines


def shown(value: Any) -> str:
    """A value as a cell of a table."""
    text = str(value).replace("|", "\\|")
    return f"`{text}`" if text else ""
