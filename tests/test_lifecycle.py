"""How commands end: signals at any moment, readers that leave, plain encodings, full disks."""

from __future__ import annotations

import ast
import errno
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import QUIET, run_tiny

from agents.core.runs.run import Run
from demos import Dataset
from demos.verification import verify
from envs import output, signals

ROOT = Path(__file__).parents[1]
PYTHON = (sys.executable, "-m")
SECONDS = 240
"""After which a process hangs. A busy machine is slow."""

COMMANDS = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    for room in ("agents", "demos")
    for file in (ROOT / room).rglob("*.py")
    if file.name == "__main__.py" or "__main__" in file.read_text("utf-8")
)
"""Everything that `python -m` runs."""


def start(words: list[str], **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PYTHON, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **options,  # pyright: ignore
    )


def wait_until(process: subprocess.Popen[str], there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not there():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def handles_sigterm(process: subprocess.Popen[str]) -> Callable[[], bool]:
    """Whether a command has begun: from there on SIGTERM is more than sudden death."""
    bit = 1 << (signal.SIGTERM - 1)
    status = Path(f"/proc/{process.pid}/status")
    return lambda: bool(int(status.read_text().split("SigCgt:")[1].split()[0], 16) & bit)


def ended_by(process: subprocess.Popen[str], signum: int) -> str:
    """Send the signal; what was printed, where the process ends as it should and alone."""
    os.kill(process.pid, signum)
    text, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 128 + signum, text
    assert "Traceback" not in text
    assert "Exception ignored" not in text
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    return text


def training(runs_dir: Path, *words: str, env_id: str = "CliffWalking-v1") -> list[str]:
    few = ["--num-envs", "8", "--horizon-steps", "8", "--env", env_id, "--batch-size", "32"]
    return ["agents.ppo", "--runs-dir", str(runs_dir), *few, *QUIET, *words]


def has(folder: Path, pattern: str) -> Callable[[], bool]:
    return lambda: any(folder.glob(pattern))


def test_every_command_is_inside_the_shared_entry() -> None:
    for name in COMMANDS:
        file = ROOT / Path(*name.split("."))
        file = file / "__main__.py" if file.is_dir() else file.with_suffix(".py")
        tree = ast.parse(file.read_text("utf-8"))
        mains = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "main"]
        imported = "from agents.core.training.launch import main" in file.read_text("utf-8")
        assert imported or mains, name
        for main in mains:
            first = next(n for n in main.body if not isinstance(n, ast.Expr))
            assert isinstance(first, ast.With), f"{name}: main begins with the shared entry"
            assert re.search(r"\b(command|one_line_errors)\(", ast.unparse(first.items[0])), name


def test_there_are_commands() -> None:
    assert {"agents", "agents.ppo", "agents.evaluate", "agents.report", "demos"} <= {*COMMANDS}


