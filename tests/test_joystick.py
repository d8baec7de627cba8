"""The command `joystick`, as an installation's script runs it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import joystick
from agents.core.training import algorithms
from envs import program
from joystick import cli, commands

ROOT = Path(__file__).parents[1]

SCRIPT = "import sys\nfrom joystick.cli import main\nsys.exit(main())\n"
"""What pip writes for `joystick = "joystick.cli:main"`."""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    file = tmp_path_factory.mktemp("bin") / "joystick"
    file.write_text(SCRIPT)
    return [sys.executable, str(file)]


def run(
    command: list[str], *words: str, cwd: Path, first_on_path: str = ""
) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [first_on_path, str(ROOT)]))
    return subprocess.run(
        [*command, *words],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_list_names_every_command_in_80_columns_without_torch(
    script: list[str], tmp_path: Path
) -> None:
    for words in ([], ["--help"], ["-h"]):
        done = run(script, *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        listed = [line.split()[0] for line in lines if line.startswith("  ")]
        assert listed == [*algorithms.BUILT_IN, *commands.TOOLS, *cli.FLAGS]
        assert max(map(len, lines)) <= 80
    check = "import sys, joystick.cli as c; c.listing('joystick'); print('torch' in sys.modules)"
    assert run([sys.executable, "-c", check], cwd=tmp_path).stdout == "False\n"


def test_the_table_has_every_command_of_the_package() -> None:
    tools = {command.module.removesuffix(".__main__") for command in commands.TOOLS.values()}
    runnable = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        for room in ("agents", "demos")
        for file in (ROOT / room).rglob("*.py")
        if file.name == "__main__.py" or "__main__" in file.read_text("utf-8")
    }
    trained = {listed.module for listed in algorithms.BUILT_IN.values()}
    # `python -m agents` lists the algorithms, as `joystick` does.
    assert tools | trained == runnable - {"agents", "agents.core.training.algorithms"}


def test_importing_joystick_imports_nothing_heavy(tmp_path: Path) -> None:
    check = "import sys, joystick; print({'numpy', 'torch', 'gymnasium'} & {*sys.modules})"
    assert run([sys.executable, "-c", check], cwd=tmp_path).stdout == "set()\n"


def test_version(script: list[str], tmp_path: Path) -> None:
    assert run(script, "--version", cwd=tmp_path).stdout == f"joystick {joystick.__version__}\n"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("dnq", "unknown command 'dnq'; did you mean 'dqn'?"),
        ("raport", "unknown command 'raport'; did you mean 'report'?"),
        ("--versoin", "unknown flag '--versoin'; did you mean '--version'?"),
        ("--print-completion", "--print-completion: must be bash or zsh"),
    ],
)
def test_an_unknown_command_is_one_line(
    script: list[str], tmp_path: Path, word: str, said: str
) -> None:
    done = run(script, word, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("called", "typed"), [("joystick", "joystick"), ("python -m joystick", "python -m joystick")]
)
def test_help_and_errors_name_the_command_as_it_was_called(
    script: list[str], tmp_path: Path, called: str, typed: str
) -> None:
    command = script if called == "joystick" else [sys.executable, "-m", "joystick"]
    for name in ("evaluate", "demos"):
        done = run(command, name, "--help", cwd=tmp_path)
        assert f"usage: {typed} {name} " in done.stdout
        assert f"`{typed} {name}" in done.stdout
        assert "python -m agents" not in done.stdout
        assert "python -m demos" not in done.stdout
    assert f"Missing from {typed} evaluate" in run(command, "evaluate", cwd=tmp_path).stderr
    listed = run(command, cwd=tmp_path).stdout
    assert f"usage: {typed} <command>" in listed


def test_commands_in_texts_are_renamed_and_paths_are_not() -> None:
    text = "python -m agents.ppo --env X; `python -m demos seal a`, python -m agents"
    assert program.as_called(text) == text
    program.called("joystick")
    try:
        assert program.as_called(text) == "joystick ppo --env X; `joystick demos seal a`, joystick"
        assert program.as_called("python -m agents/x") == "python -m agents/x"
        assert program.as_called("python -m agentsmith") == "python -m agentsmith"
    finally:
        program.called("")


RAISES = "raise RuntimeError('imported the wrong one')"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        # A folder without code is found later than one with code, so that one name is enough.
        ("envs", ""),
        *((name, RAISES) for name in ("envs", "demos", "agents")),
    ],
)
def test_a_folder_of_the_same_name_in_the_working_directory_harms_nothing(
    script: list[str], tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / name).mkdir()
    if content:
        (tmp_path / name / "__init__.py").write_text(content)
    for command in (script, [sys.executable, "-m", "joystick"]):
        done = run(command, "demos", "list", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "pong" in done.stdout
    for package in {"demos", "agents"} - {name}:
        done = run([sys.executable, "-m", package], "--help", cwd=tmp_path)
        assert done.returncode == 0, done.stderr


def test_another_package_of_the_same_name_harms_nothing(script: list[str], tmp_path: Path) -> None:
    (tmp_path / "site-packages" / "agents").mkdir(parents=True)
    file = tmp_path / "site-packages" / "agents" / "__init__.py"
    file.write_text("raise RuntimeError('imported')\n")
    done = run(script, "dnq", cwd=tmp_path, first_on_path=str(file.parents[1]))
    assert "did you mean 'dqn'?" in done.stderr, done.stderr


def test_a_file_that_another_package_replaced_is_named(tmp_path: Path) -> None:
    for name in ("envs", "demos", "agents", "joystick"):
        shutil.copytree(ROOT / name, tmp_path / "all" / name, ignore=lambda d, _: ["datasets"])
    (tmp_path / "all" / "agents" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    done = subprocess.run(
        [sys.executable, "-m", "joystick", "dqn"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "all")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert f"another package has replaced Joystick's {tmp_path / 'all' / 'agents'}" in done.stderr


def test_a_persons_own_module_is_found_in_the_working_directory(
    script: list[str], tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text("def act(obs):\n    return obs[:, 0].astype(int) * 0\n")
    words = ("record", "--env", "CartPole-v1", "--policy", "script:own:act", "--episodes", "1")
    done = run(script, "demos", *words, "--out", "data", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    recorded = (tmp_path / "data" / "dataset.json").read_text()
    assert "joystick demos record --env CartPole-v1" in recorded


@pytest.fixture(scope="module")
def completion(script: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completion")
    done = run(script, "--print-completion", "bash", cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "joystick.bash").write_text(done.stdout)
    return folder / "joystick.bash"


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("dq",), {"dqfd", "dqn"}),
        (("dqn", "--learning-r"), {"--learning-rate"}),
        (("dqn", "--resu"), {"--resume"}),
        (("dqn", "--preset", "nat"), {"nature"}),
        (("ppo", "--env", "Pon"), {"Pong"}),
        (("ppo", "--device", "c"), {"cpu", "cuda"}),
        (("evaluate", "--checkp"), {"--checkpoint"}),
        (("demos", "rec"), {"record"}),
        (("demos", "record", "--max-pl"), {"--max-played"}),
    ],
)
def test_bash_completes(completion: Path, words: tuple[str, ...], found: set[str]) -> None:
    line = " ".join(["joystick", *words])
    asked = (
        f"source {completion}; COMP_WORDS=({line}); COMP_CWORD={len(words)};"
        " $(complete -p joystick | sed 's/.*-F \\([^ ]*\\).*/\\1/');"
        " printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, timeout=60)
    assert set(done.stdout.split()) == found, done.stderr


def test_ctrl_c_at_any_moment_of_the_start_is_at_most_one_line(
    script: list[str], tmp_path: Path
) -> None:
    for delay in (0.1, 0.3, 0.6, 1.2):
        process = subprocess.Popen(
            [*script, "dqn", "--help"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        time.sleep(delay)
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
        # Python's own start, before any line of ours, is not ours; nor is the end of the help.
        assert process.returncode in (130, -signal.SIGINT, 0), said
        assert "Traceback" not in said or "in main" not in said


def test_the_list_is_within_its_width_with_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    long = {"my_own": commands.Command("words " * 40)}
    monkeypatch.setattr(commands, "trainings", lambda: long)
    assert max(map(len, cli.listing("joystick").splitlines())) <= cli.WIDTH
