"""The logger: what it writes can be read back, and nothing that fails in it stops training."""

from __future__ import annotations

import errno
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from agents.core.logging import log
from agents.core.logging.console import LiveConsole, PlainConsole, Progress
from agents.core.logging.log import Logger
from agents.core.runs.run import Run

pytestmark = pytest.mark.usefixtures("a_person_without_wandb_settings")

CONFIG = {"exp_name": "dqn", "env_id": "ALE/Pong-v5", "seed": 1}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path, "ALE/Pong-v5", "dqn", seed=1)


def open_logger(run: Run, wandb_mode: Any = "disabled", **options: Any) -> Logger:
    options = {"total_steps": 1000, "frames_per_step": 4, "tags": ["dqn", "Pong"]} | options
    return Logger(run, CONFIG, wandb_mode=wandb_mode, **options)


def metrics_of(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.metrics_path.read_text().splitlines()]


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
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "open_appending", lambda path: open("/dev/full", "ab"))
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
    logger.metrics(50_312, {"eval/human_normalized": 1.054})
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
    from agents.core.logging import console

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
