"""Returns of replayed sequences that mix all lengths: by hand, by a slow reference and in DQN."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import read_metrics, run_tiny
from support.refusals import error_line
from torch import Tensor

from agents.core.math import targets
from agents.core.runs.run import Run
from agents.core.training.launch import main, train

HALF = 0.5


def tensor(rows: Any) -> Tensor:
    return torch.tensor([rows])


def test_returns_of_three_steps_by_hand() -> None:
    reward_BT = tensor([1.0, 2.0, 4.0])
    discount_BT = tensor([HALF, HALF, HALF])
    q_next_BTA = tensor([[8.0, 6.0], [0.0, 4.0], [2.0, 0.0]])
    next_action_BT = tensor([0, 1, 0])
    ended_BT = tensor([False, False, False])
    given = reward_BT, discount_BT, q_next_BTA, next_action_BT
    # In s_1 the action taken is greedy; in s_2 it is not.
    action_BT = tensor([1, 0, 0])
    retrace = targets.traced(*given, action_BT, ended_BT, 0.5, corrects=True)
    # G_2 = 4 + ½ 2 = 5;  G_1 = 2 + ½ 4 = 4;  G_0 = 1 + ½ (8 + ½ (4 - 8)) = 4.
    assert retrace.tolist() == [[4.0, 4.0, 5.0]]
    peng = targets.traced(*given, action_BT, ended_BT, 0.5, corrects=False)
    # G_1 = 2 + ½ (4 + ½ (5 - 4)) = 4.25;  G_0 = 1 + ½ (8 + ½ (4.25 - 8)) = 4.0625.
    assert peng.tolist() == [[4.0625, 4.25, 5.0]]
    # After an episode's end in s_1 there is no trace, and the reward before it stands alone.
    terminated = (reward_BT, tensor([HALF, 0.0, HALF]), q_next_BTA, next_action_BT)
    ended = targets.traced(*terminated, action_BT, tensor([False, True, False]), 0.5, False)
    # G_1 = 2;  G_0 = 1 + ½ (8 + ½ (2 - 8)) = 3.5.
    assert ended.tolist() == [[3.5, 2.0, 5.0]]


def slow(case: dict[str, Tensor], t: int, trace_lambda: float, corrects: bool) -> float:
    """The return of one sequence from step t on, as the paper's sum of errors (eq. 3)."""
    q_next_TA = case["q_next"]
    best_T = case["best"].tolist()
    total = 0.0
    factor = 1.0
    for step in range(t, len(best_T)):
        value = float(q_next_TA[step, best_T[step]])
        reward = float(case["reward"][step])
        discount = float(case["discount"][step])
        if step == t:
            total += reward + discount * value
        else:
            before = q_next_TA[step - 1]
            taken = int(case["action"][step])
            base = float(before[taken] if corrects else before[best_T[step - 1]])
            if corrects and taken != best_T[step - 1]:
                return total
            factor *= trace_lambda
            total += factor * (reward + discount * value - base)
        if bool(case["ended"][step]):
            return total
        factor *= discount
    return total


@pytest.mark.parametrize("corrects", [True, False])
def test_returns_equal_the_sum_of_errors(corrects: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    size = 40
    steps = 7
    actions = 3

    def uniform(*more: int) -> Tensor:
        return torch.rand(size, steps, *more, dtype=torch.float64, generator=generator)

    ended_BT = uniform() < 0.2
    cases = {
        "reward": uniform(),
        "discount": 0.9 * ~(ended_BT & (uniform() < 0.5)),
        "q_next": uniform(actions),
        "best": (uniform() * actions).long(),
        "action": (uniform() * actions).long(),
        "ended": ended_BT,
    }
    ours = targets.traced(*cases.values(), 0.8, corrects)
    for row in range(size):
        case = {name: each[row] for name, each in cases.items()}
        expected = [slow(case, t, 0.8, corrects) for t in range(steps)]
        assert ours[row].tolist() == pytest.approx(expected)


def test_without_traces_it_is_the_return_of_one_step() -> None:
    q_next_BTA = torch.rand(2, 4, 3)
    best_BT = q_next_BTA.argmax(dim=2)
    none = torch.zeros(2, 4, dtype=torch.bool)
    given = (torch.ones(2, 4), torch.full((2, 4), 0.9), q_next_BTA, best_BT, best_BT, none)
    for corrects in (True, False):
        ours = targets.traced(*given, 0.0, corrects)
        torch.testing.assert_close(ours, 1 + 0.9 * q_next_BTA.amax(dim=2))


TRACES = ("--traces", "retrace", "--n-step", "1", "--sequence-steps", "4")
PENG = ("--traces", "peng", "--double", "--noisy", "--previous-inputs")
LSTM = ("--core", "lstm", "--hidden", "16", "--burn-in-steps", "2")


@pytest.mark.parametrize(
    ("env_id", "more"),
    [
        pytest.param("toy/Catch-v0", (), marks=pytest.mark.slow),
        pytest.param("toy/Catch-v0", PENG, marks=pytest.mark.full),
        pytest.param("toy/Catch-v0", LSTM, marks=pytest.mark.slow),
        ("toy/Masked-v0", ()),
    ],
)
def test_a_run_with_traces_learns_and_goes_on_exactly(
    tmp_path: Path, env_id: str, more: tuple[str, ...]
) -> None:
    flags = ("--env", env_id, *TRACES, "--log-every-steps", "80", *more)
    whole = run_tiny(tmp_path, "dqn", *flags, "--total-steps", "320")
    rows = read_metrics(whole)
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert any("losses/td_error" in row for row in rows)
    half = run_tiny(tmp_path, "dqn", *flags, "--total-steps", "160")
    assert train("dqn", ["--resume", str(half.path), "--total-steps", "320"]) == 0
    weights = [Run.open(each.path).weights("last")[0] for each in (whole, half)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--n-step", "5"], "--n-step 5: must be 1 with --traces retrace"),
        (["--munchausen", "0.9"], "--munchausen 0.9: must be 0.0 with --traces retrace"),
        (["--rescale-values"], "--rescale-values True: must be False with --traces retrace"),
        (["--trace-lambda", "1.5"], "--trace-lambda 1.5: must be between 0 and 1"),
        (["--sequence-steps", "1"], "--sequence-steps 1: must be at least 2"),
        (["--batch-size", "30"], "--batch-size 30: must be a multiple of sequence_steps 4"),
        (["--burn-in-steps", "2"], "--burn-in-steps 2: must be 0 without --core lstm"),
    ],
)
def test_settings_that_do_not_go_with_traces_are_refused_in_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--env", "toy/Catch-v0", *TRACES, "--total-steps", "1", *words]
    line = error_line(lambda: main("dqn", flags), capsys)
    assert line.startswith(said)
