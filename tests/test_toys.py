"""What the toy environments pay, and when they end."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import envs

TOYS = ["Identity", "Bandit", "Chain", "Catch", "Truncated"]


def toy(name: str) -> gymnasium.Env:
    return gymnasium.make(f"toy/{name}-v0")


@pytest.mark.parametrize("name", TOYS)
def test_toys_keep_gymnasiums_contract(name: str) -> None:
    check_env(gymnasium.make(f"toy/{name}-v0", render_mode="rgb_array").unwrapped)


@pytest.mark.parametrize("name", TOYS)
def test_toys_can_be_drawn(name: str) -> None:
    tape = envs.Tape(envs.spec(f"toy/{name}-v0"), seed=1, actions=np.ones(12, np.uint8))
    frames = list(envs.render(tape))
    assert len(frames) == 13
    assert frames[0].dtype == np.uint8 and frames[0].shape[2] == 3 and frames[0].any()


def test_identity_pays_for_naming_the_symbol_and_lasts_ten_steps() -> None:
    env = toy("Identity")
    obs, _ = env.reset(seed=0)
    seen = set()
    for step in range(1, 11):
        symbol = int(obs.argmax())
        seen.add(symbol)
        obs, reward, terminated, truncated, _ = env.step(symbol if step > 1 else (symbol + 1) % 4)
        assert reward == (step > 1)
        assert (terminated, truncated) == (step == 10, False)
    assert len(seen) > 1


def test_bandit_arms_pay_0_half_and_1_and_end_the_episode() -> None:
    env = toy("Bandit")
    for arm, pay in enumerate((0.0, 0.5, 1.0)):
        env.reset()
        assert env.step(arm)[1:4] == (pay, True, False)


def test_chain_pays_1_at_the_far_end_and_0_01_at_once() -> None:
    env = toy("Chain")
    obs, _ = env.reset()
    for state in range(4):
        assert obs.argmax() == state
        obs, reward, terminated, _, _ = env.step(1)
        assert (reward, terminated) == (0.0, False)
    assert env.step(1)[1:4] == (1.0, True, False)
    env.reset()
    assert env.step(0)[1:4] == (0.01, True, False)


def test_catch_can_always_be_won_and_shows_ball_and_paddle() -> None:
    env = toy("Catch")
    columns = set()
    for seed in range(40):
        obs, _ = env.reset(seed=seed)
        terminated = False
        steps = 0
        while not terminated:
            assert obs.shape == (1, 42, 42) and obs.dtype == np.uint8
            cells = obs[0, ::6, ::6]
            ball = int((cells == 255).nonzero()[1][0])
            paddle = int((cells[6] > 0).nonzero()[0][0])
            columns.add(ball)
            obs, reward, terminated, _, _ = env.step(1 + int(np.sign(ball - paddle)))
            steps += 1
            assert reward == (1.0 if terminated else 0.0)
        assert steps == 6
    assert columns == set(range(7))


def test_catch_punishes_a_miss() -> None:
    env = toy("Catch")
    obs, _ = env.reset(seed=0)
    away = 0 if obs[0, 0].nonzero()[0][0] // 6 >= 3 else 2
    rewards = [env.step(away)[1] for _ in range(6)]
    assert rewards == [0.0] * 5 + [-1.0]


def test_truncated_pays_1_and_is_cut_after_5_steps_but_never_ends() -> None:
    env = toy("Truncated")
    env.reset()
    assert [env.step(0)[1:4] for _ in range(5)] == [(1.0, False, k == 5) for k in range(1, 6)]
