"""Bad input: one clear line, exit code 2, no traceback, nothing left behind."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import CONTINUOUS, SIBLINGS, run_tiny

from agents import evaluate
from agents.core.math.schedules import Linear
from agents.core.runs.run import Run
from agents.core.training.algorithms import algorithm, algorithms
from agents.core.training.arguments import parse, preset
from agents.core.training.launch import main
from agents.core.types.settings import Part, flag, names, schedules
from envs import UserError

EVERYONE = [
    (["--env", "Pnog"], "did you mean 'Pong'"),
    (["--env", "CartPoole-v1"], "did you mean 'CartPole-v1'"),
    (["--learning-rate", "-1"], "--learning-rate -1: must be above 0"),
    (["--learning-rate", "nan"], "--learning-rate nan: must be a finite number"),
    (["--learning-rate=inf"], "--learning-rate inf: must be a finite number"),
    (["--max_grad_norm", "-inf"], "--max-grad-norm -inf: must be a finite number"),
    (["--learning-rate", "1e-3x"], "--learning-rate 1e-3x: must be a finite number"),
    (["--seed", "2**64"], "--seed 2**64: must be a whole number below 2**63"),
    (["--seed", str(2**64)], f"--seed {2**64}: must be a whole number below 2**63"),
    (["--total-steps", "1e30"], "--total-steps 1e30: must be a whole number below 2**63"),
    (["--total-steps", "1.5"], "--total-steps 1.5: must be a whole number"),
    (["--seed", "-1"], "--seed -1: must be at least 0"),
    (["--hidden", "1e9"], "--hidden 1000000000: must be at most 16384"),
    (["--torso-width", "1e9"], "--torso-width 1000000000: must be at most 64"),
    (["--num-threads", "1e9"], "--num-threads 1000000000: must be at most 1024"),
    (["--learning-rate", "1-0.1"], "must be a finite number such as 0.1, or a line such as"),
    (["--learning-rate", "1..0@500..500"], "must be a line that begins before step 500, where"),
    (["--learning-rate", "1..0@7.."], "must be a line that begins before step 1, where it ends"),
    (["--learning-rate", "0..1"], "--learning-rate 0..1: must be above 0"),
    (["--anneal-steps", "-1"], "--anneal-steps -1: must be at least 0"),
    (["--anneal-steps", "5", "--learning-rate", "1..0"], "--learning-rate 1..0 already has an end"),
    (["--lerning-rate", "1"], "did you mean --learning-rate"),
    (["--nonsense"], "Unrecognized options: --nonsense"),
    (["word"], "Unrecognized options: word"),
    (["--precision", "fp16"], "invalid choice 'fp16' for argument '--precision'"),
    (["--preset"], "--preset: expected one argument"),
    (["--hidden"], "Missing value for argument '--hidden'"),
    (["--max-grad-norm", "-1"], "--max-grad-norm -1.0: must be at least 0"),
    (["--init-from", "runs/no-such-run"], "no run directory at runs/no-such-run"),
    (["--total-steps", "0"], "--total-steps 0: must be at least 1"),
    (["--hidden", "0"], "--hidden 0: must be at least 1"),
    (["--torso-width", "0"], "--torso-width 0: must be at least 1"),
    (["--preset", "atarri"], "did you mean 'atari'"),
    (["--resume", "runs/no-such-run"], "no-such-run"),
    (["--env", "CartPole-v1", "--torso", "impala"], "use --torso mlp"),
    (["--env", "CartPole-v1", "--runs-dir", "/dev/null/x"], "/dev/null/x"),
]

ACTORS = [
    (["--num-envs", "1e9"], "--num-envs 1000000000: must be at most 65536"),
    (["--num-envs", "0"], "--num-envs 0: must be at least 1"),
    (["--num-envs", "7", "--env-splits", "2"], "--num-envs 7: must be a multiple of env_splits 2"),
]

GAMMA = (["--gamma", "1.01"], "--gamma 1.01: must be between 0 and 1")

POLICIES = [
    *ACTORS,
    GAMMA,
    (["--horizon-steps", "0"], "--horizon-steps 0: must be at least 1"),
    (
        ["--core", "lstm", "--sequence-steps", "3", "--horizon-steps", "8"],
        "multiple of the 3 steps",
    ),
    (["--eval-temperature", "-1"], "--eval-temperature -1.0: must be at least 0"),
    (["--overlap-learning"], "--overlap-learning: {} has no such setting"),
    (["--value-coefficient", "-1"], "--value-coefficient -1.0: must be at least 0"),
]

VALUES = [
    GAMMA,
    (["--epsilon", "1..1.5"], "--epsilon 1..1.5: must be between 0 and 1"),
    (["--n-step", "0"], "--n-step 0: must be at least 1"),
    (["--munchausen", "2"], "--munchausen 2.0: must be between 0 and 1"),
    (["--noise-deviation", "0"], "--noise-deviation 0.0: must be above 0"),
    (["--env", "Pendulum-v1"], "needs discrete actions"),
]

DEMOS = [
    (["--demo-share", "0"], "--demo-share 0.0: must be above 0 and below 1"),
    (["--demo-share", "1"], "--demo-share 1.0: must be above 0 and below 1"),
    (["--fraction", "0"], "--fraction 0.0: must be above 0 and at most 1"),
    (["--num-demos", "-1"], "--num-demos -1: must be at least 0"),
    (["--core", "lstm"], "--core lstm: must be none with demonstrations"),
    (["--batch-size", "1"], "--batch-size 1: must be at least 2"),
    (["--validation-share", "0.2"], "--validation-share: {} has no such setting"),
]

CRITICS = [
    GAMMA,
    (["--target-share", "0"], "--target-share 0.0: must be above 0"),
    (["--target-share", "2"], "--target-share 2.0: must be between 0 and 1"),
    (["--target-every-updates", "0"], "--target-every-updates 0: must be at least 1"),
    (["--eval-temperature", "-1"], "--eval-temperature -1.0: must be at least 0"),
    (["--n-step", "0"], "--n-step 0: must be at least 1"),
    (["--core", "lstm"], "--core: {} has no such setting"),
]

BAD_VALUES = {
    "a2c": [
        *POLICIES,
        (["--gae-lambda", "1.5"], "--gae-lambda 1.5: must be between 0 and 1"),
    ],
    "bc": [
        (["--batch-size", "0"], "--batch-size 0: must be at least 1"),
        (["--fraction", "0"], "--fraction 0.0: must be above 0 and at most 1"),
        (["--num-demos", "-1"], "--num-demos -1: must be at least 0"),
        (["--dropout", "1"], "--dropout 1.0: must be from 0 to below 1"),
        (["--label-smoothing", "-1"], "--label-smoothing -1.0: must be from 0 to below 1"),
        (["--patience", "-1"], "--patience -1: must be at least 0"),
        (["--core", "lstm", "--batch-size", "30"], "--batch-size 30: must be a multiple of"),
        (["--core", "gru", "--sequence-steps", "0"], "--sequence-steps 0: must be at least 1"),
        (["--burn-in-steps", "2"], "--burn-in-steps 2: must be 0 without --core"),
        (["--patience", "2", "--validate-every-steps", "0"], "must be above 0 with --patience 2"),
        (["--demos", "nowhere"], "no dataset at 'nowhere'"),
    ],
    "c51": [
        *VALUES,
        (["--num-atoms", "1"], "--num-atoms 1: must be at least 2"),
        (["--v-min", "3", "--v-max", "2"], "--v-min 3.0: must be below v_max 2.0"),
        (["--munchausen", "0.9"], "--munchausen 0.9: must be 0, or used with --target hl_gauss"),
        (["--gamma", "1"], "--gamma 1.0: must be below 1, or give --v-min and --v-max"),
    ],
    "dagger": [
        (["--expert", ""], "--expert is missing: name a run's directory, sb3:FILE.zip or"),
        (["--expert", "nobody"], "unknown policy 'nobody'"),
        (["--expert", "human"], "--expert human: a person cannot be asked"),
        (["--beta", "1.5"], "--beta 1.5: must be between 0 and 1"),
        (["--games-per-round", "0"], "--games-per-round 0: must be at least 1"),
        (["--patience-steps", "0"], "--patience-steps 0: must be at least 1"),
        (["--samples-per-step", "0"], "--samples-per-step 0.0: must be above 0"),
    ],
    "dqn": [
        *ACTORS,
        *VALUES,
        (["--batch-size", "500", "--buffer-size", "400"], "--batch-size 500: must be at most"),
        (["--batch-size", "0"], "--batch-size 0: must be at least 1"),
        (["--epsilon", "-0.1"], "--epsilon -0.1: must be between 0 and 1"),
        (["--epsilon", "1..0@25000"], "--epsilon 1..0@25000: must be a finite number such as"),
        (["--n-step", "5..1.5"], "--n-step 5..1.5: must be whole numbers"),
        (
            ["--buffer-size", "70", "--batch-size", "8", "--learning-starts-steps", "10"],
            "--buffer-size",
        ),
        (["--buffer-size", "900000000"], "would fit"),
        (["--munchausen-temperature", "0"], "--munchausen-temperature 0.0: must be above 0"),
        (
            ["--munchausen", "0.9", "--rescale-values"],
            "--rescale-values True: must be False with --munchausen",
        ),
        (["--core", "lstm", "--batch-size", "30"], "--batch-size 30: must be a multiple of"),
        (["--core", "lstm", "--sequence-steps", "0"], "--sequence-steps 0: must be at least 1"),
        (["--core", "gru", "--burn-in-steps", "-1"], "--burn-in-steps -1: must be at least 0"),
        (["--burn-in-steps", "4"], "--burn-in-steps 4: must be 0 without --core lstm"),
        (
            ["--core", "lstm", "--buffer-size", "5000", "--burn-in-steps", "9000"],
            "20-step returns of 9016 steps in a row",
        ),
        (["--core", "lstm", "--buffer-size", "900000000"], "would fit"),
    ],
    "iq_sac": [
        (["--penalty", "0"], "--penalty 0.0: must be above 0"),
        (["--demo-share", "1"], "--demo-share 1.0: must be above 0 and below 1"),
    ],
    "iqn": [
        *VALUES,
        (["--num-fractions", "0"], "--num-fractions 0: must be at least 1"),
        (["--acting-fractions", "0"], "--acting-fractions 0: must be at least 1"),
    ],
    "ppo": [
        *POLICIES,
        (["--batch-size", "0"], "--batch-size 0: must be at least 1"),
        (["--epochs", "0"], "--epochs 0: must be at least 1"),
        (["--clip", "0"], "--clip 0: must be above 0"),
        (["--target-kl", "-1"], "--target-kl -1.0: must be at least 0"),
    ],
    "pqn": [
        GAMMA,
        (["--q-lambda", "1.5"], "--q-lambda 1.5: must be between 0 and 1"),
        (["--q-lambda", "-0.1"], "--q-lambda -0.1: must be between 0 and 1"),
        (["--batch-size", "0"], "--batch-size 0: must be at least 1"),
        (["--epochs", "0"], "--epochs 0: must be at least 1"),
        (["--epsilon", "1..1.5"], "--epsilon 1..1.5: must be between 0 and 1"),
        (["--env", "Pendulum-v1"], "needs discrete actions"),
        (["--noisy"], "--noisy: {} has no such setting"),
        (["--core", "gru", "--horizon-steps", "30"], "--horizon-steps 30: must be a multiple"),
    ],
    "qr_dqn": [
        *VALUES,
        (["--num-quantiles", "0"], "--num-quantiles 0: must be at least 1"),
        (["--huber-threshold", "0"], "--huber-threshold 0.0: must be above 0"),
    ],
    "reinforce": POLICIES,
    "sqil": [
        *VALUES,
        *DEMOS,
        (["--previous-inputs"], "--previous-inputs True: must be False"),
        (["--rescale-values"], "--rescale-values True: must be False, because V is soft"),
    ],
    "dqfd": [
        (["--margin", "-1"], "--margin -1.0: must be at least 0"),
        (["--margin-weight", "-1"], "--margin-weight -1.0: must be at least 0"),
        (["--n-step-weight", "-1"], "--n-step-weight -1.0: must be at least 0"),
        (["--pretrain-samples-per-step", "-1"], "--pretrain-samples-per-step -1.0: must be at"),
    ],
    "gail": [
        (["--n-step", "3"], "--n-step 3: must be 1, because rewards are known for one step"),
        (["--previous-inputs"], "must be False, because they tell the reward"),
        (["--most-accuracy", "1.5"], "--most-accuracy 1.5: must be between 0 and 1"),
        (["--gradient-penalty", "-1"], "--gradient-penalty -1.0: must be at least 0"),
        (["--reward-scale", "0"], "--reward-scale 0.0: must be above 0"),
        (["--hidden-rows", "-1"], "--hidden-rows -1: must be at least 0"),
    ],
    "iq_learn": [
        (["--alpha", "0"], "--alpha 0.0: must be above 0"),
        (["--temperature", "0"], "--temperature 0.0: must be above 0"),
    ],
    "sac": [
        *CRITICS,
        (["--alpha", "0"], "--alpha 0.0: must be above 0"),
        (["--entropy-share", "1.5"], "--entropy-share 1.5: must be between 0 and 1"),
    ],
    "td3": [
        *CRITICS,
        (["--exploration-noise", "0"], "--exploration-noise 0.0: must be above 0"),
        (["--target-noise", "-1"], "--target-noise -1.0: must be at least 0"),
        (["--target-noise-clip", "-1"], "--target-noise-clip -1.0: must be at least 0"),
        (["--env", "CartPole-v1"], "this agent needs continuous actions: use sac or ppo"),
        (["--env", "Pong"], "this agent needs continuous actions: use sac or ppo"),
    ],
}


def fitting(algo: str, bad: tuple[list[str], str]) -> tuple[list[str], str]:
    """The words with an environment and a preset that the algorithm has, and the message."""
    words, message = bad
    if algo == "dagger" and bad in EVERYONE:
        words = ["--expert", "random", *words]
    if algo not in CONTINUOUS or bad in BAD_VALUES[algo]:
        return words, message
    other = {"CartPole-v1": "Pendulum-v1", "atarri": "controll"}
    return [other.get(word, word) for word in words], message.replace("'atari'", "'control'")


EACH = [
    (algo, *fitting(algo, bad))
    for algo, values in BAD_VALUES.items()
    for bad in [*EVERYONE, *values]
]


@pytest.mark.parametrize(("algo", "args", "message"), EACH)
def test_bad_values_end_in_one_line(
    algo: str, args: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        # One step: a value that is taken after all costs no training.
        quiet = ["--runs-dir", str(tmp_path / "runs"), "--wandb", "disabled", "--total-steps", "1"]
        main(algo, [*quiet, *args])
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert message.replace("{}", algo) in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--env_id=CartPole-v1", "--total_steps", "1e3", "--eval_episodes=1_6"],
        ["--env-id", "CartPole-v1", "--total-steps=1000", "--eval-episodes", "1.6e1"],
    ],
)
@pytest.mark.parametrize("algo", algorithms())
def test_values_are_read_as_people_write_them(
    algo: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    config = parse(algorithm(algo), [*words, "--runs-dir=~/runs"]).config
    assert (config.env_id, config.total_steps, config.eval_episodes) == ("CartPole-v1", 1000, 16)
    assert config.runs_dir == Path("/home/somebody/runs")


SCHEDULES = [
    pytest.param(algo, name, setting, marks=pytest.mark.slow if algo in SIBLINGS else ())
    for algo in algorithms()
    for name in algorithm(algo).PRESETS
    for setting in schedules(algorithm(algo).Config)
]


def schedule_of(algo: str, setting: str, *words: str) -> Linear:
    return getattr(parse(algorithm(algo), [*words]).config, setting)


@pytest.mark.parametrize(("algo", "name", "setting"), SCHEDULES)
def test_a_number_for_a_schedule_is_a_constant_and_for_the_learning_rate_a_start(
    algo: str, name: str, setting: str
) -> None:
    usual = getattr(algorithm(algo).PRESETS[name], setting)
    value = 3 if setting == "n_step" else 0.25
    expected = Linear(value, value)
    if setting == "learning_rate":
        share = {0.0: 0.0, 7e-5: 0.1}.get(usual.end, 1.0)
        expected = Linear(value, share * value, usual.first_step, usual.last_step)
    for words in ([flag(setting), str(value)], [f"{flag(setting)}={value}"]):
        assert schedule_of(algo, setting, "--preset", name, *words) == expected
    assert schedule_of(algo, setting, "--preset", name) == usual
    line = f"{value}..1@7..900"
    moving = schedule_of(algo, setting, "--preset", name, flag(setting), line)
    assert moving == Linear(value, 1, 7, 900)


@pytest.mark.parametrize("algo", algorithms())
def test_an_algorithm_has_every_setting_of_each_of_its_parts(algo: str) -> None:
    config = algorithm(algo).Config
    parts = [part for part in config.__mro__ if issubclass(part, Part)]
    assert {name for part in parts for name in names(part)} == {*names(config)}


def test_a_schedule_that_is_held_is_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    steps = ("--preset", "baselines", "--total-steps", "64", "--clip", "0.3")
    run_tiny(tmp_path, "ppo", "--env", "toy/Catch-v0", *steps)
    assert "--clip 0.3 is constant; the preset has 0.1..0" in capsys.readouterr().out


def test_bad_values_are_tested_for_every_algorithm() -> None:
    assert sorted(BAD_VALUES) == algorithms()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main("dqn", ["--device", "cuda"])
    assert exit_info.value.code == 2
    assert "no CUDA device" in capsys.readouterr().err


@pytest.mark.parametrize("algo", sorted({*algorithms()} - {*CONTINUOUS}))
def test_each_scale_has_its_preset(algo: str) -> None:
    module = algorithm(algo)
    on_gpu = "atari-gpu" if "atari-gpu" in module.PRESETS else "atari"
    for env_id, device, chosen in (
        ("Pong", "cpu", "atari"),
        ("Pong", "cuda", on_gpu),
        ("Pong", "auto", on_gpu if torch.cuda.is_available() else "atari"),
        ("CartPole-v1", "cuda", "control"),
    ):
        config = preset(module, "auto", env_id, device)
        assert config.preset == chosen
        settings = dataclasses.asdict(module.PRESETS[chosen])
        changed = {"preset": chosen, "env_id": env_id}
        assert dataclasses.asdict(config) == settings | changed
        config.validate()


def test_an_unknown_algorithm_names_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown algorithm 'dqnn'.*did you mean 'dqn'"):
        algorithm("dqnn")


@pytest.fixture(scope="module")
def cartpole_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    args = ("--env", "CartPole-v1", "--total-steps", "160", "--eval-every-steps", "80")
    return run_tiny(tmp_path_factory.mktemp("runs"), "dqn", *args, "--eval-episodes", "1")


def test_a_resumed_run_keeps_its_settings(
    cartpole_run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    for args in (["--n-step", "3"], ["--env", "Pong"], ["--seed", "9"]):
        with pytest.raises(SystemExit) as exit_info:
            main("dqn", ["--resume", str(cartpole_run.path), *args])
        assert exit_info.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("algo", sorted({*algorithms()} - {"dqn"}))
def test_a_run_of_another_algorithm_is_refused_with_its_command(
    cartpole_run: Run, algo: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (cartpole_run.path / "config.json").read_bytes()
    with pytest.raises(SystemExit) as exit_info:
        main(algo, ["--resume", str(cartpole_run.path), "--total-steps", "320"])
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert f"is a run of dqn, and this is {algo}" in error
    assert f"python -m agents.dqn --resume {cartpole_run.path}" in error
    assert error.count("\n") == 1
    assert (cartpole_run.path / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda saved: saved["config"].update(lerning_rate=1), "did you mean 'learning_rate'"),
        (lambda saved: saved["env_spec"].update(gymnasium_version="0.1"), "gymnasium"),
        (lambda saved: saved.update(algo="dqnn"), "did you mean 'dqn'"),
    ],
)
def test_a_foreign_or_altered_run_is_refused(
    cartpole_run: Run, tmp_path: Path, damage, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    copy = shutil.copytree(cartpole_run.path, tmp_path / "copy")
    saved = json.loads((copy / "config.json").read_text())
    damage(saved)
    (copy / "config.json").write_text(json.dumps(saved))
    with pytest.raises(SystemExit) as exit_info:
        evaluate.main([str(copy)])
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_evaluate_refuses_what_is_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(SystemExit) as exit_info:
            evaluate.main([str(path)])
        assert exit_info.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_evaluate_writes_the_score_and_is_repeatable(
    cartpole_run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = []
    for _ in range(2):
        with pytest.raises(SystemExit) as exit_info:
            evaluate.main([str(cartpole_run.path), "--episodes", "5", "--exploration", "0.05"])
        assert exit_info.value.code == 0
        scores.append(json.loads((cartpole_run.path / "eval.json").read_text()))
    assert scores[0] == scores[1]
    assert scores[0]["episodes"] == len(scores[0]["returns"]) == 5
    assert scores[0]["epsilon"] == 0.05
    assert scores[0]["eval/return_mean"] == sum(scores[0]["returns"]) / 5
    assert "± " in capsys.readouterr().out


def test_python_m_agents_lists_the_algorithms() -> None:
    listed = subprocess.run([sys.executable, "-m", "agents"], capture_output=True, text=True)
    assert listed.returncode == 0
    assert "python -m agents.dqn" in listed.stdout
    assert "doi.org" in listed.stdout
