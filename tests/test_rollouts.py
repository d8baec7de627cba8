"""Rollouts: what is kept, what lies beyond the ends, and minibatches that miss nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.learners import make_learner
from support.settings import Settings
from torch import Tensor

from agents.core.data.rollouts import Rollout
from agents.core.data.targets import AdvantageTargets
from agents.core.nets.networks import ActorCritic
from agents.core.optimize.learner import Learner, LossOutput
from agents.core.policies.stochastic import ActorCriticPolicy
from agents.core.system.compute import Compute
from agents.core.training.env_group import EnvGroup
from agents.core.training.on_policy import OnPolicyAlgorithm
from agents.core.types.batches import Sequences
from agents.core.types.env_rng import EnvRng
from agents.core.types.spaces import Spaces
from agents.core.types.step import PolicyInputs, Step
from envs.errors import UserError

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = [torch.device("cpu"), pytest.param(torch.device("cuda"), marks=CUDA)]
CPU = torch.device("cpu")
CORES = ["none", "gru", "lstm"]
HORIZON, ENVS, WIDTH = 8, 4, 3


SETTINGS = Settings(hidden=8, learning_rate=1e-2, optimizer_epsilon=1e-5)


Ends = dict[tuple[int, int], str]

ENDS: Ends = {
    (1, 0): "terminated",
    (2, 1): "truncated",
    (3, 3): "truncated",
    (5, 0): "life_lost",
    (6, 1): "truncated+terminated",
    (7, 2): "truncated",
    (7, 3): "terminated",
    (9, 1): "terminated",
    (12, 2): "truncated",
    (15, 0): "life_lost",
}
"""What happens at (step, environment); of the last step of a rollout something in each."""


@dataclass
class Script:
    """Environments `rows` of a run, in which everything is written down beforehand."""

    rows: slice
    ends: Ends = field(default_factory=lambda: dict(ENDS))
    width: int = WIDTH
    image: bool = False
    t: int = 0
    env_spec = SimpleNamespace(frame_stack=1)

    @property
    def num_envs(self) -> int:
        return self.rows.stop - self.rows.start

    def observe(self, kind: int = 0) -> np.ndarray:
        """No two observations are the same; kind 1 are the final ones."""
        rows = range(self.rows.start, self.rows.stop)
        shape = (1, self.width, self.width) if self.image else (self.width,)
        draws = [np.random.default_rng((self.t, row, kind)) for row in rows]
        if self.image:
            return np.stack([draw.integers(0, 256, shape, np.uint8) for draw in draws])
        return np.stack([draw.normal(size=shape).astype(np.float32) for draw in draws])

    def reset(self) -> tuple[np.ndarray, dict[str, Any]]:
        return self.observe(), {}

    def send(self, action_N: np.ndarray) -> None:
        assert len(action_N) == self.num_envs

    def at(self, kind: str) -> np.ndarray:
        rows = range(self.rows.start, self.rows.stop)
        return np.array([kind in self.ends.get((self.t, row), "") for row in rows])

    def recv(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        rows = range(self.rows.start, self.rows.stop)
        rewards = [np.random.default_rng((self.t, row, 2)).normal() for row in rows]
        ends = self.at("terminated"), self.at("truncated")
        info: dict[str, Any] = {"life_lost": self.at("life_lost")}
        self.t += 1
        if (ends[0] | ends[1]).any():
            info["final_obs"] = self.observe(kind=1)
        return self.observe(), np.array(rewards, np.float32), *ends, info


def spaces_of(num_envs: int = ENVS, width: int = WIDTH, **values: Any) -> Spaces:
    actions = values or {"num_actions": 3}
    return Spaces(num_envs, (width,), torch.float32, stack=1, atari=False, **actions)


class Valued(Rollout):
    """A rollout with the policy that values what lies beyond, as an on-policy algorithm has it."""

    def __init__(self, settings: Settings, policy: ActorCriticPolicy):
        self.policy = policy
        self.network = policy.network
        given = (policy.spaces, policy.device, policy.memory_size)
        super().__init__(settings, *given, AdvantageTargets(settings, policy.previous))

    def add(self, step: Step) -> None:
        beyond = super().add(step)
        if beyond is not None:
            self.complete(beyond, self.policy.state_values(beyond.inputs, beyond.state))


def make_policy(
    settings: Settings, spaces: Spaces, device: torch.device = CPU
) -> ActorCriticPolicy:
    """A policy with random weights, the same each time."""
    torch.manual_seed(0)
    network = ActorCritic(settings, spaces)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return ActorCriticPolicy(network, spaces, Compute.of(network, settings, device), 1.0)


def make(
    spaces: Spaces | None = None, device: torch.device = CPU, **values: Any
) -> tuple[Valued, Settings]:
    settings = replace(SETTINGS, **values)
    return Valued(settings, make_policy(settings, spaces or spaces_of(), device)), settings


class Play:
    """Groups of scripted environments, and the steps that a rollout was given."""

    def __init__(self, rollout: Valued, groups: int = 1, **script: Any):
        each = rollout.spaces.num_envs // groups
        self.rollout, self.groups, self.steps = rollout, [], []
        for first in range(0, rollout.spaces.num_envs, each):
            rows = slice(first, first + each)
            rng = EnvRng(3, rollout.spaces.num_envs, rows)
            self.groups.append(EnvGroup(rollout.policy, Script(rows, **script), rng, rows))  # type: ignore[arg-type]
            self.groups[-1].reset()

    def fill(self) -> list[Step]:
        """One rollout, as the loop makes it: one group steps while the other is served."""
        steps = []
        for group in self.groups:
            group.send(1.0)
        for t in range(self.rollout.config.horizon_steps):
            for group in self.groups:
                step, _ = group.recv()
                if t < self.rollout.config.horizon_steps - 1:
                    group.send(1.0)
                self.rollout.add(step)
                steps.append(step)
        return steps


def advantages(rollout: Rollout) -> Tensor:
    """All advantages, (T, N), by way of what is trained on."""
    found = torch.full(rollout.reward_TN.shape, math.nan)
    for t, env, batch, at in located(rollout):
        found[t, env] = batch.advantage_LB[at]
    return found


def located(rollout: Rollout, batch_size: int = 8):
    """Every step of every minibatch of one pass: its time, environment, minibatch and place there.

    It is found by its observation, of which no two are the same.
    """
    where = {
        rollout.kept["obs"][t, env].cpu().numpy().tobytes(): (t, env)
        for t in range(rollout.config.horizon_steps)
        for env in range(rollout.spaces.num_envs)
    }
    assert len(where) == rollout.size
    for batch in rollout.minibatches(batch_size):
        length, width = batch.start_LB.shape
        for b in range(width):
            for step in range(length):
                t, env = where[batch.obs_LB[step, b].cpu().numpy().tobytes()]
                yield t, env, batch, (step, b)


# Golden values. With one input, one hidden unit and weights of one, V(s) = s for s >= 0.


def counting(horizon: int = 3, num_envs: int = 1, **values: Any) -> Valued:
    spaces = spaces_of(num_envs, width=1)
    values = {"gamma": 0.5, "gae_lambda": 1.0, "activation": "relu", "hidden": 1} | values
    rollout, _ = make(spaces, horizon_steps=horizon, **values)
    with torch.no_grad():
        for name, parameter in rollout.network.named_parameters():
            parameter.fill_(float(name.endswith("weight")))
    seven = PolicyInputs(np.array([[7.0]], np.float32), np.zeros(1), np.zeros(1, bool))
    assert rollout.policy.state_values(seven, {}) == 7.0
    return rollout


def give(
    rollout: Valued,
    observed: list[float],
    rewards: list[float],
    beyond: float,
    ends: dict[int, str] | None = None,
    final: float = math.nan,
) -> None:
    """One environment's steps: what each was chosen on, its reward, what came after the last."""
    ends = ends or {}
    for t, (obs, reward) in enumerate(zip(observed, rewards, strict=True)):
        row, end = np.array([[obs]], np.float32), ends.get(t, "")
        flags = {f"{k}_N": np.array([k in end]) for k in ("terminated", "truncated", "life_lost")}
        over = flags["terminated_N"][0] or flags["truncated_N"][0]
        inputs = PolicyInputs(row, np.zeros(1), np.zeros(1, bool))
        choice = rollout.policy.act(inputs, rollout.policy.initial_state(1), EnvRng(0, 1), 1.0)
        rollout.add(
            Step(
                obs=row,
                action_N=choice.action_N,
                reward_N=np.array([reward], np.float32),
                final_obs=np.array([[final]], np.float32) if over else None,
                next_obs=np.array([[(*observed, beyond)[t + 1]]], np.float32),
                next_state=choice.state,
                extras=choice.extras,
                rows=slice(0, 1),
                **flags,
            )
        )


