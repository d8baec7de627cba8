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


ALL = ("dqn", "ppo", "pqn", "btr")
"""Every contender."""


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
    gpu.measure(gpu.Arguments(dry_run=dry_run, seconds=10, contenders=ALL))
    tests, dqn, *others = commands
    assert all(Path(name).exists() for name in tests[3:])
    device = "cpu" if dry_run else "cuda"
    flags, rest = options(dqn)
    config = settings("dqn", flags["--env"], rest)
    assert (config.torso, config.device) == ("nature", device)
    if not dry_run:
        assert (config.num_envs, config.preset, config.samples_per_step) == (128, "atari-gpu", 8)
    trained = [each for each in gpu.CONTENDERS.values() if each.trains]
    of_each = 1 + len(gpu.TARGETS)
    assert len(others) == of_each * len(trained)
    for number, contender in enumerate(trained):
        profile, *trainings = others[of_each * number : of_each * (number + 1)]
        flags, rest = options(profile)
        config = settings(contender.algo, flags["--env"], rest)
        assert (config.preset, config.device) == (contender.settings[1], device)
        for command, (env_id, target) in zip(trainings, gpu.TARGETS.items(), strict=True):
            flags, rest = options(command)
            assert (flags["--env"], flags["--target"]) == (env_id, f"{target:g}")
            config = parse(algorithm(contender.algo), ["--env", env_id, *rest]).config
            assert (config.preset, config.device) == (contender.settings[1], device)
            # 1,000 steps a second for 10 seconds, of which 3 are for evaluations.
            assert config.total_steps == (64 if dry_run else 7_000)


def test_a_command_is_shown_and_timed_and_its_result_found(
    capsys: pytest.CaptureFixture[str],
) -> None:
    slow = "import time; time.sleep(0.2); print('some'); print('wrote /there.json')"
    ran = gpu.run(["-c", f"{slow}; raise SystemExit(3)"])
    assert (ran["exit_code"], ran["result"]) == (3, "/there.json")
    assert ran["last_lines"] == ["some", "wrote /there.json"] and ran["seconds"] >= 0.2
    assert "some" in capsys.readouterr().out
    assert gpu.speed_of({"result": None}) == gpu.SPEED_AT_TARGET
