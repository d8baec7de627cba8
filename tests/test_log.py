"""The logger: what it writes can be read back, and nothing that fails in it stops training."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
from rich.console import Console
from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportAttributeAccessIssue]

from agents.core import log
from agents.core.console import LiveConsole, PlainConsole, Progress
from agents.core.log import Logger
from agents.core.run import Run
from envs.errors import UserError

CONFIG = {"exp_name": "dqn", "env_id": "ALE/Pong-v5", "seed": 1}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path, "ALE/Pong-v5", "dqn", seed=1)


@pytest.fixture(autouse=True)
def a_person_without_wandb_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb-config"))


def open_logger(run: Run, wandb_mode: Any = "disabled", **options: Any) -> Logger:
    options = {"total_steps": 1000, "frames_per_step": 4, "tags": ["dqn", "Pong"]} | options
    return Logger(run, CONFIG, wandb_mode=wandb_mode, **options)


def metrics_of(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.metrics_path.read_text().splitlines()]


def records(path: Path) -> Iterator[Record]:
    """The records of a `.wandb` file: LevelDB's log format, which W&B's own reader is no more."""
    data, block, header = path.read_bytes(), 32768, struct.Struct("<IHB")
    assert data[:4] == b":W&B"
    full, first, last = 1, 2, 4
    position, whole = 7, b""
    while position + header.size <= len(data):
        left = block - position % block
        if left < header.size:
            position += left
            continue
        checksum, length, kind = header.unpack_from(data, position)
        position += header.size
        part = data[position : position + length]
        position += length
        assert zlib.crc32(part, zlib.crc32(bytes([kind]))) == checksum
        whole = part if kind in (full, first) else whole + part
        if kind in (full, last):
            yield Record.FromString(whole)


class Fragment:
    """What one offline `.wandb` file says."""

    def __init__(self, path: Path):
        self.path = path
        self.history: list[dict[str, Any]] = []
        self.config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.artifacts: list[Any] = []
        self.step_metrics: dict[str, str] = {}
        for record in records(path):
            match record.WhichOneof("record_type"):
                case "run":
                    self.run = record.run
                    self.start = record.run.start_time.ToNanoseconds()
                    for item in record.run.config.update:
                        self.config[item.key] = json.loads(item.value_json)
                case "history":
                    items = record.history.item
                    self.history.append(
                        {
                            item.key or "/".join(item.nested_key): json.loads(item.value_json)
                            for item in items
                        }
                    )
                case "summary":
                    for item in record.summary.update:
                        self.summary[item.key] = json.loads(item.value_json)
                case "artifact":
                    self.artifacts.append(record.artifact)
                case "metric":
                    self.step_metrics[record.metric.glob_name] = record.metric.step_metric
                case "exit":
                    self.exit_code = record.exit.exit_code


def fragments(run: Run) -> list[Fragment]:
    paths = list((run.path / "wandb").glob("offline-run-*/run-*.wandb"))
    # W&B's process writes the file to its end some milliseconds after `finish` has returned.
    deadline = time.monotonic() + 30
    while not all(is_whole(path) for path in paths) and time.monotonic() < deadline:
        time.sleep(0.02)
    return sorted(map(Fragment, paths), key=lambda fragment: fragment.start)


def is_whole(path: Path) -> bool:
    return any(record.WhichOneof("record_type") == "exit" for record in records(path))


def test_metrics_are_a_json_object_a_line(run: Run) -> None:
    logger = open_logger(run, start_time=100.0, console=False)
    logger.metrics(10, {"losses/loss": 0.5, "charts/SPS": 3})
    logger.metrics(20, {"losses/loss": float("nan"), "losses/q_values": float("inf")})
    logger.close()
    first, second = metrics_of(run)
    assert first.pop("time") == pytest.approx(100.0, abs=5.0)
    assert first == {"step": 10, "losses/loss": 0.5, "charts/SPS": 3.0}
    assert second["losses/loss"] is None
    assert second["losses/q_values"] is None


def test_a_resumed_logger_appends_and_its_clock_goes_on(run: Run) -> None:
    logger = open_logger(run, console=False, start_time=100.0)
    for step in (10, 20, 30):
        logger.metrics(step, {"charts/SPS": 1.0})
    logger.close()
    seconds = run.truncate_metrics(20)
    assert seconds >= 100.0
    resumed = open_logger(run, console=False, start_step=20, start_time=seconds)
    assert resumed.seconds >= seconds
    resumed.metrics(25, {"charts/SPS": 1.0})
    resumed.close()
    assert [record["step"] for record in metrics_of(run)] == [10, 20, 25]
    times = [record["time"] for record in metrics_of(run)]
    assert times == sorted(times)


def test_metrics_that_cannot_be_written_are_said_once(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run.metrics_path.symlink_to("/dev/full")
    logger = open_logger(run)
    for step in range(100):
        logger.metrics(step, {"charts/SPS": 1.0})
    logger.close()
    assert capsys.readouterr().out.count("metrics.jsonl cannot be written: No space left") == 1


def test_piped_output_is_one_plain_line_for_each_report(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = open_logger(run, total_steps=284_312, start_step=0)
    for game in range(30):
        returned = {"charts/episodic_return": float(game), "charts/episodic_return_20": game - 9.5}
        logger.metrics(game, returned)
    report = {"charts/SPS": 312.4, "charts/epsilon": 0.82, "losses/loss": 0.0041}
    logger.metrics(50_000, report)
    logger.metrics(50_312, {"eval/return_mean": 18.25, "eval/return_ci95": 2.1})
    logger.metrics(50_312, {"eval/human_normalised": 1.054})
    logger.message("saved [bold] as it is")
    logger.close()
    start = "step 50,000 | frames 200,000 | 312 steps/s | return 19.5 | epsilon 0.82 | loss 0.0041"
    first, second, third, message = capsys.readouterr().out.splitlines()
    assert first == f"{start} | left 12:30"
    assert " | loss 0.0041 | eval 18.2 ± 2.1 | left 12:29" in second
    assert " | eval 18.2 ± 2.1 | human 105% | left 12:29" in third
    assert message == "saved [bold] as it is"


def test_a_step_that_is_a_frame_is_not_shown_twice() -> None:
    progress = Progress(total_steps=100, frames_per_step=1, start_step=0)
    assert progress.parts() == ["step 0"]


@pytest.mark.parametrize(("rate", "left"), [(1.0, "2:46:40"), (1000.0, "0:10"), (100.0, "1:40")])
def test_the_time_left_reads_as_a_clock(rate: float, left: str) -> None:
    progress = Progress(total_steps=10_000, frames_per_step=1, start_step=0)
    progress.update(0, {"charts/SPS": rate})
    assert progress.parts()[-1] == f"left {left}"


def test_output_that_has_gone_away_does_not_stop_training(monkeypatch: pytest.MonkeyPatch) -> None:
    class Output(io.StringIO):
        gone = False

        def write(self, text: str) -> int:
            if self.gone:
                raise OSError(errno.EIO, "Input/output error")
            return super().write(text)

    monkeypatch.setattr(sys, "stdout", Output())
    terminal = Console(file=Output(), force_terminal=True)
    consoles = PlainConsole(Progress(9, 1, 0)), LiveConsole(Progress(9, 1, 0), terminal)
    monkeypatch.setattr(Output, "gone", True)
    for console in consoles:
        console.metrics(1, {"charts/SPS": 1.0})
        console.message("unheard")
        console.close()


def test_a_terminal_shows_a_bar_the_status_and_messages_above_it() -> None:
    output = io.StringIO()
    terminal = Console(file=output, force_terminal=True, width=100, color_system=None)
    console = LiveConsole(Progress(total_steps=1000, frames_per_step=4, start_step=0), terminal)
    console.metrics(250, {"charts/episodic_return_20": -19.0})
    assert "25.0%" not in output.getvalue(), "a game alone redraws nothing"
    console.metrics(250, {"charts/SPS": 50.0, "charts/epsilon": 0.5})
    console.message("a [bold] message")
    console.close()
    console.close()
    text = output.getvalue()
    assert "━" in text
    assert "25.0% of 1,000" in text
    assert "step 250 | frames 1,000 | 50 steps/s | return -19.0 | epsilon 0.50 | left 0:15" in text
    assert "a [bold] message" in text


def test_the_console_is_live_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from agents.core import console

    progress = Progress(100, 1, 0)
    assert isinstance(console.open_console(progress), PlainConsole)
    terminal = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "xterm"})
    monkeypatch.setattr(console, "Console", lambda: terminal)
    live = console.open_console(progress)
    assert isinstance(live, LiveConsole)
    live.close()


def test_a_silent_logger_prints_nothing(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    logger = open_logger(run, console=False)
    logger.metrics(1, {"charts/SPS": 1.0})
    logger.message("unheard")
    logger.close()
    assert capsys.readouterr() == ("", "")


def test_offline_wandb_holds_metrics_config_tags_video_and_artifact(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video, model = tmp_path / "game.mp4", tmp_path / "best"
    video.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    (model / "000000000200").mkdir(parents=True)
    (model / "000000000200" / "weights.safetensors").write_bytes(bytes(1000))
    logger = open_logger(run, "offline")
    logger.metrics(100, {"losses/loss": 0.25, "charts/SPS": 50.0})
    logger.metrics(200, {"losses/loss": 0.125})
    logger.video(200, video)
    logger.artifact(model, "ALE/Pong-v5-dqn", "model")
    logger.summary({"eval/return_mean": 20.5})
    logger.close(exit_code=3)
    assert video.exists(), "the run keeps its own video"

    (fragment,) = fragments(run)
    first, second, shown = fragment.history
    assert {"losses/loss": 0.25, "charts/SPS": 50.0, "global_step": 100}.items() <= first.items()
    assert {"losses/loss": 0.125, "global_step": 200}.items() <= second.items()
    assert shown["global_step"] == 200
    assert (fragment.path.parent / "files" / shown["video/path"]).read_bytes() == video.read_bytes()
    assert fragment.step_metrics == {"*": "global_step"}
    assert CONFIG.items() <= fragment.config.items()
    assert "resumed_from" not in fragment.config
    assert list(fragment.run.tags) == ["dqn", "Pong"]
    assert fragment.run.display_name == fragment.run.run_group == run.path.name
    assert fragment.summary["eval/return_mean"] == 20.5
    (artifact,) = fragment.artifacts
    assert (artifact.name, artifact.type) == ("ALE-Pong-v5-dqn", "model")
    (content,) = artifact.manifest.contents
    assert (content.path, content.size) == ("000000000200/weights.safetensors", 1000)
    assert fragment.exit_code == 3
    printed = capsys.readouterr()
    assert f"to upload: wandb sync {fragment.path.parent}" in printed.out
    assert printed.err == "", "W&B itself is silent"


def test_a_long_offline_run_loses_no_step(run: Run) -> None:
    logger = open_logger(run, "offline", console=False)
    for step in range(300):
        logger.metrics(step, {f"losses/{name}": step / 2 for name in "abcdefgh"})
    logger.close()
    (fragment,) = fragments(run)
    assert fragment.path.stat().st_size > 2 * 32768, "the file has several blocks"
    assert [row["global_step"] for row in fragment.history] == list(range(300))
    assert [row["losses/a"] for row in fragment.history] == [step / 2 for step in range(300)]


def test_a_resumed_offline_run_is_another_fragment_of_the_same_group(run: Run) -> None:
    open_logger(run, "offline", console=False).close()
    resumed = open_logger(run, "auto", console=False, start_step=500)
    resumed.metrics(510, {"charts/SPS": 1.0})
    resumed.close()
    before, after = fragments(run)
    assert before.run.run_group == after.run.run_group == run.path.name
    assert before.run.run_id != after.run.run_id
    assert after.config["resumed_from"] == 500
    assert after.history[0]["global_step"] == 510


def test_disabled_wandb_leaves_no_trace(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb, "init", lambda **_: pytest.fail("wandb.init was called"))
    for mode in ("disabled", "auto"):
        monkeypatch.setenv("WANDB_MODE", "disabled")
        logger = open_logger(run, mode, console=False)
        logger.metrics(1, {"charts/SPS": 1.0})
        logger.video(1, "none.mp4")
        logger.artifact("none", "none", "model")
        logger.summary({"x": 1})
        logger.close()
    assert not (run.path / "wandb").exists()


def test_an_unknown_wandb_mode_is_a_user_error(run: Run) -> None:
    with pytest.raises(UserError, match="auto, online, offline, disabled, not 'onlin'"):
        open_logger(run, "onlin")


class FakeRun:
    """A W&B run that works until it is told not to, and remembers what it was given."""

    url, id, settings = "https://wandb/x", "abc", SimpleNamespace(sync_dir="wandb/x")

    def __init__(self, fails: str = ""):
        self.fails, self.calls = fails, []
        self.summary = SimpleNamespace(update=self._method("summary"))

    def __getattr__(self, name: str) -> Callable[..., None]:
        return self._method(name)

    def _method(self, name: str) -> Callable[..., None]:
        def call(*args: Any, **kwargs: Any) -> None:
            self.calls.append((name, args, kwargs))
            if name == self.fails:
                raise RuntimeError(f"{name} broke\nwith details")

        return call


REPORTS: dict[str, Callable[[Logger, Path], None]] = {
    "log": lambda logger, _: logger.metrics(2, {"charts/SPS": 1.0}),
    "log_artifact": lambda logger, path: logger.artifact(path, "a", "model"),
    "summary": lambda logger, _: logger.summary({"x": 1}),
    "finish": lambda logger, _: logger.close(),
}


@pytest.mark.parametrize("fails", REPORTS)
def test_a_wandb_that_raises_is_switched_off_with_one_message_and_training_goes_on(
    run: Run, fails: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeRun(fails)
    monkeypatch.setattr(wandb, "init", lambda **_: fake)
    logger = open_logger(run, "offline")
    REPORTS[fails](logger, run.path)
    given = len(fake.calls)
    if fails != "finish":
        for report in REPORTS.values():
            report(logger, run.path)
        assert metrics_of(run)[-1]["step"] == 2
    logger.close()
    assert len(fake.calls) == given
    assert capsys.readouterr().out.count(f"W&B is off from here on: {fails} broke\n") == 1


def test_a_video_that_cannot_be_logged_does_not_stop_training(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = open_logger(run, "offline")
    logger.video(1, run.path / "missing.mp4")
    logger.metrics(2, {"charts/SPS": 1.0})
    logger.close()
    assert capsys.readouterr().out.count("W&B is off from here on") == 1
    assert metrics_of(run)[-1]["step"] == 2


def test_a_wandb_that_cannot_start_is_off_with_one_message(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(**_: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr(wandb, "init", refuse)
    logger = open_logger(run, "offline")
    logger.metrics(1, {"charts/SPS": 1.0})
    logger.close()
    assert capsys.readouterr().out.count("W&B is off: no room") == 1


def test_a_missing_wandb_is_off_with_one_message(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    open_logger(run, "auto").close()
    assert capsys.readouterr().out.count("W&B is off: ") == 1


def test_auto_is_offline_when_nobody_is_logged_in(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    open_logger(run, "auto").close()
    assert len(fragments(run)) == 1
    assert "log in" not in capsys.readouterr().out


def test_online_without_a_login_says_so_and_is_offline(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    open_logger(run, "online").close()
    assert len(fragments(run)) == 1
    assert "not logged in to W&B: run `wandb login`" in capsys.readouterr().out


def test_online_resumes_the_same_wandb_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(wandb, "login", lambda **_: True)
    monkeypatch.setattr(wandb, "init", lambda **options: asked.append(options) or FakeRun())
    open_logger(run, "auto", console=False).close()
    open_logger(run, "online", console=False, start_step=500).close()
    first, second = asked
    assert first["mode"] == second["mode"] == "online"
    assert "id" not in first
    assert (second["id"], second["resume"]) == ("abc", "allow")


UNREACHABLE = """
import sys, time
from agents.core import log
from agents.core.run import Run
log.INIT_SECONDS = 2.0
start = time.monotonic()
run = Run.create(sys.argv[1], "Pong", "dqn", 1)
logger = log.Logger(run, {}, total_steps=10, wandb_mode=sys.argv[2])
logger.metrics(1, {"charts/SPS": 1.0})
logger.close()
print("seconds", time.monotonic() - start)
"""


@pytest.mark.parametrize("mode", ["auto", "online"])
def test_without_a_network_a_run_is_offline_within_seconds(tmp_path: Path, mode: str) -> None:
    environment = os.environ | {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}
    command = [sys.executable, "-c", UNREACHABLE, str(tmp_path / "runs"), mode]
    start = time.monotonic()
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert time.monotonic() - start < 30
    assert done.stdout.count("W&B cannot be reached: Timed out") == 1
    (path,) = (tmp_path / "runs").iterdir()
    (fragment,) = fragments(Run(path, "dqn"))
    assert fragment.history[0]["global_step"] == 1
    assert float(done.stdout.rsplit("seconds ", 1)[1]) < 15


def test_close_is_idempotent(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRun()
    monkeypatch.setattr(wandb, "init", lambda **_: fake)
    logger = open_logger(run, "offline")
    logger.close(exit_code=1)
    logger.close()
    finished = [call for call in fake.calls if call[0] == "finish"]
    assert finished == [("finish", (), {"exit_code": 1})]


INTERRUPTED = """
import sys, time
from agents.core.log import Logger
from agents.core.run import Run
logger = Logger(Run.create(sys.argv[1], "Pong", "dqn", 1), {}, total_steps=10, wandb_mode="offline")
try:
    for step in range(10_000):
        logger.metrics(step, {"charts/SPS": 1.0})
        time.sleep(0.02)
