"""The demonstrations that come with Joystick are what they say."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import QUIET

import envs
from agents.core.training.launch import train
from demos import Dataset, verify
from demos.describing import card
from demos.shipped import find, shipped
from envs.machine import available_cores

LEAST = {
    "acrobot-expert-v1": -90,
    "breakout-expert-v1": 22,
    "cartpole-expert-v1": 500,
    "pong-expert-v1": 13,
}


def test_all_of_them_are_tested() -> None:
    assert shipped().keys() == LEAST.keys()


@pytest.mark.parametrize("share", [5, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", LEAST)
def test_every_episode_replays(name: str, share: int) -> None:
    episodes = Dataset.open(shipped()[name]).episodes()[::share]
    with ThreadPoolExecutor(available_cores()) as pool:
        differences = list(pool.map(verify, episodes))
    assert differences == [None] * len(episodes)


@pytest.mark.parametrize("name", LEAST)
def test_they_have_the_scores_and_the_card_that_they_claim(name: str) -> None:
    dataset = Dataset.open(shipped()[name])
    assert np.mean([episode.score for episode in dataset.episodes()]) >= LEAST[name]
    assert (dataset.path / "README.md").read_text("utf-8") == card(dataset)


@pytest.mark.parametrize("name", LEAST)
def test_they_are_found_by_environment_by_name_and_as_a_path(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = Dataset.open(shipped()[name]).metadata.spec
    monkeypatch.chdir(Path(__file__).parents[1] / "demos" / "datasets")
    assert find("auto", spec) == find(name, spec).resolve() == Path(name).resolve()


def test_other_protocols_of_a_game_are_not_taken_for_it() -> None:
    with pytest.raises(
        envs.UserError, match=r"no demonstrations of PongNoFrameskip-v4 are shipped"
    ):
        find("auto", envs.spec("PongNoFrameskip-v4"))


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Acrobot-v1"])
def test_a_clone_of_them_does_as_well(tmp_path: Path, env_id: str) -> None:
    steps = ("--total-steps", "60000", "--validate-every-steps", "60000")
    command = ["--env", env_id, *QUIET, *steps, "--runs-dir", str(tmp_path)]
    assert train("bc", [*command, "--final-eval-episodes", "20", "--eval-every-steps", "0"]) == 0
    score = json.loads(next(tmp_path.glob("*/eval.json")).read_bytes())
    assert score["eval/return_mean"] >= {"CartPole-v1": 475, "Acrobot-v1": -100}[env_id]
