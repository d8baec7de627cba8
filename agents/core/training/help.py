"""`--help` of an algorithm: its settings by part, with their units and a preset's defaults."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import io
import textwrap
import tokenize
from types import ModuleType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from tyro.constructors import PrimitiveConstructorSpec

from agents.core.data.settings import DemoConfig, ReplayConfig, RewardConfig, RolloutConfig
from agents.core.nets.settings import NetworkConfig
from agents.core.optimize.settings import OptimizerConfig
from agents.core.system.settings import MachineConfig
from agents.core.training.algorithms import command_of, name_of
from agents.core.training.config import EnvConfig, EvaluationConfig, LogConfig, RunConfig
from agents.core.types.settings import Part, flag, names
from envs import help_text, program
from envs.command_line import READERS, Unit
from envs.text import plain

ORDER = [
    part.title
    for part in (
        *(RunConfig, EnvConfig, EvaluationConfig, LogConfig, MachineConfig, NetworkConfig),
        *(OptimizerConfig, RewardConfig, ReplayConfig, RolloutConfig, DemoConfig),
    )
]
"""The first titles. Other titles follow; the algorithm's own title is last, next to the prompt."""

FLAGS = {
    "-h, --help": "This help.",
    "--resume RUN": "Goes on with a run; the defaults are its settings.",
    "--fresh-episodes": "With --resume: begins new episodes, which some environments need.",
    "--plugin FILE.py": "Adds your own algorithm, network or environment.",
}
"""The flags of an algorithm's command line that are not settings."""

SCHEDULE = "SCHEDULE: a number, or START..END@FIRST..LAST between two steps: 1..0.1@0..1e5"

OTHERS = "`--env X --help` and `--preset P --help` show the defaults of X and of P."


def text(module: ModuleType, default: Any, columns: int) -> str:
    """The help text of an algorithm; no line is longer than `columns`.

    Args:
        default: the config whose values are the defaults.
    """
    of_text = (module.__doc__ or "", f"{OTHERS}\n{SCHEDULE}")
    parts = [
        f"usage: {program.as_called(command_of(name_of(module)))} [flags]",
        *(help_text.wrapped(program.as_called(each), columns) for each in of_text),
        help_text.rows(FLAGS, columns),
        f"In brackets: the default of preset {default.preset} for {plain(default.env_id)}.",
    ]
    for title, settings in groups(module.Config, name_of(module)).items():
        rows = {term(module, name): explained(default, name) for name in settings}
        parts.append(f"{title}:\n{help_text.rows(rows, columns)}")
    return "\n\n".join(parts)


def groups(config_class: type[Any], algo: str) -> dict[str, list[str]]:
    """The names of all settings, by the title of their part, in the order of the help."""
    own = vars(config_class).get("title", "") or algo
    found: dict[str, list[str]] = {}
    for name in names(config_class):
        part = part_of(config_class, name)
        title = own if part is config_class else part.title or own
        found.setdefault(title, []).append(name)
    others = [title for title in found if title not in (*ORDER, own)]
    return {title: found[title] for title in (*ORDER, *others, own) if title in found}


def part_of(config_class: type[Any], name: str) -> type[Any]:
    """The part that defines a setting; an algorithm that changes its default does not define it."""
    for part in reversed(config_class.__mro__):
        if issubclass(part, Part) and name in part.__dataclass_fields__:
            return part
    return config_class


def term(module: ModuleType, name: str) -> str:
    """A setting's flag and the name of its value, such as `--total-steps STEPS`."""
    kind = get_type_hints(module.Config, include_extras=True)[name]
    if kind is bool:
        return f"--[no-]{flag(name).removeprefix('--')}"
    if name == "preset":
        return f"--preset {choices(('auto', *module.PRESETS))}"
    return f"{flag(name)} {metavar(kind)}"


def metavar(kind: Any) -> str:
    """The name of a value in the help: its unit, its choices or its type."""
    if get_origin(kind) is Annotated:
        inner, *notes = get_args(kind)
        units = [each.name for each in notes if isinstance(each, Unit)]
        units += [str(each.metavar) for each in notes if isinstance(each, PrimitiveConstructorSpec)]
        return units[0] if units else metavar(inner)
    if get_origin(kind) is Literal:
        return choices(get_args(kind))
    if get_origin(kind) in (Union, UnionType):
        return "|".join(metavar(each) for each in get_args(kind) if each is not type(None))
    if get_origin(kind) is tuple:
        return " ".join("..." if each is Ellipsis else metavar(each) for each in get_args(kind))
    return READERS[kind][0] if kind in READERS else "TEXT"


def choices(values: tuple[Any, ...]) -> str:
    return "{" + ",".join(map(str, values)) + "}"


def explained(default: Any, name: str) -> str:
    """The explanation of a setting and its default."""
    return f"{explanation(type(default), name)} [{shown(getattr(default, name))}]".strip()


def shown(value: Any) -> str:
    """A default as a person types it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        value = [f"{key}={each}" for key, each in value.items()]
    if isinstance(value, list | tuple):
        value = " ".join(map(str, value))
    return "unset" if value is None or value == "" else str(value)


def explanation(config_class: type[Any], name: str) -> str:
    """The docstring or comment of a setting, from the first class that has one."""
    for each in config_class.__mro__:
        if dataclasses.is_dataclass(each):
            found = documented(each).get(name)
            if found:
                return found
    return ""


@functools.cache
def documented(kind: type[Any]) -> dict[str, str]:
    """The docstring, or else the comment on the same line or above, of each field of a class."""
    try:
        source = textwrap.dedent(inspect.getsource(kind))
    except (OSError, TypeError):
        return {}
    comments = comments_of(source)
    (tree,) = ast.parse(source).body
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            said = docstring(after) or comments.get(node.end_lineno or 0, "")
            found[node.target.id] = said or above(source.splitlines(), node.lineno)
    return found


def docstring(node: ast.stmt | None) -> str:
    """The text of a statement that is only a string, its lines joined; "" for other statements."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return " ".join(str(node.value.value).split())
    return ""


def comments_of(source: str) -> dict[int, str]:
    """The comments of a source text, by line number."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: token.string.lstrip("# ")
        for token in tokens
        if token.type == tokenize.COMMENT
    }


def above(lines: list[str], number: int) -> str:
    """The comment in the whole lines directly above line `number`, which counts from 1."""
    found: list[str] = []
    for line in reversed(lines[: number - 1]):
        if not line.lstrip().startswith("#"):
            break
        found.insert(0, line.strip().lstrip("# "))
    return " ".join(found)
