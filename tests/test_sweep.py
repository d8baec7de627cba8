"""Sweeps: W&B and we take the same files, and a sweep survives what happens to its trials."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("optuna")

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from agents.core.math.schedules import Linear
from agents.core.training.algorithms import algorithm
from agents.core.training.arguments import parse
from agents.sweep import plan, shipped, study, trials
from agents.sweep.__main__ import main
from envs import UserError, plugins

FILES = sorted((Path(__file__).parents[1] / "sweeps").glob("*.yaml"))

TOY = """
method: bayes
metric: {name: eval/return_mean, goal: maximize}
command: [python, -m, agents.reinforce, --env=CartPole-v1, "${args}"]
parameters:
  learning_rate: {distribution: log_uniform_values, min: 0.0001, max: 0.01}
  seed: {distribution: int_uniform, min: 1, max: 9}
"""

TRAINING = """
import json, math, pathlib, signal, sys, time
given = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[1:])
run = pathlib.Path(given["runs-dir"]) / "CartPole-v1__reinforce__1__20261122-000000"
run.mkdir()
def save(*_):
    (run / "saved").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
rate, seed = float(given["learning_rate"]), int(given["seed"])
score = -abs(math.log10(rate) + 3)
with (run / "metrics.jsonl").open("w") as file:
    for step in (1, 2, 3):
        line = {"step": step, "time": step, "eval/return_mean": score * (4 - step)}
        file.write(json.dumps(line) + chr(10))
(run / "eval.json").write_text(json.dumps({"eval/return_mean": 2 * score}))
# What is below the middle has more to do, and is to be stopped meanwhile.
time.sleep(SLEEP if score < -0.5 else 0)
if seed == FAILS:
    print("error: it broke")
    sys.exit("afterwards")
"""
"""What a training leaves, without one: best at a learning rate of 0.001."""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes a sweep's file whose trainings are pretended."""

    def make(text: str = TOY, sleep: float = 0, fails: int = 0) -> Path:
        script = tmp_path / "training.py"
        script.write_text(TRAINING.replace("SLEEP", str(sleep)).replace("FAILS", str(fails)))
        start = [sys.executable, "-S", "-E", str(script)]
        monkeypatch.setattr(study, "python_command", lambda _, args: [*start, *args[1:]])
        monkeypatch.setattr(trials, "LOOK_SECONDS", 0.05)
        file = tmp_path / "toy.yaml"
        file.write_text(text)
        return file

    return make


def run(*args: Any) -> int:
    with pytest.raises(SystemExit) as exit_info:
        main([str(each) for each in args])
    assert isinstance(exit_info.value.code, int)
    return exit_info.value.code


def chosen(out: Path, file: Path) -> list[dict[str, Any]]:
    opened = study.open_study(plan.read(file), file, out)
    return [trial.params for trial in opened.get_trials()]


def first_of(setting: Any) -> Any:
    """The value at the run's first step."""
    return setting.start if isinstance(setting, Linear) else setting


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_algorithm_takes_its_sweep_as_wandb_writes_it(file: Path) -> None:
    wanted = plan.read(file)
    assert wanted.algo == file.stem
    assert (wanted.metric, wanted.maximize) == ("eval/return_mean", True)
    for corner in (0, -1):
        values = {name: plan.corners(each)[corner] for name, each in wanted.parameters.items()}
        config = parse(algorithm(wanted.algo), wanted.arguments(values)).config
        assert {name: first_of(getattr(config, name)) for name in values} == values
        # W&B writes the last evaluation's value into its summary: there must be one at the end.
        assert config.total_steps % config.eval_every_steps == 0
        words = create_sweep_command_args({"args": {k: {"value": v} for k, v in values.items()}})
        macro = "args_no_boolean_flags" if wanted.plain_booleans else "args"
        assert wanted.arguments(values) == [*wanted.fixed, *words[macro]]