def in_order(rollout: Rollout, name: str) -> list[float]:
    """A field of the steps of one environment, by time."""
    found = {t: getattr(batch, name)[at].item() for t, _, batch, at in located(rollout)}
    return [found[t] for t in sorted(found)]


def test_the_last_step_bootstraps_from_what_comes_after_the_rollout():
    rollout = counting()
    give(rollout, [8.0, 4.0, 2.0], [1.0, 2.0, 3.0], beyond=16.0)
    # Returns: 3 + 0.5 * 16 = 11, 2 + 0.5 * 11 = 7.5, 1 + 0.5 * 7.5 = 4.75.
    assert in_order(rollout, "return_LB") == [4.75, 7.5, 11.0]
    assert in_order(rollout, "value_LB") == [8.0, 4.0, 2.0]
    assert in_order(rollout, "advantage_LB") == [4.75 - 8, 7.5 - 4, 11.0 - 2]


def test_truncation_bootstraps_from_the_final_observation_but_termination_does_not():
    truncated, terminated = counting(), counting()
    give(truncated, [8.0, 4.0, 2.0], [1.0, 2.0, 3.0], 16.0, {1: "truncated"}, final=6.0)
    give(terminated, [8.0, 4.0, 2.0], [1.0, 2.0, 3.0], 16.0, {1: "terminated"}, final=6.0)
    # 2 + 0.5 * 6 = 5, then 1 + 0.5 * 5 = 3.5; 2, then 1 + 0.5 * 2 = 2.
    assert in_order(truncated, "return_LB") == [3.5, 5.0, 11.0]
    assert in_order(terminated, "return_LB") == [2.0, 2.0, 11.0]


