"""The benchmarks run, measure what they say and write results that can be read again."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import CONTINUOUS, SIBLINGS, run_tiny
from support.refusals import error_line

from agents.core.math import losses
from agents.core.runs.run import Run
from agents.core.training.algorithms import algorithms
from benchmarks import contenders_sb3, machine, memory, profile, scaling, throughput, time_to_score
from benchmarks.contenders import CONTENDERS, Contender, Joystick
from benchmarks.contenders_sb3 import StableBaselines
from benchmarks.isolated_process import in_own_process
from benchmarks.phases import ELSE, Phases, points, settings
from benchmarks.workloads import make_config, measurable
from envs import UserError


def test_a_result_says_how_and_on_what_it_was_measured(tmp_path: Path) -> None:
    path = machine.write_result("speed", {"ratio": 2.5}, tmp_path)
    record = json.loads(path.read_text())
    assert path.name.startswith("speed-")
    assert record["result"] == {"ratio": 2.5}
    assert record["command"].startswith("python ")
    assert record["machine"]["cores"] >= 1
    assert record["machine"]["packages"]["torch"]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


SMALL: dict[str, dict[str, Any]] = {
    "ppo": {"num_envs": 4, "horizon_steps": 16, "batch_size": 32},
    "a2c": {"num_envs": 4},
    "pqn": {"num_envs": 4, "horizon_steps": 16, "batch_size": 32},
    "sac": {"learning_starts_steps": 32, "batch_size": 16, "samples_per_step": 16.0},
}
OF_VALUES = {"learning_starts_steps": 32}
UPDATES_PER_STEP = {"ppo": 4 / 32, "a2c": 1 / 20, "pqn": 2 / 32, "sac": 1.0}
UPDATES_PER_STEP_OF_VALUES = 1 / 4


def small(algo: str, **changed: Any) -> Any:
    its = SMALL.get(algo, OF_VALUES)
    settings = {"precision": "fp32", "device": "cpu", "num_threads": 1, **its, **changed}
    return make_config(algo, **settings)


def updates_per_step(contender: Contender) -> float:
    contender.advance(48)
    speed, updates = throughput.turn(contender, 40)
    assert speed > 0
    return updates


EVERY_CONTENDER = [
    # A2C's machinery is PPO's.
    pytest.param(name, algo, marks=pytest.mark.slow if algo == "a2c" else ())
    for algo in ("dqn", "ppo", "a2c")
    for name in CONTENDERS
]
OTHERS = [
    pytest.param("learner", algo, marks=pytest.mark.slow if algo in SIBLINGS else ())
    for algo in measurable()
    if algo not in ("dqn", "ppo", "a2c")
]


@pytest.mark.parametrize(("name", "algo"), [*EVERY_CONTENDER, *OTHERS])
def test_all_but_acting_do_as_many_updates(name: str, algo: str) -> None:
    learning = UPDATES_PER_STEP.get(algo, UPDATES_PER_STEP_OF_VALUES)
    expected = 0 if name == "acting" else learning
    assert updates_per_step(CONTENDERS[name](algo, small(algo))) == expected


@pytest.mark.parametrize(
    ("algo", "num_envs"),
    [("dqn", 1), ("dqn", 8), ("qr_dqn", 8), ("ppo", 4), ("a2c", 4), ("sac", 1)],
)
def test_the_peer_does_as_many_updates(algo: str, num_envs: int) -> None:
    pytest.importorskip("sb3_contrib")
    contender = StableBaselines(algo, small(algo, num_envs=num_envs))
    expected = UPDATES_PER_STEP.get(algo, UPDATES_PER_STEP_OF_VALUES)
    assert updates_per_step(contender) == expected


@pytest.mark.parametrize("algo", contenders_sb3.ARGUMENTS)
def test_the_peer_has_as_large_a_network_and_the_same_optimizer(algo: str) -> None:
    pytest.importorskip("sb3_contrib")
    config = small(algo)
    ours = Joystick(algo, config).agent.learner.parts["critic" if algo == "sac" else "policy"]
    their_group = StableBaselines(algo, config).optimizer.param_groups[0]
    assert sum(p.numel() for p in ours.parameters) == sum(p.numel() for p in their_group["params"])
    same = {"lr", "eps", "betas", "alpha", "centered", "momentum", "weight_decay"}
    for name, value in ours.optimizer.param_groups[0].items():
        assert name not in same or value == their_group[name], name


@pytest.mark.parametrize("algo", ["ppo", "a2c"])
def test_values_count_the_same_in_both_losses(algo: str) -> None:
    config = small(algo)
    ours = config.value_coefficient * losses.squared(torch.tensor(3.0))
    assert contenders_sb3.ARGUMENTS[algo](config)["vf_coef"] * 3.0**2 == ours


def test_every_algorithm_of_values_can_be_measured_beside_dqn_and_a_peer() -> None:
    names = measurable()
    assert {*names} >= {"a2c", "dqn", "ppo", "qr_dqn", "sac"} == {*contenders_sb3.ARGUMENTS}
    for algo in names:
        entrants = throughput.Arguments(algo=algo, beside=("dqn",)).entrants()
        for each in entrants:
            each.config.validate()
        sides = [each.side for each in entrants]
        own = [name for name in CONTENDERS if name != "limit" or algo != "sac"]
        assert sides[: len(own) + 1] == [*own, "joystick dqn"]
        own_peer = algo if algo in contenders_sb3.ARGUMENTS else "dqn"
        of_peers = {each.side: each.algo for each in entrants if each.maker == "sb3"}
        assert of_peers == {"sb3": own_peer} | ({"sb3 dqn": "dqn"} if own_peer != "dqn" else {})


def test_an_algorithm_without_a_work_is_refused_with_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = error_line(lambda: throughput.main(["--algo", "bc"]), capsys)
    assert line.startswith("no work is defined for bc, only for a2c, ")
    line = error_line(lambda: throughput.main(["--beside", "dqm"]), capsys)
    assert line.startswith("unknown algorithm 'dqm'")


def test_the_ratio_is_to_the_faster_set_up_of_the_peer() -> None:
    speeds = {
        "joystick": (300, 330, 600),
        "limit": (400, 440, 500),
        "learner": (410, 400, 420),
        "acting": (1320, 1320, 1320),
        "joystick dqn": (220, 200, 400),
    }
    contenders = [
        {"side": name, "algo": "dqn" if "dqn" in name else "qr_dqn", "rounds": list(rounds)}
        for name, rounds in speeds.items()
    ]
    contenders += [
        {"side": "sb3", "algo": "qr_dqn", "rounds": [100, 90, 80]},
        {"side": "sb3", "algo": "qr_dqn", "rounds": [110, 120, 100]},
        {"side": "sb3 dqn", "algo": "dqn", "rounds": [440, 440, 440]},
    ]
    result = throughput.summary(contenders)
    assert result["ratio"] == 3.0  # 330 / 110, of the medians.
    assert result["ratio_of_each_round"] == [2.73, 2.75, 6.0]
    assert result["beside"] == {"joystick dqn": 1.5}  # 330 / 220
    assert result["to_peer"] == {"qr_dqn": 3.0, "dqn": 0.5}
    assert result["share_of_limit"] == 0.75  # 330 / 440
    assert result["limit_with_acting"] == 330.0  # 1 / (1 / 440 + 1 / 1320)
    assert result["share_of_limit_with_acting"] == 1.0


def test_a_full_replay_takes_about_one_frame_a_transition() -> None:
    result = memory.fill(memory.Arguments(transitions=40_000))
    assert result["transitions"][-1] == 40_000
    assert len(result["transitions"]) == memory.PIECES + 1
    assert result["arithmetic_bytes"]["single frames"] == 40_000 * 7056
    # The allocator's and the fields' share is larger the smaller the replay is.
    assert 0.9 * 7056 < result["bytes_per_transition"] < 1.5 * 7056


def test_a_replay_that_does_not_fit_is_skipped_with_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    memory.main(["--transitions", "100000000000"])
    assert capsys.readouterr().out.startswith("skipped: a replay of 100,000,000,000")


def test_a_replay_that_cannot_be_is_an_error_and_not_skipped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert error_line(lambda: memory.main(["--transitions", "10"]), capsys).startswith(
        "--buffer-size 10:"
    )
    assert "--memory-share 2.0: must be" in error_line(
        lambda: memory.main(["--memory-share", "2"]), capsys
    )


@pytest.mark.parametrize("optimized", [True, False])
def test_the_peers_full_replay_takes_its_stacks(optimized: bool) -> None:
    pytest.importorskip("stable_baselines3")
    result = in_own_process(memory.fill_peer, 2_004, optimized)
    assert result["transitions"] == 2_000
    stacks = (1 if optimized else 2) * 4 * 7056
    assert stacks < result["bytes_per_transition"] < 1.1 * stacks


def test_a_peer_fills_its_share_of_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("stable_baselines3")
    free = SimpleNamespace(available=1e9)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: free)
    monkeypatch.setattr(memory, "in_own_process", lambda function, *given: given)
    few, many = (memory.Arguments(transitions=n, memory_share=0.5) for n in (10_000, 10**9))
    assert list(memory.measure_peers(few).values()) == [(10_000, True), (8_857, False)]
    # 0.5e9 bytes are 17,715 times 4 frames of 7,056 bytes, and 8,857 times 8.
    assert list(memory.measure_peers(many).values()) == [(17_715, True), (8_857, False)]


def test_without_the_peer_its_replay_is_skipped_with_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory.importlib.util, "find_spec", lambda name: None)
    result = memory.fill(memory.Arguments(transitions=20_000))
    memory.show(result | {"peers": memory.measure_peers(memory.Arguments())})
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("skipped: ")] == [
        "skipped: stable-baselines3 is not installed: pip install -e '.[bench]'"
    ]


def test_what_ends_a_measurements_process_is_said() -> None:
    with pytest.raises(UserError, match="--buffer-size 10"):
        in_own_process(memory.make_replay, memory.Arguments(transitions=10))
    with pytest.raises(UserError, match="ended with 3: see its error above"):
        in_own_process(os._exit, 3)
    with pytest.raises(UserError, match="ended with -9: killed, probably for lack of memory"):
        in_own_process(signal.raise_signal, signal.SIGKILL)


class Parts:
    """Functions that call one another, and a clock that each moves on by what it takes."""

    def __init__(self) -> None:
        self.now = 0.0

    def outer(self) -> None:
        self.now += 1.0
        self.inner()
        self.now += 2.0

    def inner(self) -> None:
        self.now += 10.0

    def items(self) -> Any:
        for _ in range(2):
            self.now += 100.0
            yield

    def broken(self) -> None:
        self.now += 5.0
        raise ValueError("broken")


def test_phases_within_each_other_count_once_and_add_up_to_the_whole() -> None:
    parts = Parts()
    phases = Phases(clock=lambda: parts.now)
    wrapped = [(name, parts, name) for name in ("outer", "inner", "items", "broken")]
    for _ in range(2):
        with phases.attached(wrapped):
            parts.outer()
            for _ in parts.items():
                parts.now += 1000.0
                parts.inner()
            with pytest.raises(ValueError, match="broken"):
                parts.broken()
            parts.now += 0.5
        # What happens between turns does not count.
        parts.outer()
    assert phases.seconds == {
        "outer": 2 * 3.0,
        "inner": 2 * 30.0,
        "items": 2 * 200.0,
        "broken": 2 * 5.0,
        ELSE: 2 * 2000.5,
    }
    assert list(phases.shares) == [ELSE, "items", "inner", "broken", "outer"]
    assert sum(phases.shares.values()) == pytest.approx(1.0)
    assert vars(parts).keys() == {"now"}


def test_a_workers_time_is_not_the_main_threads() -> None:
    parts = Parts()
    phases = Phases(clock=lambda: parts.now)
    with ThreadPoolExecutor(1) as pool, phases.attached([("inner", parts, "inner")]):
        pool.submit(parts.inner).result()
    assert phases.seconds == {"inner": 0.0, ELSE: 10.0}


LEARNING = {"sampling", "forward, backward", "optimizer", "learning", ELSE}
ON_POLICY = LEARNING | {"emulator", "acting", "storing"}
PROFILED = {
    "dqn": (
        "--learning-starts-steps 32 --target-every-updates 2",
        ON_POLICY | {"priorities", "target copies"},
    ),
    "c51": (
        "--learning-starts-steps 32 --target-every-updates 2",
        ON_POLICY | {"priorities", "target copies"},
    ),
    "iqn": (
        "--learning-starts-steps 32 --target-every-updates 2",
        ON_POLICY | {"priorities", "target copies"},
    ),
    "qr_dqn": (
        "--learning-starts-steps 32 --target-every-updates 2",
        ON_POLICY | {"priorities", "target copies"},
    ),
    "dqfd": (
        "--learning-starts-steps 32 --target-every-updates 2",
        ON_POLICY | {"priorities", "target copies"},
    ),
    "iq_learn": (
        "--learning-starts-steps 32 --target-every-updates 2",
        ON_POLICY | {"priorities", "target copies"},
    ),
    "sqil": (
        "--learning-starts-steps 32 --target-every-updates 2",
        ON_POLICY | {"priorities", "target copies"},
    ),
    "dagger": (
        "--expert random --games-per-round 2 --batch-size 16 --samples-per-step 4",
        LEARNING | {"playing", "storing"},
    ),
    "gail": (
        "--learning-starts-steps 32 --num-envs 2 --batch-size 16 --samples-per-step 16",
        ON_POLICY | {"priorities", "target copies"},
    ),
    "iq_sac": (
        "--learning-starts-steps 32 --num-envs 2 --batch-size 16 --samples-per-step 16",
        ON_POLICY | {"priorities", "target copies"},
    ),
    "ppo": ("--num-envs 4 --horizon-steps 8 --batch-size 16", ON_POLICY),
    "pqn": ("--num-envs 4 --horizon-steps 8 --batch-size 16", ON_POLICY),
    "sac": (
        "--learning-starts-steps 32 --num-envs 2 --batch-size 16 --samples-per-step 16",
        ON_POLICY | {"priorities", "target copies"},
    ),
    "td3": (
        "--learning-starts-steps 32 --num-envs 2 --batch-size 16 --samples-per-step 16",
        ON_POLICY | {"priorities", "target copies"},
    ),
    "a2c": ("--num-envs 4", ON_POLICY),
    "reinforce": ("--num-envs 4 --horizon-steps 8", ON_POLICY),
    "bc": ("--batch-size 16 --validate-every-steps 64", LEARNING | {"validation"}),
}


SLOW_PROFILES = [
    pytest.param(algo, marks=pytest.mark.slow)
    for algo in PROFILED
    if algo not in ("dqn", "ppo", "bc")
]
"""Algorithms whose parts are the same as the parts of one that is profiled each time."""


def test_every_algorithm_can_be_profiled() -> None:
    assert algorithms() == sorted(PROFILED)


@pytest.mark.parametrize("algo", ["dqn", "ppo", "bc", *SLOW_PROFILES])
def test_a_profile_finds_all_phases_of_an_algorithm(
    algo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, expected = PROFILED[algo]
    env_id = "Pendulum-v1" if algo in CONTINUOUS else "CartPole-v1"
    config = settings(algo, env_id, [*options.split(), "--device", "cpu"])
    trace = tmp_path / "trace.json"
    arguments = profile.Arguments(algo=algo, steps=256, operator_steps=64, trace=trace)
    result = profile.measure(arguments, config)
    assert {name for name, phase in result["phases"].items() if phase["share"] > 0} == expected
    assert sum(phase["share"] for phase in result["phases"].values()) == pytest.approx(1.0)
    microseconds = sum(phase["us_per_step"] for phase in result["phases"].values())
    # The phases' whole is the turns' whole, but for what a busy machine does between them.
    timed = result["steps_per_second"]["timed"]
    assert microseconds == pytest.approx(1e6 / timed, rel=0.2)
    names = [row["name"] for row in result["operators"]]
    assert len(names) == profile.OPERATORS
    # Torch records the inside of aten::detach, and of backward functions, without a namespace.
    namespaced = [n for n in names if n != "detach" and not n.endswith("Backward0")]
    spaces = ("aten::", "autograd::", "torch::")
    assert [name for name in namespaced if not name.startswith(spaces)] == []
    spent = [row["us_per_step"] for row in result["operators"]]
    assert spent == sorted(spent, reverse=True) and spent[-1] > 0
    events = json.loads(trace.read_text())["traceEvents"]
    assert {"forward, backward", "optimizer"} <= {event["name"] for event in events}
    profile.show(result)
    assert len(capsys.readouterr().out.splitlines()) <= 30
    json.dumps(result)


def test_a_profiled_agent_is_itself_again() -> None:
    contender = Joystick("dqn", small("dqn"))
    before = {id(owner): dict(vars(owner)) for _, owner, _ in points(contender)}
    with Phases().attached(points(contender)):
        assert vars(contender.agent).keys() > before[id(contender.agent)].keys()
    assert {id(owner): dict(vars(owner)) for _, owner, _ in points(contender)} == before


def test_the_gpu_is_busy_while_some_kernel_runs() -> None:
    # 2 to 5 and 7 to 9: one span lies within another, two overlap.
    spans = [(7.0, 9.0), (2.0, 4.0), (2.5, 3.0), (3.5, 5.0)]
    assert profile.covered(spans) == 3.0 + 2.0
    assert profile.covered([]) == 0.0


def test_nothing_interrupts_a_measured_training() -> None:
    config = settings("bc", "Pong", ["--patience", "2", "--learning-rate", "0.5"])
    assert config.patience == 0 and config.eval_every_steps == 0
    assert config.learning_rate(0) == 0.5


@pytest.mark.parametrize(
    ("main", "args", "line"),
    [
        (profile.main, "--algo dq", "unknown algorithm 'dq'"),
        (profile.main, "--env Pnog", "unknown environment 'Pnog'"),
        (profile.main, "--steps 0", "--steps 0: must be at least 1"),
        (profile.main, "--trace /nowhere/at/all", "--trace /nowhere/at/all: must be a file"),
        (profile.main, "-- --num-envs 0", "--num-envs 0: must be at least 1"),
        (profile.main, "-- --init-from runs/x", "--resume and --init-from: a measurement needs"),
        (profile.main, "--algo bc -- --demos nowhere", "no dataset at 'nowhere'"),
        (scaling.main, "--seconds 0", "--seconds 0.0: must be above 0"),
        (scaling.main, "--num-envs 8 0", "--num-envs 0: must be at least 1"),
        (scaling.main, "--epochs 4", "--epochs 4: must be left out: dqn has num_envs, batch_size"),
        (scaling.main, "--env CartPole", "unknown environment 'CartPole'"),
    ],
)
def test_a_measurement_refuses_bad_input_with_a_line(
    main: Callable[[list[str]], None], args: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert error_line(lambda: main(args.split()), capsys).startswith(line)


def test_given_lists_are_the_axes_instead_of_all() -> None:
    assert scaling.Arguments(algo="ppo").axes() == scaling.AXES["ppo"]
    given = scaling.Arguments(algo="ppo", epochs=(2,), num_envs=(4, 1))
    assert given.axes() == {"num_envs": (4, 1), "epochs": (2,)}


def test_settings_are_varied_one_at_a_time_and_measured_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    default = settings("dqn", "CartPole-v1", ["--num-envs", "8", "--samples-per-step", "4"])
    measured, speeds = [], itertools.count(100)

    def stand_in(function: object, algo: str, config: Any, seconds: float) -> dict[str, Any]:
        measured.append((config.num_envs, config.samples_per_step))
        if config.samples_per_step > 4:
            raise UserError("too much")
        speed = next(speeds)
        shares = {"acting": 0.75, ELSE: 0.25}
        rates = {"steps_per_second": speed, "samples_per_second": 4 * speed}
        return {**rates, "shares": shares, "resident_bytes": 5e8}

    monkeypatch.setattr(scaling, "in_own_process", stand_in)
    arguments = scaling.Arguments(num_envs=(1, 8), samples_per_step=(4.0, 16.0))
    records = scaling.measure_all(arguments, default)
    assert measured == [(1, 4.0), (8, 4.0), (8, 16.0)]
    at = [(each["axis"], each["value"], each.get("steps_per_second")) for each in records]
    assert at == [
        ("num_envs", 1, 100),
        ("num_envs", 8, 101),
        ("samples_per_step", 4.0, 101),
        ("samples_per_step", 16.0, None),
    ]
    capsys.readouterr()
    scaling.show(records)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["num_envs", "8", "101", "404", "0.50", "75%", "25%"]
    assert lines[-1] == "skipped samples_per_step 16: too much"
    with pytest.raises(UserError, match="too much"):
        scaling.measure_all(scaling.Arguments(samples_per_step=(16.0,)), default)


def test_a_point_is_measured_in_a_process_of_its_own() -> None:
    options = "--num-envs 2 --horizon-steps 16 --batch-size 16 --epochs 3 --device cpu"
    config = settings("ppo", "CartPole-v1", options.split())
    record = in_own_process(scaling.measure, "ppo", config, 0.2)
    assert set(record["shares"]) == ON_POLICY
    assert sum(record["shares"].values()) == pytest.approx(1.0, abs=0.001)
    speed = record["steps_per_second"]
    assert speed > 0 and record["samples_per_second"] == pytest.approx(3 * speed, rel=0.01)
    assert record["resident_bytes"] > 50e6


def test_the_target_is_reached_at_the_first_full_mean_that_is_high_enough(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "Pong", "dqn", seed=1)
    run.save_config({"seed": 1}, {})
    games = [{"charts/episodic_return_20": 20.0 if i in (3, 24) else -20.0} for i in range(30)]
    evaluations = [{"eval/return_mean": mean, "eval/return_ci95": 1.0} for mean in (-3.0, 18.5)]
    with run.metrics_path.open("w") as file:
        for i, values in enumerate(games + evaluations):
            file.write(json.dumps({"step": 100 * i, "time": 60.0 * i, **values}) + "\n")
    result = time_to_score.collect(run, target=18.0)
    assert result["reached_in_training"] == {"step": 2400, "minutes": 24.0, "return": 20.0}
    assert result["reached_in_evaluation"] == {"step": 3100, "minutes": 31.0, "return": 18.5}
    assert [step for step, *_ in result["training_curve"]] == list(range(1900, 3000, 100))
    assert result["score"] is None


@pytest.mark.parametrize(
    ("algo", "processes", "flags"),
    [
        ("dqn", 1, "--learning-starts-steps 100"),
        ("ppo", 2, "--num-envs 4 --horizon-steps 25 --batch-size 100 --eval-every-steps 200"),
    ],
)
def test_a_training_run_is_timed_and_its_memory_measured(
    algo: str, processes: int, flags: str, tmp_path: Path
) -> None:
    shortest = "--total-steps 400 --eval-episodes 1 --final-eval-episodes 2 --num-threads 1"
    arguments = time_to_score.Arguments(
        algo=algo, processes=processes, env_id="CartPole-v1", target=5.0, runs_dir=tmp_path
    )
    passed_on = [*shortest.split(), *flags.split(), "--no-video"]
    result = time_to_score.measure(arguments, passed_on)
    assert result["peak_memory_bytes"] > 50e6
    assert result["minutes_from_start_to_exit"] > 0
    assert result["config"]["env_id"] == "CartPole-v1"
    assert result["evaluation_curve"][-1][0] == 400
    assert result["reached_in_evaluation"]["return"] >= 5.0
    assert result["score"]["episodes"] == 2


def test_a_run_that_was_stopped_is_gone_on_with_and_collected(tmp_path: Path) -> None:
    first = run_tiny(tmp_path, "ppo", "--env", "CartPole-v1", "--total-steps", "512")
    longer = ["--total-steps", "1024", "--eval-episodes", "1", "--final-eval-episodes", "2"]
    arguments = time_to_score.Arguments(resume=first.path, target=5.0)
    result = time_to_score.measure(arguments, longer)
    assert result["resumed"] and result["run"] == str(first.path)
    assert result["config"]["total_steps"] == 1024
    assert result["evaluation_curve"][-1][0] == 1024
    assert result["score"]["episodes"] == 2
