"""The one command for a GPU: each of its commands is one that works."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agents.core.training.algorithms import algorithm
from agents.core.training.arguments import parse
from benchmarks import gpu
from benchmarks.phases import settings


def options(command: list[str]) -> tuple[dict[str, str], list[str]]:
    """The flags of a benchmark by name, and what goes to the algorithm."""
    split = command.index("--")
    return dict(zip(command[2:split:2], command[3:split:2], strict=True)), command[split + 1 :]


@pytest.mark.parametrize("dry_run", [True, False])
def test_every_command_is_one_that_its_benchmark_takes(
    dry_run: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str]) -> dict[str, Any]:
        commands.append(command)
        result = tmp_path / f"{len(commands)}.json"
        result.write_text(json.dumps({"result": {"steps_per_second": {"plain": 1_000.0}}}))
        return {"exit_code": 0, "result": str(result)}

    monkeypatch.setattr(gpu, "run", run)
    monkeypatch.setattr("benchmarks.phases.resolve_device", lambda name: None)
    gpu.measure(gpu.Arguments(dry_run=dry_run, pong_seconds=10))
    tests, dqn, ppo, pong, breakout = commands
    assert all(Path(name).exists() for name in tests[3:])
    for command, algo in ((dqn, "dqn"), (ppo, "ppo")):
        flags, rest = options(command)
        config = settings(algo, flags["--env"], rest)
        assert config.torso == "nature"
        assert config.device == ("cpu" if dry_run else "cuda")
        if not dry_run:
            assert (config.num_envs, config.preset) == (128, "atari-gpu")
            assert getattr(config, "samples_per_step", 8) == 8 and getattr(config, "epochs", 4) == 4
    for command, target in ((pong, "18"), (breakout, "350")):
        flags, rest = options(command)
        assert flags["--target"] == target
        config = parse(algorithm("ppo"), ["--env", flags["--env"], *rest]).config
        assert config.preset == "atari-gpu"
    if not dry_run:
        # 1,000 steps a second for 10 seconds, of which 3 are for evaluations.
        assert parse(algorithm("ppo"), options(pong)[1]).config.total_steps == 7_000


def test_a_command_is_shown_and_timed_and_its_result_found(
    capsys: pytest.CaptureFixture[str],
) -> None:
    slow = "import time; time.sleep(0.2); print('some'); print('wrote /there.json')"
    ran = gpu.run(["-c", f"{slow}; raise SystemExit(3)"])
    assert (ran["exit_code"], ran["result"]) == (3, "/there.json")
    assert ran["last_lines"] == ["some", "wrote /there.json"] and ran["seconds"] >= 0.2
    assert "some" in capsys.readouterr().out
    assert gpu.speed_of({"result": None}) == gpu.SPEED_AT_TARGET