def test_an_end_at_the_last_step_is_no_different():
    truncated, terminated = counting(), counting()
    give(truncated, [8.0, 4.0, 2.0], [1.0, 2.0, 3.0], 16.0, {2: "truncated"}, final=6.0)
    give(terminated, [8.0, 4.0, 2.0], [1.0, 2.0, 3.0], 16.0, {2: "terminated"}, final=6.0)
    # 3 + 0.5 * 6 = 6, 2 + 0.5 * 6 = 5, 1 + 0.5 * 5 = 3.5; 3, 3.5, 2.75.
    assert in_order(truncated, "return_LB") == [3.5, 5.0, 6.0]
    assert in_order(terminated, "return_LB") == [2.75, 3.5, 3.0]


@pytest.mark.parametrize("last", [False, True])
def test_what_terminated_is_not_bootstrapped_though_it_was_truncated_as_well(last: bool):
    rollout = counting()
    both = {2 if last else 1: "truncated+terminated"}
    give(rollout, [8.0, 4.0, 2.0], [1.0, 2.0, 3.0], 16.0, both, final=6.0)
    assert in_order(rollout, "return_LB") == ([2.75, 3.5, 3.0] if last else [2.0, 2.0, 11.0])


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (True, [2.0, 2.0, 11.0]),  # as a termination: 2, and 1 + 0.5 * 2
        (False, [4.75, 7.5, 11.0]),  # as nothing at all
    ],
)
def test_a_lost_life_ends_the_return_but_not_the_episode(asked: bool, expected: list[float]):
    rollout = counting(life_loss_ends_return=asked)
    give(rollout, [8.0, 4.0, 2.0], [1.0, 2.0, 3.0], 16.0, {1: "life_lost"})
    assert in_order(rollout, "return_LB") == expected
    assert in_order(rollout, "start_LB") == [False, False, False]


