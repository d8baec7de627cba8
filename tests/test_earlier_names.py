"""Runs, command lines and curves of earlier versions, which spelled some names otherwise."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path

import pytest
import torch
from support.refusals import refusal

from agents import a2c, bc, dqn, ppo, reinforce
from agents.core.runs import earlier_names
from agents.core.runs.run import Run
from agents.core.training import arguments, launch
from agents.report.reading import Reader
from envs import program

MODULES = {"a2c": a2c, "bc": bc, "dqn": dqn, "ppo": ppo, "reinforce": reinforce}


def test_each_present_name_is_a_setting_of_some_algorithm_and_no_earlier_one_is() -> None:
    fields = {f.name for module in MODULES.values() for f in dataclasses.fields(module.Config)}
    assert set(earlier_names.SETTINGS.values()) <= fields
    assert not set(earlier_names.SETTINGS) & fields
    assert set(earlier_names.SCHEDULES) <= fields
    parts = {part for name, each in earlier_names.SCHEDULES.items() for part in each.own(name)}
    assert not parts & fields


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--optimiser", "rmsprop"], "optimizer", "rmsprop"),
        (["--optimiser_epsilon=1e-3"], "optimizer_epsilon", 1e-3),
        (["--no-standardise-pixels"], "standardize_pixels", False),
        (["--learn-beside"], "overlap_learning", True),
        (["--replay-ratio=3"], "samples_per_step", 3.0),
    ],
)
def test_an_earlier_flag_is_read_and_a_warning_names_the_present_one(
    words: list[str], name: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier_names.warn_once.cache_clear()
    config = arguments.parse(dqn, words).config
    assert getattr(config, name) == value
    said = capsys.readouterr().err
    assert said.startswith("warning: ")
    assert f" is now --{'no-' if value is False else ''}{name.replace('_', '-')};" in said


PONG = ("--env", "Pong", "--device", "cpu")
CARTPOLE = ("--env", "CartPole-v1")


@pytest.mark.parametrize(
    ("algo", "words", "now"),
    [
        (
            "dqn",
            [*PONG, "--epsilon-start=1", "--epsilon_end", "0.1", "--epsilon-decay-steps", "1e5"],
            {"epsilon": "1..0.1@0..100000"},
        ),
        ("dqn", ["--epsilon-start", "0.5"], {"epsilon": "0.5"}),
        (
            "dqn",
            ["--epsilon-start", ".5", "--epsilon-decay-steps=9"],
            {"epsilon": "0.5..0.01@0..9"},
        ),
        ("dqn", ["--epsilon-decay-steps", "0"], {"epsilon": "0.01"}),
        (
            "dqn",
            [*PONG, "--anneal-from-steps", "7", "--anneal-steps", "9e5"],
            {"learning_rate": "0.0007..7e-05@7..900000", "n_step": "20..5@7..900000"},
        ),
        ("dqn", [*PONG, "--n-step", "5", "--anneal-steps", "9e5"], {"n_step": "5"}),
        ("dqn", [*CARTPOLE, "--n-step-end=1", "--anneal-steps=9"], {"n_step": "10..1@0..9"}),
        ("dqn", [*CARTPOLE, "--anneal-to", "0.1"], {"learning_rate": "0.0005..5e-05"}),
        ("bc", ["--anneal-to=0", "--learning-rate", "0.2"], {"learning_rate": "0.2..0"}),
        ("ppo", ["--clip", "0.3", "--clip-end", "0"], {"clip": "0.3..0"}),
        ("ppo", ["--anneal-steps", "0", *PONG], {"learning_rate": "0.0007..0", "clip": "0.2"}),
        ("a2c", ["--anneal-to", "1", *CARTPOLE], {"learning_rate": "0.001"}),
    ],
)
def test_an_earlier_schedule_is_read_and_a_warning_writes_it_as_it_is_now(
    algo: str, words: list[str], now: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    earlier_names.warn_once.cache_clear()
    config = arguments.parse(MODULES[algo], words).config
    assert {name: str(getattr(config, name)) for name in now} == now
    said = capsys.readouterr().err.splitlines()
    assert said
    for line in said:
        assert line.startswith("warning: --")
        assert line.endswith("; version 0.3 will not know the old flags")
    name, text = next(iter(now.items()))
    assert f": now --{name.replace('_', '-')} {text}" in "".join(said)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (
            {"learning_rate": 7e-4, "anneal_to": 0.1, "anneal_from_steps": 2, "anneal_steps": 9},
            {"learning_rate": "0.0007..7.000000000000001e-05@2..9"},
        ),
        ({"learning_rate": 7e-4, "anneal_to": 1.0, "anneal_steps": 9}, {"learning_rate": 7e-4}),
        ({"clip": 0.2, "clip_end": 0.1, "anneal_steps": 0}, {"clip": "0.2..0.1"}),
        ({"clip": 0.2, "anneal_steps": 5}, {"clip": 0.2}),
        (
            {"n_step": 20, "n_step_end": 5, "anneal_from_steps": 2, "anneal_steps": 9},
            {"n_step": "20..5@2..9"},
        ),
        (
            {"epsilon_start": 1.0, "epsilon_end": 0.01, "epsilon_decay_steps": 0},
            {"epsilon": 0.01},
        ),
        (
            {"epsilon_start": 1.0, "epsilon_end": 0.5, "epsilon_decay_steps": 8},
            {"epsilon": "1..0.5@0..8"},
        ),
        ({"clip": "0.2..0.1", "epsilon": 0.3}, {"clip": "0.2..0.1", "epsilon": 0.3}),
        ({"clip": 0.2, "clip_end": "small"}, {"clip": 0.2, "clip_end": "small"}),
    ],
)
def test_the_schedules_of_an_earlier_config_file_are_translated(
    before: dict[str, object], now: dict[str, object]
) -> None:
    assert earlier_names.settings(before) == now


def test_a_value_that_looks_like_an_earlier_name_stays() -> None:
    assert earlier_names.flags(["--group", "optimiser"]) == ["--group", "optimiser"]


def test_tensors_of_an_earlier_network_have_the_present_names() -> None:
    found = earlier_names.tensors({"normaliser.mean": torch.ones(1), "torso.0.weight": 2})
    assert list(found) == ["normalizer.mean", "torso.0.weight"]


def test_a_run_of_an_earlier_version_is_resumed_and_shown(tmp_path: Path) -> None:
    flags = ["--env", "CartPole-v1", "--num-envs", "2", "--wandb", "disabled", "--no-video"]
    flags += ["--eval-episodes", "1", "--final-eval-episodes", "1", "--runs-dir", str(tmp_path)]
    assert launch.train("a2c", [*flags, "--total-steps", "200"]) == 0
    (path,) = (each for each in tmp_path.iterdir() if each.is_dir())
    before = {now: earlier for earlier, now in earlier_names.SETTINGS.items()}
    saved = json.loads((path / "config.json").read_text())
    saved["config"] = {before.get(name, name): value for name, value in saved["config"].items()}
    assert saved["config"]["learning_rate"] == "0.001..0"
    annealing = {"anneal_to": 0.0, "anneal_from_steps": 0, "anneal_steps": 0}
    saved["config"] |= {"learning_rate": 0.001, **annealing}
    del saved["version"]
    (path / "config.json").write_text(json.dumps(saved))
    curves = (path / "metrics.jsonl").read_text()
    more = '{"step": 200, "time": 9.0, "eval/human_normalised": 0.5}\n'
    (path / "metrics.jsonl").write_text(curves + more)

    (record,) = Reader(tmp_path).read()[0]
    assert record.series["eval/human_normalized"].value.tolist() == [0.5]
    assert record.config["optimizer"] == "adam"
    assert launch.train("a2c", ["--resume", str(path), "--total-steps", "400"]) == 0
    now = Run.open(path).config()
    assert now["version"] == program.version()
    assert now["config"]["optimizer"] == "adam"
    assert now["config"]["learning_rate"] == "0.001..0"


def test_what_cannot_be_translated_is_refused_with_the_version_that_wrote_it(
    tmp_path: Path,
) -> None:
    flags = ["--env", "CartPole-v1", "--wandb", "disabled", "--no-video", "--total-steps", "40"]
    flags += ["--final-eval-episodes", "0", "--eval-every-steps", "0", "--runs-dir", str(tmp_path)]
    assert launch.train("a2c", flags) == 0
    (path,) = (each for each in tmp_path.iterdir() if each.is_dir())
    saved = json.loads((path / "config.json").read_text())
    for version, change, message in (
        (
            None,
            {"anneal_to": "half"},
            "config.json of Joystick 0.1 has the unknown field",
        ),
        ("0.9", {"torsos": 2}, "config.json of Joystick 0.9 has the unknown field"),
        ("0.9", {"learning_rate": []}, "config.json of Joystick 0.9: learning_rate: []: must be a"),
    ):
        changed = saved | {"config": saved["config"] | change, "version": version}
        if version is None:
            del changed["version"]
        (path / "config.json").write_text(json.dumps(changed))
        line = refusal(partial(arguments.parse, a2c, ["--resume", str(path)]))
        assert line.startswith(message)
