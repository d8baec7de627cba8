"""Runs, command lines and curves of earlier versions, which spelled some names otherwise."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from agents import a2c, bc, dqn, ppo, reinforce
from agents.core.runs import earlier_names
from agents.core.runs.run import Run
from agents.core.training import arguments, launch
from agents.report.reading import Reader

MODULES = {"a2c": a2c, "bc": bc, "dqn": dqn, "ppo": ppo, "reinforce": reinforce}


def test_each_present_name_is_a_setting_of_some_algorithm_and_no_earlier_one_is() -> None:
    fields = {f.name for module in MODULES.values() for f in dataclasses.fields(module.Config)}
    assert set(earlier_names.SETTINGS.values()) <= fields
    assert not set(earlier_names.SETTINGS) & fields


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
    (path / "config.json").write_text(json.dumps(saved))
    curves = (path / "metrics.jsonl").read_text()
    more = '{"step": 200, "time": 9.0, "eval/human_normalised": 0.5}\n'
    (path / "metrics.jsonl").write_text(curves + more)

    (record,) = Reader(tmp_path).read()[0]
    assert record.series["eval/human_normalized"].value.tolist() == [0.5]
    assert record.config["optimizer"] == "adam"
    assert launch.train("a2c", ["--resume", str(path), "--total-steps", "400"]) == 0
    assert Run.open(path).config()["config"]["optimizer"] == "adam"