def test_a_life_lost_at_the_last_step_is_not_bootstrapped():
    rollout = counting()
    give(rollout, [8.0, 4.0, 2.0], [1.0, 2.0, 3.0], 16.0, {2: "life_lost"})
    assert in_order(rollout, "return_LB") == [2.75, 3.5, 3.0]


def test_a_step_after_an_end_is_a_start():
    rollout = counting(horizon=4)
    ends = {0: "terminated", 2: "truncated", 3: "terminated"}
    give(rollout, [8.0, 4.0, 2.0, 1.0], [0.0] * 4, 16.0, ends, final=6.0)
    assert in_order(rollout, "start_LB") == [False, True, False, True]
    # The first step of the next one is not: what is remembered before it is already forgotten.
    rollout.clear()
    give(rollout, [9.0, 5.0, 3.0, 7.0], [0.0] * 4, 16.0)
    assert in_order(rollout, "start_LB") == [False] * 4


def test_a_second_rollout_knows_nothing_of_the_first():
    rollout, fresh = counting(), counting()
    give(rollout, [8.0, 4.0, 2.0], [9.0, 9.0, 9.0], 99.0, {0: "truncated", 1: "terminated"}, 50.0)
    list(rollout.minibatches(3))
    rollout.clear()
    for each in (rollout, fresh):
        give(each, [3.0, 5.0, 7.0], [1.0, 2.0, 3.0], beyond=16.0)
    assert in_order(rollout, "return_LB") == in_order(fresh, "return_LB") == [4.75, 7.5, 11.0]


@pytest.mark.parametrize(
    ("clip", "atari", "expected"),
    [
        (True, True, [1.0, -1.0, 0.0]),
        (True, False, [7.5, -0.25, 0.0]),
        (False, True, [7.5, -0.25, 0.0]),
    ],
)
def test_rewards_are_clipped_to_their_sign_only_on_atari_and_when_asked(
    clip: bool, atari: bool, expected: list[float]
):
    rollout = counting(gamma=0.0)
    settings = replace(rollout.config, clip_reward=clip)
    rollout.policy.spaces = replace(rollout.spaces, atari=atari)
    rollout = Valued(settings, rollout.policy)
    give(rollout, [8.0, 4.0, 2.0], [7.5, -0.25, 0.0], 16.0)
    # With γ = 0 the return is the reward.
    assert in_order(rollout, "return_LB") == expected


def test_rewards_are_scaled_over_all_environments_when_asked():
    rollout = counting(gamma=0.0, normalize_rewards=True)
    give(rollout, [8.0, 4.0, 2.0], [2.0, 4.0, 6.0], 16.0)
    # With γ = 0 the sums are the rewards: mean 4, variance (4 + 0 + 4) / 3.
    deviation = math.sqrt(8 / 3)
    expected = [2 / deviation, 4 / deviation, 6 / deviation]
    assert in_order(rollout, "return_LB") == pytest.approx(expected)


# Whole rollouts.


