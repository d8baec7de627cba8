"""The replay against a slow reference, lists of episodes; its memory, its shares, its state."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import psutil
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.devices import CPU, DEVICES
from support.settings import Settings
from support.worlds import DictStore, Plan, World
from torch import Tensor

from agents.core.data import priorities, replay_store
from agents.core.data import replay as replay_module
from agents.core.data.replay import Replay
from agents.core.data.replay_store import ReplayStore
from agents.core.types.batches import Batch, tensors
from agents.core.types.spaces import Spaces
from agents.core.types.step import Step
from envs.errors import UserError

ATARI = Spaces(8, (4, 84, 84), torch.uint8, stack=4, num_actions=6, atari=True)
GAMMA = 0.5


def make_settings(buffer_size: int, **values: Any) -> Settings:
    return Settings(buffer_size=buffer_size, gamma=GAMMA, **values)


def prefer(replay: Replay, slots: list[int], priority: list[float]) -> None:
    """Give the transitions at these slots these priorities."""
    replay.update_priorities(replay.gather(torch.tensor(slots)), torch.tensor(priority))


def make_replay(config: Settings, spaces: Spaces, device: torch.device = CPU) -> Replay:
    return Replay(config, spaces, device)


def sampled(replay: Replay, batch_size: int) -> Batch:
    return replay.sample(replay.draw(batch_size))


def drawable_slots(replay: Replay) -> list[int]:
    slots = torch.arange(replay.length * replay.num_envs, device=replay.device)
    return torch.nonzero(replay.priorities[slots] > 0).flatten().tolist()


def assert_batch_matches(batch: Batch, world: World, config: Settings, n_step: int = 0) -> None:
    """`n_step` is how many rewards were to be summed; 0 is as many as the config says."""
    drawable, n_step = world.drawable(config), n_step or config.n_step.end
    for row, slot in enumerate(batch.slot_B.tolist()):
        obs, action, total, discount, next_obs = world.transition(config, *drawable[slot], n_step)
        np.testing.assert_array_equal(batch.obs[row].cpu().numpy(), obs)
        assert batch.action_B[row] == action
        # Rewards are multiples of 1/2 and gamma is 1/2, so that float32 holds every sum.
        assert batch.reward_B[row] == total
        assert batch.discount_B[row] == discount
        np.testing.assert_array_equal(batch.next_obs[row].cpu().numpy(), next_obs)


PLANS = st.builds(
    Plan,
    length=st.integers(1, 9),
    truncated=st.booleans(),
    lives_lost=st.frozensets(st.integers(0, 8), max_size=3),
)


@st.composite
def streams(draw: Callable[[st.SearchStrategy[Any]], Any]) -> tuple[World, Settings, int]:
    """A world, the settings of a replay for it, and for how many steps to watch."""
    plans = draw(st.lists(st.lists(PLANS, min_size=1, max_size=4), min_size=1, max_size=3))
    world = World(plans, draw(st.sampled_from(["vector", "image", "stack"])))
    n_step, num_envs = draw(st.integers(1, 5)), world.num_envs
    length = n_step + world.spaces.stack + 2 + draw(st.integers(0, 12))
    config = make_settings(
        buffer_size=length * num_envs + draw(st.integers(0, num_envs - 1)),
        n_step=n_step,
        priority_exponent=draw(st.sampled_from([0.0, 0.5])),
        clip_reward=draw(st.booleans()),
        life_loss_ends_return=draw(st.booleans()),
    )
    return world, config, draw(st.integers(1, 4 * length))


@settings(max_examples=80, deadline=None)
@given(streams(), st.frozensets(st.integers(0, 40), min_size=1, max_size=8))
def test_episodes_whose_ends_nobody_saw_are_truncated_before_their_last_step(
    stream: tuple[World, Settings, int], cuts: frozenset[int]
):
    world, config, num_steps = stream
    replay = make_replay(config, world.spaces)
    replay.end_episodes()
    for step in range(num_steps):
        replay.add(world.step())
        if step in cuts:
            replay.end_episodes()
            world.end_episodes()
        slots = drawable_slots(replay)
        assert slots == sorted(world.drawable(config))
        if slots:
            assert_batch_matches(replay.gather(torch.tensor(slots)), world, config)


@pytest.mark.parametrize("device", DEVICES, ids=str)
@settings(max_examples=80, deadline=None)
@given(streams())
def test_every_transition_equals_the_reference(
    device: torch.device, stream: tuple[World, Settings, int]
):
    world, config, num_steps = stream
    replay = make_replay(config, world.spaces, device)
    assert replay.length == config.buffer_size // world.num_envs
    for step in range(num_steps):
        replay.add(world.step())
        slots = drawable_slots(replay)
        assert slots == sorted(world.drawable(config))
        if replay.ready and (step % 5 == 0 or step == num_steps - 1):
            batch = sampled(replay, 4)
            assert set(batch.slot_B.tolist()) <= set(slots)
            assert_batch_matches(batch, world, config)
            assert_batch_matches(replay.gather(torch.tensor(slots, device=device)), world, config)
            replay.update_priorities(batch, batch.reward_B.abs())
            for n_step in range(1, config.n_step.end + 1):
                replay.set_n_step(n_step)
                assert_batch_matches(sampled(replay, 4), world, config, n_step)


def test_the_property_test_overwrites_the_ring_several_times():
    world, config = World([[Plan(3, truncated=False)]], "stack"), make_settings(12, n_step=2)
    replay = make_replay(config, world.spaces)
    for _ in range(48):
        replay.add(world.step())
    assert replay.written.tolist() == [48 + 16]  # 16 episodes of 3 + 1 slots: 5 laps of 12
    assert drawable_slots(replay) == sorted(world.drawable(config))


def play(
    plan: Plan, num_steps: int, obs: str = "vector", **values: Any
) -> tuple[World, Settings, Replay]:
    world, config = World([[plan]], obs), make_settings(64, **values)
    replay = make_replay(config, world.spaces)
    for _ in range(num_steps):
        replay.add(world.step())
    return world, config, replay


def test_truncation_bootstraps_from_the_final_observation_but_termination_does_not():
    for truncated, discount in ((True, 0.25), (False, 0.0)):  # γ² = 0.5²
        world, _, replay = play(Plan(2, truncated), num_steps=6, n_step=3)
        batch = replay.gather(torch.tensor([0]))
        episode = world.episodes[0][0]
        assert batch.discount_B.tolist() == [discount]
        assert batch.reward_B.item() == episode.rewards[0] + 0.5 * episode.rewards[1]
        assert batch.next_obs[0].tolist() == episode.frames[2].tolist()


@pytest.mark.parametrize(("ends_return", "discount"), [(True, 0.0), (False, 0.125)])
def test_a_lost_life_ends_the_return_only_where_the_config_says_so(
    ends_return: bool, discount: float
):
    plan = Plan(20, truncated=False, lives_lost=frozenset({1}))
    _, _, replay = play(plan, num_steps=8, n_step=3, life_loss_ends_return=ends_return)
    assert replay.gather(torch.tensor([0])).discount_B.tolist() == [discount]  # 0 or γ³


def test_an_episodes_final_observation_is_never_drawn_and_never_acted_on():
    _, _, replay = play(Plan(1, truncated=True), num_steps=8)
    # Slots go step, final, step, final, ...: with n = 1 all steps are complete.
    assert drawable_slots(replay) == [0, 2, 4, 6, 8, 10, 12, 14]


def test_frames_of_before_the_episode_are_zero():
    _, _, replay = play(Plan(6, truncated=False), num_steps=12, obs="stack")
    # The second episode begins at slot 7, after 6 steps and a final observation.
    blank = (replay.observations(torch.tensor([7, 8, 10])) == 0).flatten(2).all(dim=2)
    assert blank.tolist() == [[True, True, True, False], [True, True, False, False], [False] * 4]


@pytest.mark.parametrize(("clip", "atari"), [(True, True), (True, False), (False, True)])
def test_rewards_are_clipped_to_their_sign_only_on_atari_and_when_asked(clip: bool, atari: bool):
    world, config = (
        World([[Plan(5, truncated=False)]], "vector"),
        make_settings(64, clip_reward=clip),
    )
    replay = make_replay(config, replace(world.spaces, atari=atari))
    step = replace(world.step(), reward_N=np.array([-7.5], np.float32))
    replay.add(step)
    assert replay.fields["reward"][0] == (-1.0 if clip and atari else -7.5)
    assert step.reward_N.tolist() == [-7.5]


def rows_of(step: Step, rows: slice) -> Step:
    """The part of a step that was of these environments."""
    columns: dict[str, Any] = {
        name: value[rows] for name, value in vars(step).items() if isinstance(value, np.ndarray)
    }
    if not (columns["terminated_N"] | columns["truncated_N"]).any():
        columns["final_obs"] = None
    return replace(step, **columns, rows=rows)


@pytest.mark.parametrize("obs", ["vector", "stack"])
def test_groups_of_environments_fill_the_same_replay_as_all_at_once(obs: str):
    plans = [[Plan(n, truncated=n % 2 == 0, lives_lost=frozenset({1}))] for n in (3, 4, 5)]
    world, config = World(plans, obs), make_settings(60, n_step=2)
    whole, parts = make_replay(config, world.spaces), make_replay(config, world.spaces)
    for _ in range(37):
        step = world.step()
        whole.add(step)
        # The second of two groups may be observed before the first one.
        for rows in (slice(1, 3), slice(0, 1)):
            parts.add(rows_of(step, rows))
    assert whole.written.tolist() == parts.written.tolist()
    assert drawable_slots(whole) == drawable_slots(parts) == sorted(world.drawable(config))
    assert_batch_matches(parts.gather(torch.tensor(drawable_slots(parts))), world, config)


def test_a_replay_is_not_ready_while_a_group_was_never_observed():
    world = World([[Plan(50, truncated=False)]] * 2, "vector")
    replay = make_replay(make_settings(64), world.spaces)
    for _ in range(9):
        replay.add(rows_of(world.step(), slice(1, 2)))
    assert not replay.ready
    assert replay.written.tolist() == [0, 9]


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_a_split_batch_gives_back_everything_in_order(shards: int):
    _, _, replay = play(Plan(5, truncated=False), num_steps=40)
    batch = sampled(replay, 7)
    assert batch.size == 7
    assert batch.weight is batch.weight_B
    parts = batch.split(shards)
    assert len(parts) == shards
    assert sum(part.size for part in parts) == 7
    for name, whole in tensors(batch).items():
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), whole), name


def test_uniform_draws_every_transition_exactly_as_often():
    _, _, replay = play(Plan(5, truncated=False), num_steps=40)
    slots = torch.tensor(drawable_slots(replay))
    assert (replay.priorities[slots] == 1.0).all()
    batch = sampled(replay, 3 * len(slots))
    assert batch.slot_B.bincount(minlength=64)[slots].tolist() == [3] * len(slots)
    assert (batch.weight_B == 1.0).all()
    replay.update_priorities(batch, torch.rand(len(batch.slot_B)))
    assert (replay.priorities[slots] == 1.0).all()


def test_draws_are_in_proportion_to_priority_to_the_power_alpha():
    _, _, replay = play(Plan(100, truncated=False), num_steps=5, priority_exponent=0.5)
    assert drawable_slots(replay) == [0, 1, 2, 3]
    prefer(replay, [0, 1, 2, 3], [each - 1e-3 for each in (0.0, 1.0, 4.0, 9.0)])
    # Weights 0, 1, 2, 3 of a total of 6: shares of 1200 draws are 0, 200, 400, 600.
    counts = sampled(replay, 1_200).slot_B.bincount(minlength=4)
    assert counts.tolist() == pytest.approx([0, 200, 400, 600], abs=2)


@pytest.mark.parametrize("error", [math.nan, math.inf])
@pytest.mark.parametrize("slots", [[1], [0, 1, 2, 3]])
def test_an_error_that_is_not_finite_leaves_a_replay_that_can_be_drawn_from(error, slots):
    """The loop finds out that the run diverged at the next report, and says so."""
    world, _, replay = play(Plan(100, truncated=False), num_steps=5, priority_exponent=0.5)
    prefer(replay, slots, [error] * len(slots))
    replay.add(world.step())
    drawn = sampled(replay, 100)
    assert set(drawn.slot_B.tolist()) == set(drawable_slots(replay))
    assert drawn.weight_B.isfinite().all()


def test_new_transitions_have_the_largest_priority_so_far():
    world, _, replay = play(Plan(100, truncated=False), num_steps=5, priority_exponent=0.5)
    assert replay.priorities[torch.tensor([3])].tolist() == [1.0]
    prefer(replay, [0, 1], [16.0 - 1e-3, 0.25 - 1e-3])
    prefer(replay, [0], [1.0 - 1e-3])
    replay.add(world.step())
    expected = [1.0, 0.5, 1.0, 1.0, 4.0]  # √1, √(1/4), as before, as before, √16
    assert replay.priorities[torch.arange(5)].tolist() == pytest.approx(expected)


def test_importance_weights_are_inverse_to_the_share_and_at_most_one(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(priorities, "IMPORTANCE_EXPONENT", 0.5)
    _, _, replay = play(Plan(100, truncated=False), num_steps=5, priority_exponent=1.0)
    replay.priorities.set(torch.arange(3), torch.tensor([1.0, 4.0, 16.0]))
    # (1/p)^½ over its largest: p^-½ = 1, 1/2, 1/4.
    assert replay.gather(torch.tensor([0, 1, 2])).weight_B.tolist() == [1.0, 0.5, 0.25]
    assert replay.gather(torch.tensor([1, 2])).weight_B.tolist() == [1.0, 0.5]  # (1/2, 1/4) * 2


def test_the_seed_decides_the_draws():
    draws = [
        sampled(play(Plan(5, truncated=False), num_steps=40, seed=seed)[2], 16).slot_B.tolist()
        for seed in (1, 1, 2)
    ]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize("n_step", [1, 3])
def test_a_replay_is_ready_once_every_environment_can_be_drawn_from(n_step: int):
    plans = [[Plan(1, truncated=False)], [Plan(50, truncated=False)]]
    world, config = World(plans, "vector"), make_settings(64, n_step=n_step)
    replay = make_replay(config, world.spaces)
    while not replay.ready:
        assert replay.written.max() < 10
        replay.add(world.step())
    assert {slot // replay.length for slot in drawable_slots(replay)} == {0, 1}


def test_a_capacity_too_small_for_the_window_is_refused_with_the_least_that_works():
    # 3 steps, a stack of 4 and 2 more, for each of 8 environments: 72.
    with pytest.raises(UserError, match=r"--buffer-size 71: must be at least 72 .*3-step"):
        Replay(make_settings(71, n_step=3), ATARI, CPU)
    Replay(make_settings(72, n_step=3), ATARI, CPU)


def tensors_of(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for item in value.values() for tensor in tensors_of(item)]
    return tensors_of(vars(value)) if hasattr(value, "__dict__") else []


def pretend_free(monkeypatch: pytest.MonkeyPatch, num_bytes: float) -> None:
    memory = SimpleNamespace(available=int(num_bytes), total=int(num_bytes))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)


@pytest.mark.skipif(psutil.virtual_memory().total < 9e9, reason="7 GB cannot be reserved here")
def test_a_million_atari_transitions_cost_7_gb_and_only_as_they_are_written(
    monkeypatch: pytest.MonkeyPatch,
):
    pretend_free(monkeypatch, 100e9)
    process = psutil.Process()
    before = process.memory_info().rss
    replay = make_replay(make_settings(1_000_000), ATARI)
    num_bytes = sum(tensor.nbytes for tensor in tensors_of(replay))
    # 84 * 84 + 20 bytes a transition, and a little for block sums.
    assert 7.076e9 <= num_bytes <= 7.2e9
    assert process.memory_info().rss - before < 200e6


def test_the_memory_error_names_a_size_that_fits(monkeypatch: pytest.MonkeyPatch):
    pretend_free(monkeypatch, 1e9)
    # 300,000 * 7,076 = 2.1 GB; nine tenths of 1 GB hold 0.9e9 / 7,076 = 127,190 transitions.
    with pytest.raises(UserError) as error:
        make_replay(make_settings(300_000), ATARI)
    assert str(error.value) == (
        "a replay of 300,000 transitions needs 2.1 GB and cpu has 1.0 GB free; "
        "--buffer-size 127000 would fit"
    )
    make_replay(make_settings(127_000), ATARI)


@settings(max_examples=40, deadline=None)
@given(st.integers(10_000_000, 10**12), st.integers(1_000, 2_000_000))
def test_the_size_that_the_memory_error_names_fits(free: int, capacity: int):
    memory = SimpleNamespace(available=free)
    with mock.patch.object(psutil, "virtual_memory", return_value=memory):
        try:
            replay_module.require_memory(capacity * 7_076, capacity, CPU)
        except UserError as error:
            named = re.search(r"--buffer-size (\d+) would fit", str(error))
            assert named
            assert 0 < int(named[1]) < capacity
            replay_module.require_memory(int(named[1]) * 7_076, int(named[1]), CPU)


def live_slots(replay: Replay) -> Tensor:
    positions = [
        (env, position)
        for env in range(replay.num_envs)
        for position in range(max(0, replay.written[env] - replay.length), replay.written[env])
    ]
    envs, position = np.array(positions).T
    return replay.slots(envs, position)


def assert_same(a: Replay, b: Replay) -> None:
    slots = live_slots(a)
    assert a.written.tolist() == b.written.tolist()
    assert a.age.tolist() == b.age.tolist()
    assert torch.equal(a.frames[slots], b.frames[slots])
    assert a.fields.keys() == b.fields.keys()
    assert all(torch.equal(a.fields[name], b.fields[name]) for name in a.fields)
    assert torch.equal(a.max_priority, b.max_priority)
    everywhere = torch.arange(a.length * a.num_envs, device=a.device)
    assert torch.equal(a.priorities[everywhere], b.priorities[everywhere])
    if a.ready:
        for row_a, row_b in zip(*(tensors(sampled(r, 6)).values() for r in (a, b)), strict=True):
            assert torch.equal(row_a, row_b)


@pytest.mark.parametrize("device", DEVICES, ids=str)
@settings(max_examples=40, deadline=None)
@given(
    stream=streams(),
    cycles=st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=1, max_size=5),
    chunk_frames=st.sampled_from([1, 4, 8192]),
)
def test_a_replay_restored_from_chunks_goes_on_as_if_never_saved(
    device: torch.device,
    stream: tuple[World, Settings, int],
    cycles: list[tuple[int, bool]],
    chunk_frames: int,
):
    world, config, first_steps = stream
    replay, disk = make_replay(config, world.spaces, device), DictStore()
    store, saved = ReplayStore(replay), replay.written.copy()
    for num_steps, go_on_with_restored in [(first_steps, True), *cycles]:
        for _ in range(num_steps):
            replay.add(world.step())
        appended = disk.frames_appended
        with mock.patch.object(replay_store, "CHUNK_FRAMES", chunk_frames):
            state = copy.deepcopy(store.state_dict(disk))
        # Only what is new since the last save is written, and of that only what is still there.
        new = np.minimum(replay.written - saved, replay.length).sum()
        assert disk.frames_appended - appended == new
        saved = replay.written.copy()
        disk.forget(state)
        other = make_replay(replace(config, seed=77), world.spaces, device)
        other_store = ReplayStore(other)
        other_store.load_state_dict(copy.deepcopy(state), disk)
        assert_same(replay, other)
        for _ in range(3):
            step = world.step()
            replay.add(step)
            other.add(step)
        if replay.ready:
            for each in (replay, other):
                batch = sampled(each, 3)
                each.update_priorities(batch, batch.reward_B.abs())
        assert_same(replay, other)
        if go_on_with_restored:
            replay, store = other, other_store


def whole_slots(world: World, config: Settings, lost: list[set[int]]) -> list[int]:
    """The drawable slots whose transitions need no frame of the lost positions of each env."""
    length = config.buffer_size // world.num_envs
    slots = []
    for slot in world.drawable(config):
        env, at = divmod(slot, length)
        newest = len(world.written(env)) - 1
        position = newest - (newest - at) % length
        needed = range(position - world.spaces.stack + 1, position + config.n_step.end + 1)
        if lost[env].isdisjoint(needed):
            slots.append(slot)
    return sorted(slots)


@settings(max_examples=80, deadline=None)
@example(
    stream=(World([[Plan(1, truncated=False)]], "stack"), make_settings(buffer_size=7), 1),
    chunk_frames=1,
    damaged={0},
    later_steps=[2],
)
@given(
    stream=streams(),
    chunk_frames=st.sampled_from([1, 4]),
    damaged=st.sets(st.integers(0, 12), max_size=4),
    later_steps=st.lists(st.integers(0, 12), min_size=1, max_size=3),
)
def test_after_the_loss_of_chunks_only_whole_transitions_are_drawn(
    stream: tuple[World, Settings, int],
    chunk_frames: int,
    damaged: set[int],
    later_steps: list[int],
):
    world, config, first_steps = stream
    replay, disk = make_replay(config, world.spaces), DictStore()
    for _ in range(first_steps):
        replay.add(world.step())
    with mock.patch.object(replay_store, "CHUNK_FRAMES", chunk_frames):
        state = copy.deepcopy(ReplayStore(replay).state_dict(disk))
    lost: list[set[int]] = [set() for _ in range(world.num_envs)]
    for number, chunk in enumerate(state["chunks"]):
        if number in damaged:
            del disk.chunks[chunk["chunk"]["name"]]
            for positions, first, last in zip(lost, chunk["first"], chunk["last"], strict=True):
                positions.update(range(first, last))
    for steps in later_steps:
        replay = make_replay(config, world.spaces)
        replay.frames.fill_(77)  # What a lost frame must not be taken for.
        replay.frames[-1] = 0
        store = ReplayStore(replay)
        store.load_state_dict(state, disk)
        for _ in range(steps):
            replay.add(world.step())
        slots = drawable_slots(replay)
        assert slots == whole_slots(world, config, lost)
        assert not replay.ready or slots
        if slots:
            assert_batch_matches(replay.gather(torch.tensor(slots)), world, config)
        state = copy.deepcopy(store.state_dict(disk))


def test_a_chunk_of_other_frames_is_as_good_as_lost(capsys: pytest.CaptureFixture[str]):
    world, config, replay = play(Plan(5, truncated=False), num_steps=20)
    disk = DictStore()
    state = copy.deepcopy(ReplayStore(replay).state_dict(disk))
    for name, chunk in disk.chunks.items():
        disk.chunks[name] = {"frames": chunk["frames"][:-1]}
    other = make_replay(config, world.spaces)
    ReplayStore(other).load_state_dict(state, disk)
    assert drawable_slots(other) == []
    assert not other.ready
    assert "the replay goes on with 0 transitions" in capsys.readouterr().err


def test_chunks_are_dropped_once_every_frame_of_theirs_is_overwritten():
    world = World([[Plan(100, truncated=False)], [Plan(100, truncated=False)]], "vector")
    replay, disk = make_replay(make_settings(20), world.spaces), DictStore()
    store, kept = ReplayStore(replay), []
    for _ in range(6):
        for _ in range(4):
            replay.add(world.step())
        kept.append([chunk["last"][0] for chunk in store.state_dict(disk)["chunks"]])
    # Rings of 10: at 16 the positions from 6 on live, so the chunk [0, 4) goes; at 24 those from
    # 14 on, so the chunk [8, 12) goes.
    assert kept == [[4], [4, 8], [4, 8, 12], [8, 12, 16], [12, 16, 20], [16, 20, 24]]


def test_a_save_with_nothing_new_writes_no_chunk():
    _, _, replay = play(Plan(5, truncated=False), num_steps=8)
    disk, store = DictStore(), ReplayStore(replay)
    first = store.state_dict(disk)["chunks"]
    assert store.state_dict(disk)["chunks"] == first
    assert len(disk.chunks) == 1


def test_a_failed_save_loses_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(replay_store, "CHUNK_FRAMES", 4)
    world, config, replay = play(Plan(5, truncated=False), num_steps=20)
    store, full = ReplayStore(replay), DictStore()
    full.fails_after = 2
    with pytest.raises(OSError, match="No space left"):
        store.state_dict(full)
    disk = DictStore()
    state = copy.deepcopy(store.state_dict(disk))
    other = make_replay(config, world.spaces)
    ReplayStore(other).load_state_dict(state, disk)
    assert_same(replay, other)
