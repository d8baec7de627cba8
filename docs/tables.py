"""Tables of flags in Markdown, from the dataclasses that `--help` describes."""

from __future__ import annotations

import dataclasses
import inspect
import re
from importlib import import_module
from types import ModuleType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import tyro

from agents.core.training import algorithms, help
from agents.core.types.settings import flag
from envs import program
from joystick import commands, completion

HEAD = ("Flag", "Value", "What it does", "Default")
POSITIONAL = get_args(tyro.conf.Positional[int])[1]
COMMAND_OF_OURS = re.compile(r"\s*(python -m |joystick )")


def of_commands() -> str:
    """All commands in a table; below it the flags of each."""
    trainings = commands.trainings()
    rows = [
        (f"[`joystick {name}`]({page_of(name)})", each.about)
        for name, each in commands.every().items()
    ]
    flags = [(code(term), cell(text)) for term, text in help.FLAGS.items()]
    parts = [
        table(("Command", "What it does"), rows),
        "## Training",
        f"All of {', '.join(code(f'joystick {name}') for name in trainings)} take these flags:",
        table(("Flag", "What it does"), flags),
        "All other flags are settings, which the page of the algorithm lists.",
    ]
    parts += [of_tool(name) for name in commands.TOOLS]
    return "\n\n".join(parts)


def page_of(name: str) -> str:
    """Where the flags of a command are, seen from the page of all commands."""
    return f"#joystick-{name}" if name in commands.TOOLS else f"algorithms/{name}.md"


def of_tool(name: str) -> str:
    """What a command does that trains nothing, and its flags; or its subcommands'."""
    kind = completion.settings_of(name)
    about = import_module(commands.TOOLS[name].module).__doc__ or ""
    parts = [f"## joystick {name}", prose(about)]
    if dataclasses.is_dataclass(kind):
        return "\n\n".join([*parts, of_settings(kind)])
    for each in get_args(kind):
        about = prose(inspect.getdoc(each) or "")
        title = f"### joystick {name} {each.__name__.lower()}"
        parts += [title, about, of_settings(each)]
    return "\n\n".join(parts)


def of_settings(kind: Any) -> str:
    """The flags of a command's dataclass; what is typed without a flag comes first."""
    hints = get_type_hints(kind, include_extras=True)
    fields = sorted(dataclasses.fields(kind), key=lambda each: not positional(hints[each.name]))
    rows = []
    for each in fields:
        spelled = typed_as(each.name, hints[each.name])
        about = cell(help.explanation(kind, each.name))
        rows.append((code(spelled), value(hints[each.name]), about, default(each)))
    return table(HEAD, rows)


def of_algorithm(name: str) -> str:
    """What the presets of an algorithm differ in, and its settings by part."""
    module = algorithms.algorithm(name)
    first = next(iter(module.PRESETS))
    config = module.PRESETS[first]
    hints = get_type_hints(module.Config, include_extras=True)
    parts = ["## Presets", of_presets(module), "## Settings"]
    parts.append(f"A default is the preset `{first}`'s, which is for Atari games.")
    for title, settings in help.groups(module.Config, name).items():
        rows = []
        for each in settings:
            allowed = presets_of(module) if each == "preset" else value(hints[each])
            about = cell(help.explanation(module.Config, each))
            default = "auto" if each == "preset" else shown(getattr(config, each))
            rows.append((code(typed_as(each, hints[each])), allowed, about, code(default)))
        parts += [f"### {title}", table(HEAD, rows)]
    return "\n\n".join(parts)


def of_presets(module: ModuleType) -> str:
    """A row for each setting that some presets have otherwise, a column for each preset.

    A cell is empty where the value is the first preset's.
    """
    presets: dict[str, Any] = module.PRESETS
    algo = algorithms.name_of(module)
    rows = []
    for name in [each for group in help.groups(module.Config, algo).values() for each in group]:
        first, *others = [getattr(each, name) for each in presets.values()]
        if name != "preset" and any(other != first for other in others):
            # 8 is a float's value too, and reads as another beside 8.0.
            alike = [float(each) if isinstance(first, float) else each for each in others]
            differing = ["" if other == first else code(shown(other)) for other in alike]
            rows.append((code(flag(name)), code(shown(first)), *differing))
    head = ("Flag", *(code(each) for each in presets))
    return table(head, rows) + "\n\nAn empty cell is the first preset's value."


def presets_of(module: ModuleType) -> str:
    return spelled_out(help.choices(("auto", *module.PRESETS)))


def typed_as(name: str, kind: Any) -> str:
    """How a setting is typed: `--out`, `-o`, `--[no-]append`; a positional one in capitals."""
    if positional(kind):
        return name.upper()
    notes = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    told = [note for note in notes if hasattr(note, "aliases")]
    called = next((f"--{note.name}" for note in told if note.name), flag(name))
    if kind is bool:
        return f"--[no-]{called.removeprefix('--')}"
    return ", ".join([called, *(alias for note in told for alias in note.aliases or ())])


def positional(kind: Any) -> bool:
    return get_origin(kind) is Annotated and POSITIONAL in get_args(kind)[1:]


def value(kind: Any) -> str:
    """What follows a flag: a unit, the choices, or nothing after a switch."""
    return "" if kind is bool else spelled_out(help.metavar(kind))


def spelled_out(metavar: str) -> str:
    """`{a,b}` as one code each, so that a narrow table can break the line between them."""
    if metavar.startswith("{"):
        return ", ".join(code(each) for each in metavar.strip("{}").split(","))
    return code(metavar)


def default(field: dataclasses.Field[Any]) -> str:
    """The default of a command's flag, as `--help` has it."""
    if field.default is not dataclasses.MISSING:
        return code("None" if field.default is None else shown(field.default))
    if field.default_factory is not dataclasses.MISSING:
        return code(shown(field.default_factory()))
    return "required"


def prose(text: str) -> str:
    """A docstring as Markdown: what is indented or a command is a block, all else is text."""
    parts: list[str] = []
    for block in re.split(r"\n\s*\n", program.as_called(text).strip()):
        lines = block.splitlines()
        if all(COMMAND_OF_OURS.match(line) or line.startswith("    ") for line in lines):
            parts.append("\n".join(["```text", *(line.strip() for line in lines), "```"]))
        else:
            parts.append(block)
    return "\n\n".join(parts)


def shown(value: Any) -> str:
    """A value as a person types it; a large number in groups of three digits, `50_000_000`."""
    grouped = isinstance(value, int) and abs(value) >= 10_000
    return f"{value:_}" if grouped else help.shown(value)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def code(text: str) -> str:
    """Text as code in a cell of a table."""
    return f"`{text}`" if text else ""


def cell(text: str) -> str:
    """Prose in a cell of a table: signs of HTML and of tables stay, an address is a link."""
    plain = text.replace("<", "&lt;").replace("|", "&#124;")
    return re.sub(r"\((https://[^)\s]+)\)", r"([paper](\1))", plain)