def slow_advantages(rollout: Valued, steps: list[Step]) -> np.ndarray:
    """Every advantage from the steps themselves, one environment after the other."""
    config = rollout.config
    result = np.zeros((config.horizon_steps, rollout.spaces.num_envs))
    for first in {step.rows.start for step in steps}:
        ours = [step for step in steps if step.rows.start == first]
        for row in range(len(ours[0].obs)):
            running = 0.0
            for t in reversed(range(len(ours))):
                step, now = ours[t], slice(row, row + 1)
                ended = bool(step.terminated_N[row] or step.truncated_N[row])
                reached = step.final_obs if ended else step.next_obs
                state = {name: each[now] for name, each in step.next_state.items()}
                inputs = PolicyInputs(reached[now], np.zeros(1), np.zeros(1, bool))
                beyond = rollout.policy.state_values(inputs, state).item()
                terminal = step.terminated_N[row] or (
                    step.life_lost_N[row] and config.life_loss_ends_return
                )
                gamma = 0.0 if terminal else config.gamma
                value = step.extras["value"][row].item()
                error = float(step.reward_N[row]) + gamma * beyond - value
                running = error + (0.0 if ended else gamma * config.gae_lambda * running)
                result[t, first + row] = running
    return result


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("lives", [True, False])
@pytest.mark.parametrize("core", CORES)
def test_advantages_equal_a_loop_over_each_environments_steps(
    core: str, lives: bool, device: torch.device
):
    rollout, _ = make(device=device, core=core, life_loss_ends_return=lives)
    play = Play(rollout)
    for _ in range(2):
        steps = play.fill()
        got = advantages(rollout)
        np.testing.assert_allclose(got, slow_advantages(rollout, steps), atol=2e-5)
        rollout.clear()


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("groups", [2, 4])
def test_groups_fill_the_same_storage_as_one(core: str, groups: int):
    (whole, _), (parts, _) = make(core=core), make(core=core)
    plays = Play(whole), Play(parts, groups)
    for _ in range(2):
        for play in plays:
            play.fill()
        assert parts.kept.keys() == whole.kept.keys()
        for name, stored in whole.kept.items():
            assert bool(stored.any()) == (stored.numel() > 0)
            torch.testing.assert_close(parts.kept[name], stored)
        for name in ("reward_TN", "terminal_TN", "truncated_TN", "ended_TN"):
            np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
        torch.testing.assert_close(parts.bootstrap_TN, whole.bootstrap_TN)
        for a, b in zip(parts.minibatches(8), whole.minibatches(8), strict=True):
            assert torch.equal(a.obs_LB, b.obs_LB)
            torch.testing.assert_close(a.advantage_LB, b.advantage_LB)
        for rollout in (whole, parts):
            rollout.clear()


@pytest.mark.parametrize(
    ("core", "batch_size", "sizes"),
    [
        ("none", 8, [8] * 4),
        ("none", 12, [12, 12, 8]),  # the last takes what is left
        ("none", 32, [32]),
        ("none", 1_000, [32]),
        ("none", 1, [1] * 32),
        ("lstm", 8, [8] * 4),
        ("lstm", 12, [12, 12, 8]),
        ("gru", 10, [8] * 4),  # two sequences of 4 fit
        ("gru", 3, [4] * 8),  # a sequence is never cut
    ],
)
def test_a_pass_covers_every_step_exactly_once(core: str, batch_size: int, sizes: list[int]):
    rollout, _ = make(core=core)
    Play(rollout).fill()
    batches = list(rollout.minibatches(batch_size))
    assert [batch.size for batch in batches] == sizes
    assert [batch.start_LB.numel() for batch in batches] == sizes
    seen = [(t, env) for t, env, *_ in located(rollout, batch_size)]
    assert sorted(seen) == [(t, env) for t in range(HORIZON) for env in range(ENVS)]


@pytest.mark.parametrize("core", CORES)
def test_minibatches_hold_what_was_kept_of_each_step(core: str):
    rollout, _ = make(core=core)
    Play(rollout).fill()
    count = 0
    for t, env, batch, at in located(rollout):
        assert torch.equal(batch.action_LBK[at], rollout.kept["action"][t, env])
        assert batch.log_prob_LB[at] == rollout.kept["log_prob"][t, env]
        assert batch.value_LB[at] == rollout.kept["value"][t, env]
        assert batch.return_LB[at] == batch.advantage_LB[at] + batch.value_LB[at]
        before = ENDS.get((t - 1, env), "")
        assert batch.start_LB[at] == ("terminated" in before or "truncated" in before)
        if at[0] == 0:
            assert torch.equal(batch.memory_BS[at[1]], rollout.kept["memory"][t, env])
        count += 1
    assert count == rollout.size


@pytest.mark.parametrize("sequence_steps", [1, 2, 4, 8])
def test_a_sequence_is_of_consecutive_steps_of_one_environment(sequence_steps: int):
    rollout, _ = make(core="gru", sequence_steps=sequence_steps)
    Play(rollout).fill()
    sequences: dict[tuple[int, int], list[tuple[int, int]]] = {}
    batches = []  # An identity is its own only as long as it lives.
    for t, env, batch, (step, b) in located(rollout):
        batches.append(batch)
        assert len(batch.start_LB) == sequence_steps
        sequences.setdefault((id(batch), b), []).append((t, env))
        assert sequences[id(batch), b][step] == (t, env)
    for steps in sequences.values():
        first, env = steps[0]
        assert first % sequence_steps == 0
        assert steps == [(first + step, env) for step in range(sequence_steps)]


