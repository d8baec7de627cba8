"""Sequences from a replay against the slow reference, and continuous actions in a replay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.devices import CPU
from support.settings import Settings
from support.worlds import Plan, World

from agents.core.data.replay import Replay
from agents.core.data.sequences import SequenceSampler
from agents.core.types.spaces import Spaces
from agents.core.types.step import Step

PLANS = st.lists(
    st.lists(
        st.builds(Plan, length=st.integers(1, 7), truncated=st.booleans()), min_size=1, max_size=3
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=60, deadline=None)
@given(
    plans=PLANS,
    obs=st.sampled_from(["vector", "stack"]),
    steps=st.integers(20, 60),
    length=st.integers(1, 5),
    burn_in=st.integers(0, 3),
)
def test_a_sequence_is_what_happened_in_a_row(
    plans: list[list[Plan]], obs: str, steps: int, length: int, burn_in: int
) -> None:
    world = World(plans, obs)
    slots = 24
    replay = Replay(Settings(buffer_size=slots * world.num_envs), world.spaces, CPU)
    for _ in range(steps):
        replay.add(world.step())
    sampler = SequenceSampler(replay, length, burn_in)
    assert sampler.ready
    batch = sampler.sample(16)
    total = length + burn_in
    assert batch.obs_TB.shape[:2] == (total + 1, 16)
    for column in range(16):
        env, ring = divmod(int(batch.slot_TB[0, column]), slots)
        written = world.written(env)
        # The ring's newest round that is whole from there on.
        position = max(p for p in range(ring, len(written) - total, slots))
        assert position >= len(written) - slots
        for t in range(total + 1):
            episode, time = written[position + t]
            expected = torch.from_numpy(world.observation(episode, time))
            assert torch.equal(batch.obs_TB[t, column], expected)
            assert batch.is_first_TB[t, column] == (time == 0)
            if t == total:
                break
            done = time < episode.plan.length
            assert batch.weight_TB[t, column] == float(done and t >= burn_in)
            if done:
                assert batch.action_TB[t, column] == episode.actions[time]
                assert batch.reward_TB[t, column] == episode.rewards[time]
                last = time + 1 == episode.plan.length
                assert batch.terminated_TB[t, column] == (last and not episode.plan.truncated)


def test_each_start_is_drawn_as_often_as_any_other() -> None:
    world = World([[Plan(4, truncated=True)], [Plan(9, truncated=False)]], "vector")
    replay = Replay(Settings(buffer_size=40), world.spaces, CPU)
    for _ in range(50):
        replay.add(world.step())
    sampler = SequenceSampler(replay, 4)
    counts = sampler.sample(16_000).slot_TB[0].bincount(minlength=40)
    # 15 of the 20 slots of each environment can begin a sequence: 533 draws of each.
    assert (counts > 0).sum() == 30
    assert counts[counts > 0].min() > 430
    assert counts.max() < 640


def test_sequences_wait_until_each_environment_holds_one() -> None:
    world = World([[Plan(50, truncated=True)]], "vector")
    replay = Replay(Settings(buffer_size=40), world.spaces, CPU)
    sampler = SequenceSampler(replay, 4, 2)
    for _ in range(6):
        replay.add(world.step())
        assert not sampler.ready
    replay.add(world.step())
    assert sampler.ready


@pytest.mark.parametrize(("length", "burn_in"), [(0, 0), (3, -1), (30, 10)])
def test_sequences_that_a_replay_cannot_hold_are_refused(length: int, burn_in: int) -> None:
    replay = Replay(Settings(buffer_size=40), World([[Plan(3, True)]], "vector").spaces, CPU)
    with pytest.raises(ValueError, match="sequences of"):
        SequenceSampler(replay, length, burn_in)


def test_continuous_actions_are_stored_as_they_were_done() -> None:
    spaces = Spaces(
        2,
        (3,),
        torch.float32,
        stack=1,
        num_actions=0,
        atari=False,
        action_low=(-1.0,) * 4,
        action_high=(1.0,) * 4,
        action_shape=(2, 2),
    )
    replay = Replay(Settings(buffer_size=40, n_step=1), spaces, CPU)
    rng = np.random.default_rng(0)
    done: dict[bytes, np.ndarray] = {}
    for t in range(30):
        obs = rng.normal(size=(2, 3)).astype(np.float32)
        action_N = rng.uniform(-1, 1, (2, 2, 2)).astype(np.float32)
        for row in range(2):
            done[obs[row].tobytes()] = action_N[row].ravel()
        ended_N = np.array([t % 7 == 6, False])
        step = Step(
            obs=obs,
            action_N=action_N,
            reward_N=np.ones(2, np.float32),
            terminated_N=ended_N,
            truncated_N=np.zeros(2, bool),
            life_lost_N=np.zeros(2, bool),
            final_obs=rng.normal(size=(2, 3)).astype(np.float32),
        )
        replay.add(step if ended_N.any() else replace(step, final_obs=None))
    batch = replay.sample(replay.draw(64))
    assert batch.action_B.shape == (64, 4)
    for obs, action in zip(batch.obs.numpy(), batch.action_B.numpy(), strict=True):
        np.testing.assert_array_equal(action, done[obs.tobytes()])
