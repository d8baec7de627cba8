"""The house rules that a machine can check: imports run downhill, no pickle, no code from text."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("envs", "demos", "agents", "benchmarks")
OURS = {*ROOMS, "tests"}
FILES = sorted(file for room in ROOMS for file in (ROOT / room).rglob("*.py"))
TREES = {file: ast.parse(file.read_text("utf-8")) for file in FILES}

SERIALIZERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


def name_of(file: Path) -> str:
    """`agents.core.logging.log` for agents/core/log.py."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_algorithm(file: Path) -> bool:
    return file.parent == ROOT / "agents" and any(
        isinstance(node, ast.FunctionDef) and node.name == "build" for node in TREES[file].body
    )


ALGORITHMS = [file for file in FILES if is_algorithm(file)]
REPORT = ROOT / "agents" / "report"
DASHBOARD = ROOT / "agents" / "dashboard"
SWEEP = ROOT / "agents" / "sweep"
CORE = [file for file in FILES if (ROOT / "agents" / "core") in file.parents]


def each(files: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("file", files, ids=name_of)


def imports(file: Path) -> Iterator[str]:
    """Every module that a file imports, at any depth of its code, names taken from it included."""
    for node in ast.walk(TREES[file]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                package = name_of(file).split(".")
                if file.name != "__init__.py":
                    package.pop()
                package = package[: len(package) - node.level + 1]
                module = ".".join([*package, *filter(None, [module])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and dotted(node.func) in (
            "importlib.import_module",
            "import_module",
            "__import__",
        ):
            yield from (
                arg.value
                for arg in node.args[:1]
                if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
            )


def dotted(node: ast.expr) -> str:
    """`a.b.c` of such an expression; of any other, what can be read of it."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def our_imports(file: Path) -> list[str]:
    return [module for module in imports(file) if module.split(".")[0] in OURS]


def may_import(file: Path) -> tuple[str, ...]:
    """The packages of ours that a file may import."""
    room = file.relative_to(ROOT).parts[0]
    if room == "envs":
        return ("envs",)
    if room == "demos":
        return ("demos", "envs")
    if room == "agents" and (REPORT in file.parents or file == ROOT / "agents" / "card.py"):
        return ("agents.core", "agents.report", "demos", "envs")
    if DASHBOARD in file.parents:
        return ("agents.core", "agents.dashboard", "envs")
    if SWEEP in file.parents:
        return ("agents.core", "agents.report", "agents.sweep", "envs")
    if room == "agents":
        return ("agents.core", "demos", "envs")
    return ("benchmarks", "agents", "demos", "envs")


PAGE = sorted(set((REPORT / "assets").glob("*.js")) - set((REPORT / "assets").glob("*.min.js")))


@pytest.mark.parametrize("file", PAGE, ids=lambda file: file.name)
def test_no_script_of_the_page_makes_markup_of_text(file: Path):
    script = file.read_text("utf-8")
    unsafe = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc"
    assert re.findall(unsafe, script) == []


def test_there_is_something_to_check():
    assert {name_of(file) for file in FILES} >= {
        "agents.dqn",
        "agents.core.math.losses",
        "envs",
        "demos",
    }
    assert "agents.dqn" in [name_of(file) for file in ALGORITHMS]


CORE_ROOMS = ("math", "types", "system", "nets", "runs", "data", "optimize", "logging", "training")
"""The rooms of agents/core, from the lowest: each imports from itself and from those before it."""


def test_every_file_of_the_core_has_a_room() -> None:
    rooms = {file.relative_to(ROOT / "agents" / "core").parts[0] for file in CORE}
    assert rooms == {"__init__.py", *CORE_ROOMS}


@each(CORE)
def test_imports_run_downhill_between_the_rooms_of_the_core(file: Path) -> None:
    room, *inside = file.relative_to(ROOT / "agents" / "core").parts
    if not inside:
        return
    higher = CORE_ROOMS[CORE_ROOMS.index(room) + 1 :]
    uphill = [m for m in our_imports(file) if any(within(m, f"agents.core.{r}") for r in higher)]
    assert uphill == [], f"{room} imports from a room above it"


def test_no_files_import_each_other_in_a_circle() -> None:
    known = {name_of(file) for file in FILES}
    arrows = {name_of(file): {m for m in our_imports(file) if m in known} for file in FILES}
    # What only imports what has no arrows left is in no circle; take it away until nothing changes.
    while True:
        free = [name for name, to in arrows.items() if not (to & arrows.keys()) - {name}]
        if not free:
            break
        for name in free:
            del arrows[name]
    assert sorted(arrows) == []


@each(FILES)
def test_imports_run_downhill(file: Path):
    allowed = may_import(file)
    uphill = [m for m in our_imports(file) if not any(within(m, package) for package in allowed)]
    assert uphill == [], f"{name_of(file)} may import only {', '.join(allowed)} of ours"


WITH_WANDB = ("agents.core.logging.wandb_run", "agents.dashboard.__main__")


@each([file for file in FILES if name_of(file) not in WITH_WANDB])
def test_only_the_log_and_the_dashboard_know_wandb(file: Path):
    assert [module for module in imports(file) if within(module, "wandb")] == []


@each([file for file in FILES if file.parent.name != "envs"])
def test_only_envs_knows_the_emulator(file: Path):
    if "benchmarks" not in file.parts:
        assert [module for module in imports(file) if within(module, "ale_py")] == []


@each(FILES)
def test_nothing_unpickles(file: Path):
    modules = list(imports(file))
    assert [m for m in modules if m.split(".")[0] in SERIALIZERS] == []
    assert [m for m in modules if m in ("torch.load", "torch.serialization.load")] == []
    calls = [node for node in ast.walk(TREES[file]) if isinstance(node, ast.Call)]
    assert [c.lineno for c in calls if dotted(c.func) == "pd.read_pickle"] == []
    unsafe = [
        call.lineno
        for call in calls
        for keyword in call.keywords
        if keyword.arg == "allow_pickle" and not is_constant(keyword.value, False)
    ]
    assert unsafe == []
    loads = [call for call in calls if dotted(call.func) == "torch.load"]
    of_weights = [
        call
        for call in loads
        for keyword in call.keywords
        if keyword.arg == "weights_only" and is_constant(keyword.value, True)
    ]
    assert loads == of_weights


def is_constant(node: ast.expr, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


@each(FILES)
def test_nothing_runs_text_as_code(file: Path):
    calls = [node for node in ast.walk(TREES[file]) if isinstance(node, ast.Call)]
    names = ("eval", "exec", "compile", "builtins.eval", "builtins.exec")
    assert [call.lineno for call in calls if dotted(call.func) in names] == []


@pytest.mark.parametrize("room", ["losses", "returns"])
def test_an_equation_has_at_most_25_lines(room: str):
    tree = TREES[ROOT / "agents" / "core" / "math" / f"{room}.py"]
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert functions
    for function in functions:
        body = function.body[1:] if ast.get_docstring(function) else function.body
        lines = (body[-1].end_lineno or 0) - body[0].lineno + 1
        assert lines <= 25, f"{function.name} has {lines} lines"


@each(ALGORITHMS)
def test_an_algorithm_links_its_paper(file: Path):
    docstring = ast.get_docstring(TREES[file]) or ""
    assert re.search(r"https://(arxiv\.org/abs/|doi\.org/|\S+\.pdf)", docstring)


def test_every_command_line_is_parsed_in_one_place() -> None:
    parsers = ("tyro.cli", "argparse.ArgumentParser")
    calls = {
        name_of(file)
        for file, tree in TREES.items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Call) and dotted(node.func) in parsers)
        or (isinstance(node, ast.ClassDef) and any(dotted(base) in parsers for base in node.bases))
    }
    assert calls == {"envs.command_line"}


def test_only_the_learner_enters_autocast() -> None:
    """Its cache of cast weights is shared by all threads, and so is not to be used."""
    calls = [
        (name_of(file), {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords})
        for file, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and dotted(node.func).endswith("torch.autocast")
    ]
    assert calls == [("agents.core.optimize.learner", {"cache_enabled": "False"})]


@each([file for file in FILES if file.parts[len(ROOT.parts)] in ("agents", "demos")])
def test_commands_print_what_is_harmless_to_a_terminal(file: Path) -> None:
    calls = [node for node in ast.walk(TREES[file]) if isinstance(node, ast.Call)]
    names = [node.func.id for node in calls if isinstance(node.func, ast.Name)]
    assert "print" not in names, "use envs.output.tell"


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
    ("agents.core.training.algorithms", "read_text"): "modules of this package",
    ("agents.report.demonstrations", "read_bytes"): "in a temporary folder of this process",
    ("agents.report.page", "read_text"): "assets of this package",
    ("agents.report.serve", "write_bytes"): "in a temporary folder of this process",
    ("demos.dataset", "os.open"): "the directory's descriptor for a lock of older versions",
    ("demos.frames", "np.memmap"): "a temporary file without a name",
    ("envs.catalog", "read_bytes"): "a ROM of ale-py's",
    ("envs.output", "os.open"): "/dev/null",
    ("envs.scores", "open"): "a table of this package",
    ("envs.video", "av.open"): "written aside, under a name that nobody guesses",
}
"""Who opens files without `envs.files`, and why they are no stranger's."""


def test_files_of_runs_and_datasets_are_opened_in_one_place() -> None:
    found: set[tuple[str, str]] = set()
    for file, tree in TREES.items():
        name = name_of(file)
        if name == "envs.files" or name.startswith("benchmarks"):
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            function = dotted(node.func)
            method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            if function in OPENING:
                found.add((name, function))
            elif method in OPENING_METHODS:
                found.add((name, method))
    assert sorted(found) == sorted(OWN_FILES), "use envs.files, which bounds what it reads"