def test_without_a_core_a_sequence_is_one_step_whatever_the_config_says():
    rollout, _ = make(core="none", sequence_steps=5)  # of which 8 steps are no multiple
    Play(rollout).fill()
    assert {batch.obs_LB.shape for batch in rollout.minibatches(8)} == {(1, 8, WIDTH)}


def test_a_horizon_that_is_no_multiple_of_a_sequence_is_refused_with_both_numbers():
    with pytest.raises(UserError, match=r"--horizon-steps 8: .* multiple of the 3 .*--sequence"):
        make(core="lstm", sequence_steps=3)


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("core", CORES)
def test_before_it_learns_the_network_says_of_a_minibatch_what_it_said_when_acting(
    core: str, separate: bool, device: torch.device
):
    rollout, _ = make(device=device, core=core, separate_value=separate)
    play = Play(rollout, groups=2)
    for _ in range(2):
        play.fill()
        for batch in rollout.minibatches(8):
            policy, value_LB, _ = rollout.network(*batch.inputs)
            torch.testing.assert_close(value_LB, batch.value_LB, atol=1e-5, rtol=1e-4)
            log_prob_LB = policy.log_prob(batch.action_LBK)
            torch.testing.assert_close(log_prob_LB, batch.log_prob_LB, atol=1e-5, rtol=1e-4)
        rollout.clear()


@pytest.mark.parametrize("core", ["none", "lstm"])
def test_advantages_of_a_minibatch_are_brought_to_mean_0_and_deviation_1(core: str):
    (plain, _), (normalized, _) = (
        make(core=core, normalize_advantages=asked) for asked in (False, True)
    )
    Play(plain).fill()
    Play(normalized).fill()
    for raw, batch in zip(plain.minibatches(8), normalized.minibatches(8), strict=True):
        assert torch.equal(raw.obs_LB, batch.obs_LB)
        assert batch.advantage_LB.mean().item() == pytest.approx(0.0, abs=1e-6)
        assert batch.advantage_LB.std().item() == pytest.approx(1.0, abs=1e-4)
        expected_LB = (raw.advantage_LB - raw.advantage_LB.mean()) / raw.advantage_LB.std()
        torch.testing.assert_close(batch.advantage_LB, expected_LB)
        # What values are fitted to is in the environment's units.
        assert torch.equal(raw.return_LB, batch.return_LB)
        assert abs(raw.advantage_LB.mean().item()) > 1e-3


def test_a_minibatch_of_one_step_keeps_its_advantage():
    (plain, _), (normalized, _) = (make(normalize_advantages=asked) for asked in (False, True))
    Play(plain).fill()
    Play(normalized).fill()
    for raw, batch in zip(plain.minibatches(1), normalized.minibatches(1), strict=True):
        assert batch.advantage_LB.item() == raw.advantage_LB.item() != 0.0


def test_each_pass_has_an_order_of_its_own_that_the_seed_decides():
    orders = []
    for seed in (0, 0, 1):
        rollout, _ = make(seed=seed)
        Play(rollout).fill()
        for _ in range(2):
            orders.append([(t, env) for t, env, *_ in located(rollout)])
    assert orders[0] == orders[2]
    assert orders[1] == orders[3]
    assert len({tuple(order) for order in orders}) == 4


@pytest.mark.parametrize("shards", [1, 2, 3])
@pytest.mark.parametrize("core", ["none", "lstm"])
def test_a_split_minibatch_gives_back_everything_in_order(core: str, shards: int):
    rollout, _ = make(core=core)
    Play(rollout).fill()
    for batch in rollout.minibatches(16):
        parts = batch.split(shards)
        assert (len(parts) > 1) == (shards > 1)
        assert len(parts) <= shards
        assert all(part.size == batch.size and part.weight == 1.0 for part in parts)
        assert all(len(part.start_LB) == len(batch.start_LB) for part in parts)
        for name, whole in vars(batch).items():
            if isinstance(whole, Tensor):
                joined = torch.cat(
                    [getattr(part, name) for part in parts], dim=0 if name == "memory_BS" else 1
                )
                assert torch.equal(joined, whole), name


