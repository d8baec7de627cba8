"""Transitions of demonstrations: equal to a slow reference, whatever n, ends, masks and rewards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from conftest import demonstrations
from support.devices import CPU
from support.settings import Settings

import envs
from agents.core.data.demo_replay import DemoReplay, stored_actions
from agents.core.data.demonstrations import Demonstrations
from agents.core.math.schedules import constant
from agents.core.nets.previous import PreviousInputs
from agents.core.training.building import spaces_of
from agents.core.types.spaces import Spaces
from demos import Dataset, Episode
from demos.frames import decode

GAMMA = 0.9


@dataclass(frozen=True)
class Given:
    """A dataset of random play with its replay, and the observations of each episode."""

    episodes: list[Episode]
    observations: list[np.ndarray]
    spaces: Spaces
    replay: DemoReplay


def given(env_id: str, n_step: int, reward: float | None = None, **changed: Any) -> Given:
    episodes = Dataset.open(demonstrations(env_id)).episodes()
    spec = episodes[0].spec
    spaces = spaces_of(spec)
    source = Demonstrations(decode(episodes, spec), episodes, spaces, CPU)
    config: Any = Settings(gamma=GAMMA, n_step=constant(n_step), **changed)
    encoding = PreviousInputs.of_combinations(spaces, True, clip_reward=False)
    replay = DemoReplay(source, config, spaces, encoding, reward)
    seen = [np.stack([obs for obs, *_ in envs.replay(each.tape)]) for each in episodes]
    return Given(episodes, seen, spaces, replay)


SHORT = [(env_id, n) for env_id in ("toy/Catch-v0", "CartPole-v1", "Acrobot-v1") for n in (1, 2, 7)]


@pytest.mark.parametrize(
    ("env_id", "n_step"), [*SHORT, pytest.param("Pong", 7, marks=pytest.mark.full)]
)
def test_every_transition_equals_the_reference(env_id: str, n_step: int) -> None:
    known = given(env_id, n_step)
    first = 0
    for episode, seen in zip(known.episodes, known.observations, strict=True):
        steps = len(episode)
        # Long episodes are looked at near both ends.
        chosen = [*range(min(steps, 20)), *range(max(steps - 20, 0), steps)]
        batch = known.replay.gather(torch.tensor(chosen) + first)
        for row, t in enumerate(chosen):
            end = min(t + n_step, steps)
            rewards = episode.rewards[t:end]
            expected = sum(float(r) * GAMMA**k for k, r in enumerate(rewards))
            bootstraps = not (end == steps and episode.terminated)
            assert batch.reward_B[row].item() == pytest.approx(expected)
            assert batch.discount_B[row].item() == pytest.approx(GAMMA ** (end - t) * bootstraps)
            assert batch.action_B[row].item() == episode.actions[t]
            np.testing.assert_array_equal(batch.obs[row].numpy(), seen[t])
            np.testing.assert_array_equal(batch.next_obs[row].numpy(), seen[end])
        first += steps
    assert first == known.replay.demos.size


def test_a_lesser_n_takes_effect_at_once() -> None:
    known = given("CartPole-v1", 5)
    known.replay.set_n_step(2)
    batch = known.replay.gather(torch.tensor([0]))
    assert batch.discount_B.item() == pytest.approx(GAMMA**2)
    np.testing.assert_array_equal(batch.next_obs[0].numpy(), known.observations[0][2])


def test_the_previous_action_and_reward_are_the_episodes_own() -> None:
    known = given("toy/Catch-v0", 3)
    encoding = known.replay.encoding
    lengths = [len(each) for each in known.episodes]
    second = lengths[0]
    batch = known.replay.gather(torch.tensor([0, 1, second - 1, second]))
    assert batch.previous_BP is not None and batch.next_previous_BP is not None
    assert (batch.previous_BP[[0, 3]] == 0).all(), "nothing comes before the start of an episode"
    actions = torch.tensor(known.episodes[0].actions).long()
    rewards = torch.tensor(known.episodes[0].rewards)
    never = torch.zeros(1, dtype=torch.bool)
    before = lambda t: encoding.encode(actions[t : t + 1, None], rewards[t : t + 1], never)  # noqa: E731
    assert torch.equal(batch.previous_BP[1:2], before(0))
    assert torch.equal(batch.next_previous_BP[1:2], before(3))
    # The last step of an episode is followed by its last observation, not by another episode.
    assert torch.equal(batch.next_previous_BP[2:3], before(second - 1))


def test_legal_actions_are_the_recorded_ones_and_all_after_the_end() -> None:
    known = given("toy/Masked-v0", 1)
    demos = known.replay.demos
    batch = known.replay.gather(torch.arange(demos.size))
    legal_NA = demos.legal_NA
    assert legal_NA is not None and batch.legal_BA is not None and batch.next_legal_BA is not None
    assert torch.equal(batch.legal_BA, legal_NA)
    assert not batch.legal_BA.all()
    for row in range(demos.size):
        if demos.ended_N[row]:
            assert batch.next_legal_BA[row].all()
        else:
            assert torch.equal(batch.next_legal_BA[row], legal_NA[row + 1])


def test_a_given_reward_takes_the_place_of_all_rewards() -> None:
    batch = given("CartPole-v1", 2, reward=0.5).replay.gather(torch.tensor([0, 1]))
    assert batch.reward_B.tolist() == pytest.approx([0.5 * (1 + GAMMA)] * 2)


@pytest.mark.parametrize("clips", [True, False])
def test_rewards_of_atari_are_clipped_as_in_a_replay(clips: bool) -> None:
    known = given("Breakout", 1, clip_reward=clips)
    raw = np.concatenate([each.rewards for each in known.episodes])
    ours = known.replay.reward_N.numpy()
    np.testing.assert_array_equal(ours, np.sign(raw) if clips else raw)


def test_draws_prefer_what_has_a_large_error() -> None:
    replay = given("CartPole-v1", 1, priority_exponent=1.0).replay
    batch = replay.gather(torch.arange(replay.demos.size))
    priority_B = torch.zeros(replay.demos.size)
    priority_B[5] = 1e6
    replay.update_priorities(batch, priority_B)
    drawn = replay.sample(replay.draw(64))
    assert (drawn.slot_B == 5).float().mean() > 0.9
    assert drawn.weight_B.max() == 1.0


def test_without_priorities_all_steps_are_drawn_alike() -> None:
    replay = given("CartPole-v1", 1, priority_exponent=0.0).replay
    size = replay.demos.size
    batch = replay.gather(torch.arange(size))
    replay.update_priorities(batch, torch.arange(size).float() * 100)
    drawn = replay.sample(replay.draw(size)).slot_B
    # Draws are stratified, so each step is drawn about once.
    assert (drawn - torch.arange(size)).abs().max() <= 1


def test_a_restored_replay_draws_the_same() -> None:
    first, second = (given("CartPole-v1", 1, priority_exponent=0.5).replay for _ in range(2))
    batch = first.sample(first.draw(16))
    first.update_priorities(batch, torch.arange(16.0))
    second.load_state_dict(first.state_dict())
    draws = [each.sample(each.draw(32)) for each in (first, second)]
    assert torch.equal(draws[0].slot_B, draws[1].slot_B)
    assert torch.equal(draws[0].weight_B, draws[1].weight_B)
    assert first.max_priority == second.max_priority > 1


def test_parts_of_an_action_become_the_number_of_a_combination() -> None:
    spaces = Spaces(1, (3,), torch.float32, 1, 0, False, nvec=(2, 3), action_shape=(2,))
    parts_NK = torch.tensor([[0, 0], [0, 2], [1, 1]])
    assert stored_actions(parts_NK, spaces).tolist() == [0, 2, 4]
    assert spaces.combination(parts_NK.numpy()).tolist() == [0, 2, 4]
