"""What the toy environments pay, and when they end."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import envs

TOYS = ["Identity", "Bandit", "Chain", "Catch", "Truncated", "Target", "Pair", "Recall"]


def toy(name: str) -> gymnasium.Env:
    return gymnasium.make(f"toy/{name}-v0")


@pytest.mark.parametrize("name", TOYS)
def test_toys_keep_gymnasiums_contract(name: str) -> None:
    check_env(gymnasium.make(f"toy/{name}-v0", render_mode="rgb_array").unwrapped)


@pytest.mark.parametrize("name", [*TOYS, "CartPolePositions"])
def test_toys_can_be_drawn(name: str) -> None:
    if name == "CartPolePositions":
        pytest.importorskip("pygame")
    of_parts = {"Target": np.ones((12, 1), np.float32), "Pair": np.ones((12, 2), np.uint8)}
    actions = of_parts.get(name, np.ones(12, np.uint8))
    tape = envs.Tape(envs.spec(f"toy/{name}-v0"), seed=1, actions=actions)
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


def test_pair_pays_half_for_each_symbol_named_and_lasts_ten_steps() -> None:
    env = toy("Pair")
    obs, _ = env.reset(seed=0)
    seen = set()
    for step in range(1, 11):
        symbols = np.array([obs[:3].argmax(), obs[3:].argmax()])
        seen.add(tuple(symbols))
        wrong = np.array([step in (1, 2), step in (2, 3)])
        obs, reward, terminated, truncated, _ = env.step((symbols + wrong) % (3, 4))
        assert reward == 1 - wrong.sum() / 2
        assert (terminated, truncated) == (step == 10, False)
    assert len(seen) > 3


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


def test_target_pays_one_less_the_distance_and_lasts_ten_steps() -> None:
    env = toy("Target")
    obs, _ = env.reset(seed=0)
    seen = []
    for step in range(1, 11):
        number = obs[0]
        seen.append(number)
        # Named exactly it is 1, missed by 0.25 it is 0.75.
        missed = np.float32(0.25 if number < 0 else -0.25) if step > 5 else np.float32(0)
        obs, reward, terminated, truncated, _ = env.step(np.array([number + missed]))
        assert reward == pytest.approx(0.75 if step > 5 else 1.0)
        assert (terminated, truncated) == (step == 10, False)
    assert len(set(seen)) == 10
    assert min(seen) < -0.3 and max(seen) > 0.3


def test_targets_best_return_is_ten_and_that_of_saying_zero_is_five_on_average() -> None:
    env, totals = toy("Target"), {"named": 0.0, "zero": 0.0}
    for kind in totals:
        for seed in range(100):
            obs, _ = env.reset(seed=seed)
            terminated = False
            while not terminated:
                action = obs if kind == "named" else np.zeros(1, np.float32)
                obs, reward, terminated, _, _ = env.step(action)
                totals[kind] += float(reward) / 100
    assert totals["named"] == pytest.approx(10.0)
    assert totals["zero"] == pytest.approx(5.0, abs=0.3)  # of [-1, 1] the mean distance is ½


def recall(seed: int, answer: int, before: int | None = None) -> tuple[list[np.ndarray], list]:
    """An episode in which the symbol plus `answer` is said when asked, and `before` until then."""
    env = toy("Recall")
    obs, _ = env.reset(seed=seed)
    symbol, observed, steps = int(obs.argmax()), [obs], []
    while not (steps and steps[-1][1]):
        say = symbol + (answer if observed[-1][3] else (before or 0))
        obs, *step, _ = env.step(say % 3)
        observed.append(obs)
        steps.append(tuple(step))
    return observed, steps


def test_recall_shows_the_symbol_once_then_nothing_and_then_asks() -> None:
    symbols, waits = [], []
    for seed in range(60):
        observed, _ = recall(seed, answer=0)
        cue, *blank, question, last = observed
        assert cue[:3].sum() == 1 and cue[3] == 0
        assert not np.any(blank), "the symbol can still be seen"
        assert question.tolist() == [0.0, 0.0, 0.0, 1.0]
        assert not last.any()
        symbols.append(int(cue.argmax()))
        waits.append(len(blank))
    assert set(symbols) == {0, 1, 2}
    assert set(waits) == {4, 5, 6, 7, 8}


@pytest.mark.parametrize(("answer", "pay"), [(0, 1.0), (1, 0.0), (2, 0.0)])
@pytest.mark.parametrize("before", [0, 1])
def test_recall_pays_only_for_the_right_answer_when_asked(
    answer: int, pay: float, before: int
) -> None:
    for seed in range(10):
        _, steps = recall(seed, answer, before)
        assert steps[-1] == (pay, True, False)
        assert all(step == (0.0, False, False) for step in steps[:-1])


def test_nothing_but_the_first_observation_tells_which_symbol_it_was() -> None:
    # Of all episodes of one length everything but the cue is the same, whatever the symbol was.
    after: dict[int, set[bytes]] = {}
    symbols: dict[int, set[int]] = {}
    for seed in range(60):
        observed, _ = recall(seed, answer=0)
        after.setdefault(len(observed), set()).add(np.stack(observed[1:]).tobytes())
        symbols.setdefault(len(observed), set()).add(int(observed[0].argmax()))
    assert all(len(each) == 1 for each in after.values())
    assert max(map(len, symbols.values())) == 3


def test_cart_pole_positions_is_cart_pole_without_its_velocities() -> None:
    hidden, full = toy("CartPolePositions"), gymnasium.make("CartPole-v1")
    rng, ends = np.random.default_rng(0), 0
    for seed in range(5):
        obs, whole = hidden.reset(seed=seed)[0], full.reset(seed=seed)[0]
        over = False
        while not over:
            assert obs.shape == (2,) and obs.dtype == np.float32
            assert hidden.observation_space.contains(obs)
            assert obs.tolist() == whole[[0, 2]].tolist()  # of x, its speed, angle, its speed
            action = int(rng.integers(2))
            obs, *step, _ = hidden.step(action)
            whole, *expected, _ = full.step(action)
            assert step == expected
            over = step[1] or step[2]
        ends += over
    assert ends == 5
    assert hidden.observation_space.shape == (2,)
    assert hidden.action_space == full.action_space


def test_cart_pole_positions_is_cut_off_after_500_steps() -> None:
    env = toy("CartPolePositions")
    env.reset(seed=0)
    for step in range(1, 501):
        position, speed, angle, turning = env.unwrapped.state
        push = angle + 0.5 * turning + 0.05 * position + 0.1 * speed
        _, _, terminated, truncated, _ = env.step(int(push > 0))
        assert (terminated, truncated) == (False, step == 500)
