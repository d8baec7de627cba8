"""Images are standardized by what random play looks like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import envs
from agents.core.nets.torsos import ConvTorso, MlpTorso
from agents.core.runs.run import Run
from agents.core.training.launch import train
from agents.core.training.random_play import NUM_ENVS, STEPS, standardize, statistics

CATCH = envs.spec("toy/Catch-v0")
SMALL = ["--env", "toy/Catch-v0", "--preset", "atari", "--buffer-size", "1000", "--seed", "3"]
BRIEF = ["--learning-starts-steps", "50", "--wandb", "disabled", "--no-video", "--num-envs", "2"]
NO_GAMES = ["--eval-every-steps", "0", "--eval-episodes", "1", "--final-eval-episodes", "1"]


def catch_torso() -> ConvTorso:
    return ConvTorso((1, 42, 42), ((2, 6, 6),))


def test_statistics_are_those_of_random_play_on_catch():
    mean, deviation = statistics(CATCH)
    cells = mean[0, ::6, ::6]
    # The ball is in one of 7 cells of each of the upper six rows once in 6 steps: 255 / 42 = 6.07.
    assert cells[:6].mean() == pytest.approx(255 / 42, abs=0.05)
    assert cells[:6].min() > 3 and cells[:6].max() < 10
    # Of a cell that is 255 with probability p the deviation is 255 sqrt(p (1 - p)).
    share = cells[0] / 255
    torch.testing.assert_close(deviation[0, 0, ::6], 255 * (share * (1 - share)).sqrt())


def test_statistics_are_the_same_for_every_run():
    statistics.cache_clear()
    first = statistics(CATCH)
    statistics.cache_clear()
    second = statistics(CATCH)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_standardized_random_play_has_mean_zero_and_is_of_one_scale():
    torso = catch_torso()
    standardize(torso, CATCH)
    env = envs.make(CATCH, NUM_ENVS, seed=0)
    env.action_space.seed(0)
    env.reset(seed=0)
    seen = [env.step(env.action_space.sample())[0] for _ in range(STEPS)]
    env.close()
    pixels = torso.pixels(torch.from_numpy(np.concatenate(seen)))
    torch.testing.assert_close(pixels.mean(dim=0), torch.zeros(1, 42, 42), atol=1e-4, rtol=0)
    assert 0.3 < pixels.std() < 1.0


def test_what_never_changes_is_not_blown_up(monkeypatch: pytest.MonkeyPatch):
    def still(_: envs.EnvSpec) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.full((1, 42, 42), 7.0), torch.zeros(1, 42, 42)

    monkeypatch.setattr("agents.core.training.random_play.statistics", still)
    torso = catch_torso()
    standardize(torso, CATCH)
    gray = torch.full((1, 1, 42, 42), 8, dtype=torch.uint8)
    torch.testing.assert_close(torso.pixels(gray), torch.ones(1, 1, 42, 42))


@pytest.mark.parametrize("network", [MlpTorso((1, 42, 42)), nn.Linear(2, 2)])
def test_a_network_without_images_plays_no_games(
    network: nn.Module, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("agents.core.training.random_play.statistics", pytest.fail)
    standardize(network, CATCH)


def pixels_of(run: Run) -> tuple[torch.Tensor, torch.Tensor]:
    weights, _ = run.weights("last")
    return weights["torso.pixels.scale_HWC"], weights["torso.pixels.offset_HWC"]


def trained(folder: Path, *options: str) -> Run:
    steps = [] if "--resume" in options else [*SMALL, *BRIEF, "--runs-dir", str(folder)]
    assert train("dqn", [*steps, *NO_GAMES, *options]) == 0
    return Run.open(next(folder.glob("*/config.json")).parent)


def test_a_run_keeps_the_statistics_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = trained(tmp_path, "--total-steps", "100")
    expected = catch_torso()
    standardize(expected, CATCH)
    for saved, buffer in zip(pixels_of(run), expected.pixels.buffers(), strict=True):
        assert torch.equal(saved, buffer)
    monkeypatch.setattr("agents.core.training.random_play.statistics", pytest.fail)
    before = pixels_of(run)
    resumed = trained(tmp_path, "--resume", str(run.path), "--total-steps", "200")
    assert all(torch.equal(a, b) for a, b in zip(before, pixels_of(resumed), strict=True))


def test_images_can_be_left_between_zero_and_one(tmp_path: Path):
    scale, offset = pixels_of(trained(tmp_path, "--total-steps", "100", "--no-standardize-pixels"))
    assert torch.equal(scale, torch.full_like(scale, 1 / 255))
    assert not offset.any()