except KeyboardInterrupt:
    logger.close(exit_code=130)
finally:
    logger.close()
    print("closed")
"""


def test_an_interrupted_run_is_closed_and_whole(tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-c", INTERRUPTED, str(tmp_path)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, start_new_session=True, **pipes) as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("step 5 "):
                break
        os.killpg(process.pid, signal.SIGINT)  # As a terminal does: W&B's process gets it too.
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.endswith("closed\n")
    (path,) = tmp_path.iterdir()
    run = Run(path, "dqn")
    (fragment,) = fragments(run)
    assert fragment.exit_code == 130
    steps = [record["step"] for record in metrics_of(run)]
    assert steps[:6] == [0, 1, 2, 3, 4, 5]
    assert abs(len(fragment.history) - len(steps)) <= 1


def test_only_the_logger_and_the_dashboard_know_wandb() -> None:
    root = Path(__file__).parents[1]
    users = {
        path.relative_to(root).as_posix()
        for room in ("agents", "demos", "envs")
        for path in (root / room).rglob("*.py")
        if re.search(r"^\s*(import|from) wandb\b", path.read_text(), flags=re.MULTILINE)
    }
    logger = Path(log.__file__).relative_to(root).as_posix()
    assert users == {logger, "agents/dashboard/__main__.py"}


def test_wandb_is_imported_only_when_it_is_used() -> None:
    code = "import sys, agents.core.log; sys.exit('wandb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