@pytest.mark.parametrize("name", ["agents", "agents.ppo", "demos"])
def test_a_reader_that_leaves_is_no_error(name: str) -> None:
    process = subprocess.Popen(
        [*PYTHON, name, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(SECONDS) == 0


def test_training_goes_on_when_nobody_reads_it(tmp_path: Path) -> None:
    words = training(
        tmp_path, "--total-steps", "640", "--log-every-steps", "64", env_id="CartPole-v1"
    )
    process = subprocess.Popen([*PYTHON, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(SECONDS) == 0
    (path,) = tmp_path.glob("*")
    assert Run.open(path).newest_step() == 640


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [(">/dev/full", 1, "standard output is lost"), (">&-", 0, ""), (">&- 2>&-", 0, "")],
)
def test_an_output_that_cannot_be_written_is_one_line(
    tmp_path: Path, redirection: str, code: int, said: str
) -> None:
    words = f"exec {sys.executable} -m demos list {tmp_path} {redirection}"
    done = subprocess.run(["sh", "-c", words], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == code
    assert done.stderr.count("\n") == (1 if said else 0)
    assert said in done.stderr


@pytest.mark.parametrize(
    "words", [["agents.ppo", "--help"], ["demos", "list"], ["agents"], ["demos", "--help"]]
)
def test_ascii_is_enough(words: list[str]) -> None:
    plain = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [*PYTHON, *words], env=os.environ | plain, capture_output=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("ascii")
    assert done.stderr == b""


def test_what_an_encoding_lacks_is_printed_as_what_comes_nearest() -> None:
    text = "1.0 ± 0.5 … é \u65e5 ½"
    assert text.encode("ascii", output.PLAIN) == b"1.0 +/- 0.5 ... e \\u65e5 1/2"
    assert "a\udc80".encode("utf-8", output.PLAIN) == b"a\\udc80"


def test_an_outlet_keeps_its_first_failure_and_goes_on() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    outlet = output.Outlet(descriptor)
    assert outlet.write(b"abc") == 3
    assert outlet.failure is not None and outlet.failure.errno == errno.ENOSPC
    os.close(descriptor)


def test_ctrl_c_while_a_command_imports(tmp_path: Path) -> None:
    for delay in (0.1, 0.4, 0.8):
        process = start(training(tmp_path, "--total-steps", "10000000"))
        time.sleep(delay)
        os.kill(process.pid, signal.SIGINT)
        text, _ = process.communicate(timeout=SECONDS)
        # Python's own start, before any line of ours, is not ours.
        assert process.returncode in (130, -signal.SIGINT), text
        assert "Traceback" not in text or "agents" not in text


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_an_evaluation_that_does_not_end_saves(tmp_path: Path, signum: int) -> None:
    endless = ("--eval-every-steps", "64", "--eval-most-steps", "100000000")
    every = ("--total-steps", "1000000", "--checkpoint-every-steps", "64")
    process = start(training(tmp_path, *endless, *every))
    wait_until(process, has(tmp_path, "*/checkpoints/0*/state.json"))
    time.sleep(0.3)
    text = ended_by(process, signum)
    assert "the evaluation of step 64 was stopped" in text
    (path,) = tmp_path.glob("*")
    step, state, _ = Run.open(path).restore()
    assert step == 64
    assert state["owes_evaluation"]


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    # Nothing checks for the first signal inside of one step.
    (tmp_path / "slow.py").write_text(
        "import time\n\n\ndef act(obs):\n    print('acts', flush=True)\n"
        "    end = time.monotonic() + 300\n"
        "    while time.monotonic() < end:\n        pass\n    return obs\n"
    )
    words = ["demos", "record", "--env", "CartPole-v1", "--policy", "script:slow:act"]
    process = start([*words, "--out", str(tmp_path / "data")], cwd=tmp_path)
    assert process.stdout is not None
    while "acts" not in process.stdout.readline():
        assert process.poll() is None
    os.kill(process.pid, signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None
    ended_by(process, signal.SIGINT)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_final_scoring(tmp_path: Path, signum: int) -> None:
    short = ("--total-steps", "128", "--eval-most-steps", "100000000", "--eval-every-steps", "0")
    process = start([*training(tmp_path, *short), "--final-eval-episodes", "3"])
    wait_until(process, has(tmp_path, "*/checkpoints/000000000128/state.json"))
    time.sleep(0.3)
    text = ended_by(process, signum)
    assert "its score is not" in text
    (path,) = tmp_path.glob("*")
    assert Run.open(path).restore()[0] == 128


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_agents_evaluate_leaves_the_score_as_it_was(
    tmp_path: Path, signum: int
) -> None:
    run = run_tiny(tmp_path, "ppo", "--env", "CliffWalking-v1", "--total-steps", "128")
    (run.path / "eval.json").write_text("{}")
    words = ["agents.evaluate", str(run.path), "--checkpoint", "last", "--no-video"]
    process = start([*words, "--most-steps", "100000000"])
    wait_until(process, handles_sigterm(process))
    time.sleep(1)
    text = ended_by(process, signum)
    assert text == f"stopped by {signal.Signals(signum).name}\n"
    assert (run.path / "eval.json").read_text() == "{}"


def test_a_signal_in_a_recording_keeps_what_has_ended(tmp_path: Path) -> None:
    words = ["demos", "record", "--env", "CartPole-v1", "--episodes", "100000", "--out", "data"]
    process = start(words, cwd=tmp_path)
    wait_until(process, has(tmp_path, "data/episodes/000005-*.parquet"))
    text = ended_by(process, signal.SIGINT)
    assert "episodes in data, stopped" in text
    dataset = Dataset.open(tmp_path / "data")
    assert not dataset.problems()
    assert len(list(dataset.episodes())) >= 6


SLOW = """
import pathlib
import time
import gymnasium
from gymnasium.envs.toy_text.cliffwalking import CliffWalkingEnv

class Slow(CliffWalkingEnv):
    def step(self, action):
        pathlib.Path("stepped").touch()
        time.sleep(0.02)
        return super().step(action)

gymnasium.register("Slow-v0", Slow)
"""


@pytest.mark.slow
def test_a_signal_in_the_replay_of_a_resumed_run(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    words = training(tmp_path / "runs", "--total-steps", "256", env_id="slow:Slow-v0")
    process = start(words, cwd=tmp_path)
    text, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, text
    (path,) = (tmp_path / "runs").glob("*")
    allowed = os.environ | {"JOYSTICK_MODULES": "slow", "PYTHONFAULTHANDLER": "1"}
    resumed = ["agents.ppo", "--resume", str(path), "--total-steps", "512", "--wandb", "disabled"]
    (tmp_path / "stepped").unlink()
    process = start(resumed, cwd=tmp_path, env=allowed)
    assert process.stdout is not None
    # Four seconds of replay; the first is silent.
    shown = process.stdout.readline()
    assert re.fullmatch(r"replaying the environments' tapes: step \d+ of \d+, .* left\n", shown)
    text = ended_by(process, signal.SIGINT)
    assert text == "stopped by SIGINT\n"
    assert Run.open(path).restore()[0] == 256


def test_nohup_keeps_training_when_the_terminal_closes(tmp_path: Path) -> None:
    words = training(tmp_path, "--total-steps", "10000000", "--checkpoint-every-steps", "64")
    ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    process = start(words, preexec_fn=ignore)
    wait_until(process, has(tmp_path, "*/checkpoints/0*/state.json"))
    os.kill(process.pid, signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    ended_by(process, signal.SIGTERM)


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_training_whose_last_checkpoint_is_not_saved_fails_in_one_line(tmp_path: Path) -> None:
    words = training(tmp_path, "--total-steps", "640", env_id="CartPole-v1")
    process = start(words, preexec_fn=limit_files)
    text, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 1, text
    assert "Traceback" not in text
    last = text.splitlines()[-1]
    assert last.startswith("error: training ended at step 640, which could not be saved; ")


# `test_hostile_arguments.py` has the commands of `demos`, and training, in its own process.
@pytest.mark.parametrize(
    "words",
    [
        ["demos", "stats", "cartpole-expert-v1", "--picture", "{0}/a.png"],
        ["agents.report", "{1}", "-o", "{0}/report.html"],
        ["agents.report", "{1}", "--csv", "{0}/all.csv"],
        ["agents.ppo", "--env", "CartPole-v1", "--runs-dir", "{0}/runs", "--total-steps", "64"],
    ],
    ids=lambda words: " ".join([words[0], *words[2:3]]),
)
def test_a_folder_that_takes_nothing_is_one_line(tmp_path: Path, words: list[str]) -> None:
    # Root may write everywhere but into what is no directory.
    nothing = tmp_path / "file"
    nothing.write_text("")
    filled = [word.format(nothing, tmp_path) for word in words]
    done = subprocess.run([*PYTHON, *filled], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode in (1, 2), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert str(nothing) in done.stderr


def test_recorded_episodes_that_the_limit_cuts_verify(tmp_path: Path) -> None:
    out = tmp_path / "data"
    words = ["demos", "record", "--env", "CliffWalking-v1", "--episodes", "2", "--out", str(out)]
    done = subprocess.run([*PYTHON, *words, "--most-steps", "40"], timeout=SECONDS)
    assert done.returncode == 0
    dataset = Dataset.open(out)
    assert dataset.metadata.spec.protocol == "CliffWalking-v1, at most 40 steps"
    for episode in dataset.episodes():
        assert len(episode) == 40
        assert not episode.terminated
        assert verify(episode) is None


def test_a_signal_in_an_import_ends_a_command_at_once(tmp_path: Path) -> None:
    # C++ code survives no exception: a signal that raised one in torch's import aborted.
    (tmp_path / "slow.py").write_text(
        "import time\n\ntry:\n    print('imports', flush=True)\n    time.sleep(300)\n"
        "except BaseException:\n    print('an exception', flush=True)\n    raise\n"
    )
    process = start(["joystick", "ppo", "--plugin", "slow.py"], cwd=tmp_path)
    assert process.stdout is not None
    while "imports" not in process.stdout.readline():
        assert process.poll() is None
    assert ended_by(process, signal.SIGINT) == "stopped by SIGINT\n"


def test_an_import_of_a_library_handles_no_signal() -> None:
    before = [signal.getsignal(each) for each in signals.ENDING]
    with signals.importing():
        assert [signal.getsignal(each) for each in signals.ENDING] == before
    with signals.interrupting():
        inside = [signal.getsignal(each) for each in signals.ENDING]
        with signals.importing():
            assert [signal.getsignal(each) for each in signals.ENDING] != inside
        assert [signal.getsignal(each) for each in signals.ENDING] == inside
    assert [signal.getsignal(each) for each in signals.ENDING] == before


def test_signals_are_left_as_they_were() -> None:
    before = [signal.getsignal(each) for each in signals.ENDING]
    with signals.interrupting(), signals.StopSignal():
        pass
    assert [signal.getsignal(each) for each in signals.ENDING] == before
    assert not signals.received()
