"""Sequences from a replay against the slow reference, and continuous actions in a replay."""

from __future__ import annotations

import copy
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.devices import CPU
from support.settings import Settings
from support.worlds import DictStore, Plan, World

from agents.core.data import replay_store
from agents.core.data.replay import Layout, Replay
from agents.core.data.replay_store import ReplayStore
from agents.core.data.sequences import SequenceSampler
from agents.core.math.schedules import constant
from agents.core.nets.previous import PreviousInputs
from agents.core.types.batches import tensors
from agents.core.types.spaces import Spaces
from agents.core.types.step import Step
from envs.errors import UserError

PLANS = st.lists(
    st.lists(
        st.builds(Plan, length=st.integers(1, 7), truncated=st.booleans()), min_size=1, max_size=3
    ),
    min_size=1,
    max_size=3,
)


def replay_of(world: World, slots: int, steps: int, burn_in: int = 0, n_step: int = 1) -> Replay:
    """A replay of sequences, with the encoding of the previous action and a memory of one number.

    The memory of a step is the number of its frame.
    """
    config = Settings(buffer_size=slots * world.num_envs, n_step=constant(n_step), gamma=0.5)
    previous = PreviousInputs.of_combinations(world.spaces, enabled=True, clip_reward=False)
    return Replay(config, world.spaces, CPU, Layout(previous, 1, steps, burn_in))


def with_memory(step: Step) -> Step:
    """The step, with memories that tell its observation."""
    obs_N = torch.from_numpy(step.obs)
    memory_N1 = obs_N.flatten(1).double().sum(dim=1, keepdim=True).float()
    return replace(
        step, extras={"memory": memory_N1}, next_state={"memory": torch.full_like(memory_N1, -1)}
    )