def test_there_is_a_sweep_for_each_family() -> None:
    assert [file.stem for file in FILES] == ["bc", "dqn", "ppo"]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"value": 3}, CategoricalDistribution([3])),
        ({"values": [1, "a", True]}, CategoricalDistribution([1, "a", True])),
        ({"distribution": "constant", "value": 0.5}, CategoricalDistribution([0.5])),
        ({"min": 1, "max": 5}, IntDistribution(1, 5)),
        ({"min": 0.0, "max": 5}, FloatDistribution(0, 5)),
        ({"distribution": "uniform", "min": 0, "max": 5}, FloatDistribution(0, 5)),
        (
            {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.25},
            FloatDistribution(0, 1, step=0.25),
        ),
        (
            {"distribution": "log_uniform_values", "min": 0.1, "max": 10},
            FloatDistribution(0.1, 10, log=True),
        ),
        (
            {"distribution": "q_log_uniform_values", "min": 1, "max": 64},
            IntDistribution(1, 64, log=True),
        ),
    ],
)
def test_wandbs_distributions_are_optunas(
    entries: dict[str, Any], expected: BaseDistribution
) -> None:
    assert plan.distribution("x", entries) == expected


def changed(**entries: Any) -> str:
    values = yaml.safe_load(TOY) | entries
    return yaml.safe_dump({name: value for name, value in values.items() if value is not None})