def regress(learner: Learner, batch: Sequences) -> dict[str, Tensor]:
    """One update that fits values to returns and makes actions likelier."""

    network = learner.parts["policy"].network

    def loss(part: Sequences) -> LossOutput:
        policy, value_LB, _ = network(part.obs_LB, part.memory_BS, part.start_LB)
        error_LB = (value_LB - part.return_LB).square()
        loss_LB = error_LB - policy.log_prob(part.action_LBK)
        return LossOutput(loss_LB, {"losses/value_loss": error_LB})

    return learner.update(loss, batch).metrics


@pytest.mark.parametrize("core", ["none", "lstm"])
def test_sequences_that_threads_share_give_the_same_update(core: str):
    spaces = Spaces(ENVS, (1, 36, 36), torch.uint8, stack=1, num_actions=3, atari=False)
    metrics, networks = [], []
    for num_threads in (1, 2):
        rollout, settings = make(spaces, core=core, num_threads=num_threads)
        learner = make_learner(rollout.network, settings)
        assert learner.compute.shards == num_threads
        Play(rollout, width=36, image=True).fill()
        (batch,) = rollout.minibatches(rollout.size)
        metrics.append(regress(learner, batch))
        networks.append(rollout.network)
    torch.testing.assert_close(metrics[0], metrics[1], atol=1e-5, rtol=1e-4)
    for a, b in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-4)


def test_continuous_actions_are_kept_as_they_were_drawn():
    bounds = {"action_low": (-0.1,) * 2, "action_high": (0.1,) * 2, "action_shape": (2,)}
    rollout, _ = make(spaces_of(num_actions=0, **bounds))
    steps = Play(rollout).fill()
    assert max(abs(step.action_N).max() for step in steps) <= np.float32(0.1)
    (batch,) = rollout.minibatches(rollout.size)
    assert batch.action_LBK.shape == (1, 32, 2)
    assert batch.action_LBK.dtype == torch.float32
    assert batch.action_LBK.abs().max() > 0.5


def test_multi_discrete_actions_are_kept_in_all_their_parts():
    rollout, _ = make(spaces_of(num_actions=0, nvec=(2, 3), action_shape=(2,)))
    steps = Play(rollout).fill()
    assert rollout.kept["action"].dtype == torch.int64
    assert rollout.kept["action"].tolist() == [step.action_N.tolist() for step in steps]


def test_observations_change_the_normalizer_only_after_they_were_learned_from():
    seen: list[float] = []

    class Looks:
        """Learns nothing, and notes how many observations the normalizer had."""

        def improve(self, rollout: Rollout, progress: float) -> dict[str, Tensor]:
            seen.append(normalizer.count.item())
            return {}

        def loss(self, batch: Any) -> Any: ...

    settings = replace(SETTINGS, normalize_observations=True)
    policy = make_policy(settings, spaces_of())
    normalizer = policy.network.normalizer
    algorithm = OnPolicyAlgorithm(settings, policy, lambda *_: Looks())
    algorithm.rollout.kept["obs"].normal_()
    for _ in range(2):
        algorithm.update()
    size = algorithm.rollout.size
    assert seen == [0, size]
    assert normalizer.count.item() == 2 * size
    expected = algorithm.rollout.kept["obs"].double().mean(dim=(0, 1))
    torch.testing.assert_close(normalizer.mean, expected)


def test_an_empty_rollout_can_be_restored():
    values = {"normalize_rewards": True, "core": "gru"}
    (rollout, _), (other, _) = make(**values), make(seed=9, **values)
    play = Play(rollout)
    play.fill()
    list(rollout.minibatches(8))
    rollout.clear()
    other.load_state_dict(rollout.state_dict())
    for step in play.fill():
        other.add(step)
    for a, b in zip(rollout.minibatches(8), other.minibatches(8), strict=True):
        assert torch.equal(a.obs_LB, b.obs_LB)
        assert torch.equal(a.return_LB, b.return_LB)