@settings(max_examples=60, deadline=None)
@given(
    plans=PLANS,
    obs=st.sampled_from(["vector", "stack"]),
    steps=st.integers(30, 70),
    length=st.integers(1, 5),
    burn_in=st.integers(0, 3),
    n_step=st.integers(1, 3),
)
def test_a_sequence_is_what_happened_in_a_row(
    plans: list[list[Plan]], obs: str, steps: int, length: int, burn_in: int, n_step: int
) -> None:
    world = World(plans, obs)
    slots = 26
    replay = replay_of(world, slots, length, burn_in, n_step)
    for _ in range(steps):
        replay.add(with_memory(world.step()))
    sampler = SequenceSampler(replay)
    assert sampler.ready
    batch = sampler.sample(sampler.draw(16 * length))
    total = burn_in + length + n_step
    assert batch.obs_BL.shape[:2] == (16, total)
    for row in range(16):
        env, ring = divmod(int(batch.slot_B[row]), replay.length)
        written = world.written(env)
        # The ring's newest round that is whole from there on.
        position = max(p for p in range(ring, len(written) - total + 1, replay.length))
        assert position >= len(written) - replay.length
        assert position % ((length + 1) // 2) == 0
        for t in range(total):
            episode, time = written[position + t]
            expected = torch.from_numpy(world.observation(episode, time))
            assert torch.equal(batch.obs_BL[row, t], expected)
            assert batch.start_BL[row, t] == (time == 0)
            assert batch.previous_BLP is not None
            before = torch.zeros(6)
            if time > 0:
                before[episode.actions[time - 1]] = 1.0
                before[5] = episode.rewards[time - 1]
            assert torch.equal(batch.previous_BLP[row, t], before)
        for t in range(length):
            episode, time = written[position + burn_in + t]
            done = time < episode.plan.length
            assert batch.weight_BT[row, t] == float(done)
            if not done:
                continue
            assert batch.action_BT[row, t] == episode.actions[time]
            taken = episode.rewards[time : time + n_step]
            expected_return = sum(0.5**k * reward for k, reward in enumerate(taken))
            assert batch.reward_BT[row, t] == pytest.approx(expected_return)
            assert batch.next_time_BT[row, t] == burn_in + t + len(taken)
            terminated = time + len(taken) == episode.plan.length and not episode.plan.truncated
            discount = 0.0 if terminated else 0.5 ** len(taken)
            assert batch.discount_BT[row, t] == discount
        episode, time = written[position]
        if time < episode.plan.length:
            first = torch.from_numpy(world.observation(episode, time)).double().sum().float()
            assert batch.memory_BS[row, 0] == first


@settings(max_examples=30, deadline=None)
@given(
    plans=PLANS,
    obs=st.sampled_from(["vector", "stack"]),
    steps=st.integers(12, 50),
    length=st.integers(1, 5),
    burn_in=st.integers(0, 2),
    n_step=st.integers(1, 2),
    damaged=st.sets(st.integers(0, 12), max_size=4),
    more_steps=st.integers(0, 12),
)
def test_after_the_loss_of_chunks_only_whole_sequences_are_drawn(
    plans: list[list[Plan]],
    obs: str,
    steps: int,
    length: int,
    burn_in: int,
    n_step: int,
    damaged: set[int],
    more_steps: int,
) -> None:
    world = World(plans, obs)
    slots = 26
    replay = replay_of(world, slots, length, burn_in, n_step)
    for _ in range(steps):
        replay.add(with_memory(world.step()))
    disk = DictStore()
    with mock.patch.object(replay_store, "CHUNK_FRAMES", 4):
        state = copy.deepcopy(ReplayStore(replay).state_dict(disk))
    lost: list[set[int]] = [set() for _ in plans]
    for number in damaged & set(range(len(state["chunks"]))):
        chunk = state["chunks"][number]
        del disk.chunks[chunk["chunk"]["name"]]
        for positions, first, last in zip(lost, chunk["first"], chunk["last"], strict=True):
            positions.update(range(first, last))
    restored = replay_of(world, slots, length, burn_in, n_step)
    restored.frames.fill_(77)  # What a lost frame must not be taken for.
    restored.frames[-1] = 0
    ReplayStore(restored).load_state_dict(state, disk)
    for _ in range(more_steps):
        step = with_memory(world.step())
        replay.add(step)
        restored.add(step)
    expected = []
    for slot in drawable(replay):
        env, ring = divmod(slot, replay.length)
        newest = len(world.written(env)) - 1
        position = newest - (newest - ring) % replay.length
        needed = range(position - replay.look_back, position + replay.look_ahead + 1)
        if lost[env].isdisjoint(needed):
            expected.append(slot)
    assert drawable(restored) == expected
    assert not restored.ready or expected
    if expected:
        mine, whole = (
            SequenceSampler(each).gather(torch.tensor(expected)) for each in (restored, replay)
        )
        for name, tensor in tensors(whole).items():
            assert torch.equal(getattr(mine, name), tensor), name


def drawable(replay: Replay) -> list[int]:
    """The slots at which a draw may begin."""
    slots = torch.arange(replay.length * replay.num_envs)
    return slots[replay.priorities[slots] > 0].tolist()


@pytest.mark.parametrize(("steps", "memories"), [(1, 40), (4, 20), (8, 10)])
def test_memories_are_stored_only_where_a_sequence_may_begin(steps: int, memories: int) -> None:
    world = World([[Plan(3, truncated=True)]], "vector")
    replay = replay_of(world, 40, steps)
    assert replay.fields["memory"].shape == (memories, 1)
    # 43 slots are not a whole number of halves, so the replay has fewer.
    assert replay_of(world, 43, steps).length == 43 // ((steps + 1) // 2) * ((steps + 1) // 2)


def test_sequences_begin_at_every_half_of_their_length() -> None:
    world = World([[Plan(4, truncated=True)], [Plan(9, truncated=False)]], "vector")
    replay = replay_of(world, 20, steps=4)
    for _ in range(50):
        replay.add(with_memory(world.step()))
    sampler = SequenceSampler(replay)
    counts = sampler.sample(sampler.draw(64_000)).slot_B.bincount(minlength=40)
    drawn = counts[counts > 0]
    # 62 and 55 slots were written. Draws need the slot before them and 4 after them, of the last
    # 20: the even positions from 43 to 57 and from 36 to 50.
    assert len(drawn) == 7 + 8
    assert drawn.min() > 1_000
    assert drawn.max() < 1_130


def test_sequences_wait_until_each_environment_holds_one() -> None:
    world = World([[Plan(50, truncated=True)]], "vector")
    replay = replay_of(world, 40, steps=4, burn_in=2)
    sampler = SequenceSampler(replay)
    while replay.written.min() < 9:
        replay.add(with_memory(world.step()))
        assert not sampler.ready or replay.written.min() >= 8
    assert sampler.ready
    assert replay.priorities.total() > 0


def test_a_sequence_has_a_priority_of_its_largest_and_its_mean_error() -> None:
    world = World([[Plan(50, truncated=True)]], "vector")
    replay = replay_of(world, 60, steps=2)
    replay.config = replace(replay.config, priority_exponent=1.0)
    for _ in range(20):
        replay.add(with_memory(world.step()))
    sampler = SequenceSampler(replay)
    batch = sampler.gather(torch.tensor([3, 5]))
    sampler.update_priorities(batch, torch.tensor([1.0, 3.0, 0.0, 10.0]))
    # 0.9 * 3 + 0.1 * 2, and 0.9 * 10 + 0.1 * 5; each more by 0.001.
    assert replay.priorities[batch.slot_B].tolist() == pytest.approx([2.901, 9.501])


def test_sequences_that_a_replay_cannot_hold_are_refused() -> None:
    world = World([[Plan(3, truncated=True)]], "vector")
    with pytest.raises(UserError, match="1-step returns of 40 steps in a row in 1 environments"):
        replay_of(world, 40, steps=30, burn_in=10)


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
