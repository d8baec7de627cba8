"""The house rules that a machine can check. Each test lists the offenders, as (module, what)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("envs", "demos", "agents", "joystick", "benchmarks")

CORE_ROOMS = (
    *("math", "types", "system", "nets", "policies", "runs", "data", "optimize", "logging"),
    "training",
)
"""The rooms of agents/core, from the lowest: each imports from itself and from those before it."""

MAY_IMPORT = {
    "envs": ("envs",),
    "demos": ("demos", "envs"),
    "agents": ("agents.core", "demos", "envs"),
    "agents.card": ("agents.core", "agents.report", "demos", "envs"),
    "agents.report": ("agents.core", "agents.report", "demos", "envs"),
    "agents.dashboard": ("agents.core", "agents.dashboard", "envs"),
    "agents.sweep": ("agents.core", "agents.report", "agents.sweep", "envs"),
    "joystick": ("joystick", "agents", "demos", "envs"),
    "benchmarks": ("benchmarks", "agents", "demos", "envs"),
}
"""Our packages that a module may import; the longest name that it lies within decides.

An algorithm lies within `agents`, and so imports no other algorithm.
"""
for number, room in enumerate(CORE_ROOMS):
    lower = tuple(f"agents.core.{each}" for each in CORE_ROOMS[: number + 1])
    MAY_IMPORT[f"agents.core.{room}"] = (*lower, "demos", "envs")

MAY_IMPORT_FROM_OUTSIDE = {
    "wandb": ("agents.core.logging.wandb_run", "agents.dashboard.__main__"),
    "ale_py": ("envs", "benchmarks"),
    **dict.fromkeys(("pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib"), ()),
    **dict.fromkeys(("shelve", "marshal"), ()),
}
"""The only modules of ours that import a package of others: none of them, a serializer."""


def name_of(file: Path) -> str:
    """`agents.core.logging.log` for agents/core/logging/log.py."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    name_of(file): file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))
}
TREES = {name: ast.parse(file.read_text("utf-8")) for name, file in FILES.items()}
ALGORITHMS = [
    name
    for name, tree in TREES.items()
    if FILES[name].parent == ROOT / "agents"
    and any(getattr(node, "name", "") == "make_algorithm" for node in tree.body)
]


def dotted(node: ast.expr) -> str:
    """`a.b.c` of such an expression; of any other, what can be read of it."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == each or module.startswith(f"{each}.") for each in packages)


def calls_in(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call, with the dotted name of the function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield dotted(node.func), node


def imports_in(tree: ast.AST, package: str) -> Iterator[str]:
    """Every module that code in `package` imports, at any depth, with the names taken from it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
    for function, call in calls_in(tree):
        if function in ("importlib.import_module", "import_module", "__import__"):
            texts = [arg.value for arg in call.args[:1] if isinstance(arg, ast.Constant)]
            yield from (text for text in texts if isinstance(text, str))


def package_of(name: str) -> str:
    return name if FILES[name].name == "__init__.py" else name.rpartition(".")[0]


IMPORTS = [
    (name, module) for name, tree in TREES.items() for module in imports_in(tree, package_of(name))
]
"""(module of ours, what it imports) for every import."""

CALLS = [
    (name, function, call) for name, tree in TREES.items() for function, call in calls_in(tree)
]
"""(module of ours, function, call) for every call."""


def allowed(name: str) -> tuple[str, ...]:
    return MAY_IMPORT[max((each for each in MAY_IMPORT if within(name, (each,))), key=len)]


def keywords(call: ast.Call) -> dict[str | None, str]:
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


def test_the_rules_see_what_they_are_to_judge() -> None:
    assert FILES.keys() >= {"agents.dqn", "agents.core.math.losses", "envs", "demos"}
    assert set(ALGORITHMS) >= {"agents.dqn", "agents.ppo", "agents.bc"}
    core = [name.split(".")[2:] for name in FILES if within(name, ("agents.core",))]
    assert {room for room, *_ in filter(None, core)} == {*CORE_ROOMS}
    code = "import a.b\nfrom . import c\ndef f():\n  from ..d import e\n  import_module('g')"
    assert list(imports_in(ast.parse(code), "x.y")) == ["a.b", "x.y.c", "x.d.e", "g"]


def test_imports_run_downhill() -> None:
    ours = [(name, to) for name, to in IMPORTS if within(to, (*PACKAGES, "tests"))]
    assert [(name, to) for name, to in ours if not within(to, allowed(name))] == []


def test_no_files_import_each_other_in_a_circle() -> None:
    arrows: dict[str, set[str]] = {name: set() for name in FILES}
    for name, to in IMPORTS:
        # What is imported is a module, or a name of one.
        module = to if to in FILES else to.rpartition(".")[0]
        # A package's own file imports its modules, which is what it is for.
        if module in FILES and module != name and FILES[module].name != "__init__.py":
            arrows[name].add(module)
    # What imports only what has no arrows left is in no circle; take it away until nothing changes.
    while free := [name for name, to in arrows.items() if not to & arrows.keys()]:
        for name in free:
            del arrows[name]
    assert sorted(arrows) == []