def tried(**entries: Any) -> str:
    return changed(parameters=entries)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "not YAML"),
        ("- 1", "the file: must have entries"),
        (changed(metod="bayes"), "did you mean 'method'?"),
        (changed(method="grid"), "method grid: allowed are bayes, random"),
        (changed(metric={"goal": "maximize"}), "metric: the name is missing"),
        (changed(metric={"name": "x", "goal": "max"}), "allowed are maximize, minimize"),
        (changed(command=None), "command: it must be a list"),
        (changed(command=["python", "-m", "http.server", "${args}"]), "only agents.<algorithm>"),
        (changed(command=["python", "-m", "agents.dqnn", "${args}"]), "did you mean 'dqn'?"),
        (changed(command=["python", "-m", "agents.dqn"]), "its last word"),
        (changed(command=["python", "-m", "agents.dqn", "${env}", "${args}"]), "its last word"),
        (
            changed(command=["-m", "agents.dqn", "--stepz=1", "${args}"]),
            "options: --stepz=1",
        ),
        (changed(parameters=None), "parameters: must have entries"),
        (changed(early_terminate={"type": "envelope"}), "allowed are hyperband"),
        (
            changed(early_terminate={"type": "hyperband", "max_iter": 9}),
            "early_terminate: max_iter",
        ),
        (changed(early_terminate={"type": "hyperband"}), "min_iter must be at least 1"),
        (tried(lerning_rate={"value": 1}), "did you mean 'learning_rate'?"),
        (tried(runs_dirs={"value": "x"}), "parameter runs_dirs: agents.reinforce has no such"),
        (tried(gamma={"min": 0.5, "max": 1.5}), "--gamma 1.5: must be between 0 and 1"),
        (
            tried(hidden={"values": [64, "many"]}),
            "hidden: many: --hidden many: must be a whole",
        ),
        (tried(layer_norm={"values": [True, False]}), "needs ${args_no_boolean_flags}"),
        (tried(gamma={"min": 0.9, "max": 0.5}), "parameter gamma: "),
        (tried(gamma={"min": "1e-4", "max": 1}), "parameter gamma: min is '1e-4', but must be a"),
        (tried(gamma={"max": 1}), "parameter gamma: min is None"),
        (tried(gamma={"min": 0, "max": 1, "mu": 1}), "parameter gamma: mu"),
        (tried(gamma={"values": []}), "values must be a list of at least one"),
        (tried(gamma={"values": [[1]]}), "a value must be a number"),
        (
            tried(gamma={"distribution": "log_uniform", "min": 0.1, "max": 1}),
            "distribution log_uniform: allowed are",
        ),
        (
            tried(gamma={"distribution": "log_uniform_values", "min": 0, "max": 1}),
            "parameter gamma: ",
        ),
    ],
)
def test_a_mistake_in_the_file_ends_in_one_line_that_names_it(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    assert run(file, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert message in error
    assert str(file) in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_best_of_a_sweep_comes_first_with_its_command(
    toy: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = toy(fails=4), tmp_path / "out"
    opened = study.open_study(plan.read(file), file, out)
    opened.enqueue_trial({"learning_rate": 0.002, "seed": 4})
    assert run(file, "--trials", 4, "--out", out) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "trial 0: failed: error: it broke" in lines
    assert sum("finished, eval/return_mean" in line for line in lines) == 3
    best = opened.best_trial
    table = next(i for i, line in enumerate(lines) if "learning_rate" in line and "seconds" in line)
    assert lines[table + 1].split()[0] == str(best.number)
    assert lines[-1] == (
        "python -m agents.reinforce --env=CartPole-v1 "
        f"--learning_rate={best.params['learning_rate']} --seed={best.params['seed']}"
    )
    assert f"{best.number:03d}/CartPole-v1__reinforce__1__" in lines[-2]
    # Of the last evaluation, as the file says, not of the final score.
    assert best.value == max(each.value for each in opened.trials if each.value is not None)
    assert best.intermediate_values[3] == best.value


def test_a_sweep_that_goes_on_tries_what_one_that_did_not_stop_tries(
    toy: Callable[..., Path], tmp_path: Path
) -> None:
    # More than ten: from then on Optuna learns from those before.
    file, once, twice = toy(), tmp_path / "once", tmp_path / "twice"
    assert run(file, "--trials", 12, "--out", once) == 0
    assert run(file, "--trials", 6, "--out", twice) == 0
    assert run(file, "--trials", 12, "--out", twice) == 0
    assert len(chosen(once, file)) == 12
    assert chosen(once, file) == chosen(twice, file)
    assert run(file, "--trials", 12, "--out", twice) == 0
    assert len(chosen(twice, file)) == 12


def test_what_falls_behind_is_saved_and_stopped(
    toy: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = TOY + "early_terminate: {type: hyperband, min_iter: 1, eta: 2}\n"
    file, out = toy(text, sleep=300), tmp_path / "out"
    # The first two, of which the worse one would sleep, and more for them to be compared with.
    start = time.monotonic()
    first = 0.001
    opened = study.open_study(plan.read(file), file, out)
    opened.enqueue_trial({"learning_rate": first, "seed": 1})
    opened.enqueue_trial({"learning_rate": 0.01, "seed": 1})
    assert run(file, "--trials", 2, "--out", out) == 0
    assert time.monotonic() - start < 200
    words = capsys.readouterr().out
    assert "trial 0: finished, eval/return_mean 0\n" in words.replace("-0\n", "0\n")
    assert "trial 1: stopped, eval/return_mean -1\n" in words
    (run_path,) = (out / "001").glob("CartPole*")
    assert (run_path / "saved").exists()


def test_the_final_score_can_be_what_counts(toy: Callable[..., Path], tmp_path: Path) -> None:
    file = toy(changed(metric={"name": "score", "goal": "minimize"}))
    assert run(file, "--trials", 2, "--out", tmp_path / "out") == 0
    opened = study.open_study(plan.read(file), file, tmp_path / "out")
    for trial in opened.trials:
        assert trial.value == pytest.approx(2 * trial.intermediate_values[3])
    assert opened.best_value == min(each.value for each in opened.trials if each.value is not None)


def test_ctrl_c_saves_the_training_and_keeps_the_trials_before(
    toy: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = toy(sleep=300), tmp_path / "out"
    opened = study.open_study(plan.read(file), file, out)
    opened.enqueue_trial({"learning_rate": 0.001, "seed": 1})
    opened.enqueue_trial({"learning_rate": 0.01, "seed": 2})

    def press() -> None:
        # Its metrics are there when it has its handler.
        while not list((out / "001").glob("*/eval.json")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    assert run(file, "--trials", 3, "--out", out) == 130
    assert "stopped after 1 of 3 trials; the same command continues" in capsys.readouterr().out
    (run_path,) = (out / "001").glob("CartPole*")
    assert (run_path / "saved").exists()
    toy()
    assert run(file, "--trials", 2, "--out", out) == 0
    assert [each["learning_rate"] for each in chosen(out, file)] == [0.001, 0.01, 0.01]


@pytest.mark.parametrize("call", ["report", "should_prune"])
def test_ctrl_c_waits_for_the_database(
    call: str,
    toy: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    written = getattr(optuna.trial.Trial, call)
    ended: list[bool] = []

    def pressed(*args: Any) -> Any:
        if not ended:
            os.kill(os.getpid(), signal.SIGINT)
        result = written(*args)
        ended.append(True)
        return result

    monkeypatch.setattr(optuna.trial.Trial, call, pressed)
    assert run(toy(), "--trials", 2, "--out", tmp_path / "out") == 130
    assert ended
    printed = capsys.readouterr().out
    assert "of 2 trials; the same command continues" in printed


def test_a_trial_that_was_lost_with_its_sweep_is_tried_again(
    toy: Callable[..., Path], tmp_path: Path
) -> None:
    file, out = toy(), tmp_path / "out"
    wanted = plan.read(file)
    lost = study.open_study(wanted, file, out).ask(wanted.parameters)
    assert run(file, "--trials", 1, "--out", out) == 0
    assert chosen(out, file) == [lost.params, lost.params]


OWN = """
method: random
metric: {name: eval/return_mean, goal: maximize}
command: [python, -m, joystick, my_sweep_algo, --plugin=my_sweep_algo.py, --env=CartPole-v1,
  --total-steps=512, --num-envs=4, --horizon-steps=32, --eval-every-steps=0,
  --final-eval-episodes=1, --no-video, "${args}"]
parameters:
  entropy_coefficient: {min: 0.001, max: 0.01}
"""


def own_sweep(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sweep of the algorithm of docs/examples, under a name of its own."""
    example = Path(__file__).parents[1] / "docs" / "examples" / "my_algo.py"
    shutil.copy(example, folder / "my_sweep_algo.py")
    file = folder / "own.yaml"
    file.write_text(OWN)
    monkeypatch.chdir(folder)
    monkeypatch.delitem(sys.modules, "my_sweep_algo", raising=False)
    monkeypatch.setattr(plugins, "_loaded", {})
    return file


def test_a_plugins_algorithm_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = own_sweep(tmp_path, monkeypatch)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    code = run(file, "--trials", 1, "--out", "out", "--plugin", "my_sweep_algo.py")
    printed = capsys.readouterr().out
    assert code == 0, printed
    plugin = f"--plugin={tmp_path / 'my_sweep_algo.py'}"
    assert f"python -m joystick my_sweep_algo {plugin} --env=CartPole-v1" in printed


def test_a_sweeps_file_alone_imports_no_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = own_sweep(tmp_path, monkeypatch)
    (tmp_path / "my_sweep_algo.py").write_text("raise SystemExit('imported')")
    assert run(file, "--trials", 1, "--out", "out") == 2
    error = capsys.readouterr().err
    assert "--plugin my_sweep_algo.py: a file alone must not import code; give the" in error
    assert "my_sweep_algo" not in sys.modules


def test_a_folder_keeps_to_its_sweep(
    toy: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = toy(), tmp_path / "out"
    assert run(file, "--trials", 1, "--out", out) == 0
    file.write_text(changed(method="random"))
    assert run(file, "--out", out) == 2
    assert "has another sweep" in capsys.readouterr().err
    file.write_text(TOY)
    (out / "study.db").write_bytes(b"no database at all" * 100)
    assert run(file, "--out", out) == 2
    error = capsys.readouterr().err
    assert "study.db cannot be read" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE trials SET number = ''",
        "UPDATE trials SET number = 7",
        "UPDATE trials SET number = -1",
        "UPDATE trials SET state = 'x'",
        "UPDATE trial_values SET value = 'high'",
        "UPDATE trial_values SET value_type = 'x'",
        "UPDATE trial_params SET param_name = 'env' WHERE param_name = 'seed'",
        "UPDATE trial_params SET param_value = -5 WHERE param_name = 'learning_rate'",
        "UPDATE trial_params SET distribution_json = '{}'",
        "UPDATE trial_params SET distribution_json = '['",
        "UPDATE trial_intermediate_values SET intermediate_value = 'x'",
        "UPDATE trial_user_attributes SET value_json = '['",
    ],
)
def test_a_study_of_any_other_content_is_one_line(
    toy: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    file, out = toy(), tmp_path / "out"
    assert run(file, "--trials", 1, "--out", out) == 0
    with closing(sqlite3.connect(out / "study.db")) as base:
        base.execute("PRAGMA ignore_check_constraints = ON")
        base.execute(change)
        base.commit()
    capsys.readouterr()
    assert run(file, "--trials", 1, "--out", out) == 2
    said = capsys.readouterr()
    assert "study.db cannot be read: " in said.err
    assert said.err.count("\n") == 1
    assert "python -m" not in said.out


@pytest.mark.parametrize("empty", [False, True])
def test_the_best_trial_is_told_where_its_run_is_gone(
    toy: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], empty: bool
) -> None:
    file, out = toy(), tmp_path / "out"
    assert run(file, "--trials", 1, "--out", out) == 0
    shutil.rmtree(out / "000")
    if empty:
        (out / "000").mkdir()
    assert run(file, "--trials", 1, "--out", out) == 0
    assert "best: trial 0, its run is gone" in capsys.readouterr().out


def test_a_sweep_whose_trials_all_fail_says_so(
    toy: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = toy(tried(learning_rate={"value": 0.001}, seed={"value": 4}), fails=4)
    assert run(file, "--trials", 2, "--out", tmp_path / "out") == 1
    assert "no trial has finished" in capsys.readouterr().out


def test_a_missing_optuna_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert run(FILES[0]) == 2
    assert "pip install -e '.[sweep]'" in capsys.readouterr().err


def test_a_real_training_is_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = ("--total-steps=400", "--eval-every-steps=200", "--eval-episodes=2", "--no-video")
    quick = (*quick, "--final-eval-episodes=2", "--num-threads=1")
    command = ["${env}", "python", "-m", "agents.reinforce", "--env=CartPole-v1", *quick, "${args}"]
    file = tmp_path / "real.yaml"
    file.write_text(changed(command=command, metric={"name": "score"}))
    assert run(file, "--trials", 1, "--out", tmp_path / "out") == 0
    words = capsys.readouterr().out
    assert "trial 0: finished, score " in words
    (run_path,) = (tmp_path / "out" / "000").glob("CartPole-v1__reinforce__*")
    assert not (run_path / "wandb").exists()


def test_a_plan_is_refused_where_its_file_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        plan.read(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not UTF-8 text"):
        plan.read(tmp_path / "binary.yaml")


@pytest.mark.parametrize("name", ["dqn", "dqn.yaml", "sweeps/dqn.yaml"])
def test_a_shipped_sweep_is_found_by_its_name_in_every_directory(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert plan.read(shipped.located(Path(name))).algo == "dqn"
    own = tmp_path / name
    own.parent.mkdir(exist_ok=True)
    own.write_text(TOY)
    assert plan.read(shipped.located(Path(name))).algo == "reinforce"


def test_every_file_of_sweeps_is_shipped() -> None:
    assert list(shipped.shipped().values()) == FILES


@pytest.mark.parametrize(
    ("name", "near"), [("dqm", "did you mean 'dqn'"), ("elsewhere/dqn.yaml", "'dqn'"), ("x", "")]
)
def test_a_sweep_that_is_not_there_is_refused_in_one_line(
    name: str, near: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / name) == 2
    assert run(Path(name)) == 2
    words = capsys.readouterr().err.splitlines()
    assert len(words) == 2 and all("shipped are: bc, dqn, ppo" in line for line in words)
    assert near in words[1]


def test_a_shipped_sweep_says_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "run", lambda *given: 0)
    assert run(Path("ppo")) == 0
    path = shipped.shipped()["ppo"]
    assert capsys.readouterr().out == f"ppo is the shipped sweep {path}\n"
