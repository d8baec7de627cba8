"""The states of demonstrations: their kinds, the choices in them, and what is repeated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import demonstrations
from support.experts import expert_games
from support.refusals import error_line

from demos import Dataset
from demos.__main__ import main
from demos.states import States, coverage, decisions, explored, identities, kinds, small


def of(path: Path) -> States:
    dataset = Dataset.open(path)
    return explored(dataset.episodes(), dataset.metadata.spec)


def test_the_choice_is_the_entropy_of_the_actions_in_a_kind() -> None:
    kind_M = np.array([0, 0, 0, 0, 1, 1])
    action_M = np.array([3, 3, 5, 5, 5, 5])
    entropy_C, of_all = decisions(action_M, kind_M)
    assert entropy_C.tolist() == pytest.approx([1.0, 0.0])
    # -1/3 log2 1/3 - 2/3 log2 2/3
    assert of_all == pytest.approx(0.9182958)


def test_continuous_actions_have_no_choice() -> None:
    entropy_C, of_all = decisions(np.zeros((4, 2), np.float32), np.array([0, 0, 1, 1]))
    assert len(entropy_C) == 0
    assert of_all is None


def test_coverage_is_the_mean_over_episodes() -> None:
    # Episode 0 visits both kinds, episode 1 one of them.
    assert coverage(np.array([0, 1, 1, 1]), np.array([0, 0, 1, 1])) == pytest.approx(0.75)


def test_separate_states_are_of_different_kinds() -> None:
    rng = np.random.default_rng(1)
    center_K2 = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    group_M = np.repeat(np.arange(3), 8)
    kind_M = kinds(center_K2[group_M] + rng.normal(0, 0.1, (24, 2)))
    assert len({(int(a), int(b)) for a, b in zip(group_M, kind_M, strict=True)}) == 3


def test_a_picture_becomes_small_and_standardized() -> None:
    images = np.zeros((2, 84, 84), np.uint8)
    images[1, :7, :7] = 200
    features = small(images)
    assert features.shape == (2, 144)
    assert features[:, 0].tolist() == [-1.0, 1.0]
    assert not features[:, 1:].any()


def test_equal_states_have_equal_numbers() -> None:
    data = np.array([[1, 2], [3, 4], [1, 2]], np.float32)
    assert identities(data, np.array([0, 1, 2])).tolist() == [0, 1, 0]


def test_an_expert_is_decided_and_a_random_player_is_not() -> None:
    expert = of(expert_games())
    # The environment has four symbols, and the expert names the one that it sees.
    assert expert.mean_entropy == pytest.approx(0.0)
    assert expert.action_entropy is not None and expert.action_entropy > 1
    assert expert.repeated == 1.0
    chance = of(demonstrations("toy/Catch-v0", 20))
    assert chance.mean_entropy > 0.5


def test_games_of_pong_have_many_kinds_of_states() -> None:
    states = of(demonstrations("Pong"))
    assert states.effective_kinds > 10
    assert 0 < states.covered <= 1
    assert states.visits_C.sum() == pytest.approx(1.0)
    # Before the first serve, all games look alike.
    assert states.repeated is not None and 0 < states.repeated < 1
    assert states.alike is not None and states.alike[0] < states.alike[1]


def test_the_command_shows_and_draws_the_states(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    games = str(demonstrations("CartPole-v1"))
    drawn = tmp_path / "states.svg"
    with pytest.raises(SystemExit) as ended:
        main(["stats", games, "--states", "--picture", str(drawn)])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for name in ("kinds of states", "coverage", "choice", "repeated states"):
        assert name in shown
    assert drawn.read_text().startswith("<?xml")


def test_one_episode_is_like_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert of(demonstrations("CartPole-v1", 1)).alike is None
    assert "nowhere" in error_line(lambda: main(["stats", "nowhere", "--states"]), capsys)