def test_only_some_modules_know_wandb_and_the_emulator_and_none_a_serializer() -> None:
    limited = [(name, to, MAY_IMPORT_FROM_OUTSIDE.get(to.split(".")[0])) for name, to in IMPORTS]
    assert [(n, to) for n, to, may in limited if may is not None and not within(n, may)] == []


def test_nothing_unpickles_or_runs_text_as_code() -> None:
    unsafe = ("pd.read_pickle", "eval", "exec", "compile", "builtins.eval", "builtins.exec")
    offenders = [
        (name, f"{function}, line {call.lineno}")
        for name, function, call in CALLS
        if function in unsafe
        or (function == "torch.load" and keywords(call).get("weights_only") != "True")
        or keywords(call).get("allow_pickle", "False") != "False"
    ]
    loads = ("torch.load", "torch.serialization.load")
    assert offenders + [(name, to) for name, to in IMPORTS if to in loads] == []


def test_no_script_of_the_page_makes_markup_of_text() -> None:
    unsafe = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc"
    assets = ROOT / "agents" / "report" / "assets"
    scripts = [file for file in assets.glob("*.js") if not file.name.endswith(".min.js")]
    assert scripts
    assert [
        (file.name, found)
        for file in scripts
        for found in re.findall(unsafe, file.read_text("utf-8"))
    ] == []


def test_an_equation_has_at_most_25_lines() -> None:
    functions = [
        node
        for module in ("agents.core.math.losses", "agents.core.math.returns")
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.FunctionDef)
    ]
    assert functions
    for function in functions:
        body = function.body[1:] if ast.get_docstring(function) else function.body
        lines = (body[-1].end_lineno or 0) - body[0].lineno + 1
        assert lines <= 25, f"{function.name} has {lines} lines"


def test_an_algorithm_links_its_paper() -> None:
    link = r"https://(arxiv\.org/abs/|doi\.org/|\S+\.pdf)"
    docstrings = {name: ast.get_docstring(TREES[name]) or "" for name in ALGORITHMS}
    assert [name for name, text in docstrings.items() if not re.search(link, text)] == []


def test_every_command_line_is_parsed_in_one_place() -> None:
    parsers = ("tyro.cli", "argparse.ArgumentParser")
    bases = [
        (name, dotted(base))
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for base in node.bases
    ]
    uses = bases + [(name, function) for name, function, _ in CALLS]
    assert {name for name, used in uses if used in parsers} == {"envs.command_line"}


def test_only_compute_enters_autocast() -> None:
    """Its cache of cast weights is shared by all threads, and so is not to be used."""
    calls = [(n, keywords(call)) for n, f, call in CALLS if f.endswith("torch.autocast")]
    assert calls == [("agents.core.system.compute", {"cache_enabled": "False"})]


def test_commands_print_what_is_harmless_to_a_terminal() -> None:
    printing = [name for name, function, _ in CALLS if function == "print"]
    offenders = [name for name in printing if within(name, ("agents", "demos"))]
    assert offenders == [], "use envs.output.tell"


OPENING = {
    *("open", "io.open", "os.open", "codecs.open", "gzip.open", "av.open"),
    *("np.load", "np.loadtxt", "np.fromfile", "np.memmap", "pq.read_table", "pa.memory_map"),
    *("shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.copytree", "shutil.move"),
    *("tempfile.mktemp", "safetensors.safe_open", "safetensors.torch.load_file"),
}
"""Functions that open a file by its name, and wait, follow a link or read without a bound."""

OPENING_METHODS = {"read_text", "read_bytes", "write_text", "write_bytes"}
"""The same of `pathlib.Path`."""

OWN_FILES = {
    ("agents.core.system.device", "read_text"): "/proc/cpuinfo, which is the system's",
    ("agents.report.demonstrations", "read_bytes"): "in a temporary folder of this process",
    ("agents.report.page", "read_text"): "assets of this package",
    ("agents.report.serve", "write_bytes"): "in a temporary folder of this process",
    ("demos.dataset", "os.open"): "the directory's descriptor for a lock of older versions",
    ("demos.frames", "np.memmap"): "a temporary file without a name",
    ("demos.npz_import", "np.load"): "a file that envs.files opened, and whose size is known",
    ("envs.catalog", "read_bytes"): "a ROM of ale-py's",
    ("envs.output", "os.open"): "/dev/null",
    ("envs.scores", "open"): "a table of this package",
    ("envs.siblings", "open"): "a module of this package, or of another package with its name",
    ("envs.video", "av.open"): "written aside, under a name that nobody guesses",
}
"""Who opens files without `envs.files`, and why they are no stranger's."""


def test_files_of_runs_and_datasets_are_opened_in_one_place() -> None:
    found: set[tuple[str, str]] = set()
    for name, function, call in CALLS:
        method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        if name == "envs.files" or within(name, ("benchmarks",)):
            continue
        if function in OPENING:
            found.add((name, function))
        elif method in OPENING_METHODS:
            found.add((name, method))
    assert sorted(found) == sorted(OWN_FILES), "use envs.files, which bounds what it reads"
