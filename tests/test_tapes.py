"""A tape is a life, bit for bit: replay, resume and render from a seed and actions."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import envs
from envs.spec import EnvSpec
from envs.tape_recorder import join_states, rows_of_state
from envs.tapes import _replayed, tape_seed
from envs.vector import TapedVectorEnv

Item = tuple[np.ndarray, float, bool, bool]


def short(name: str, frames: int) -> EnvSpec:
    return dataclasses.replace(envs.spec(name), max_episode_frames=frames)


def play(env: TapedVectorEnv, steps: int, seed: int = 0) -> list[tuple[Any, ...]]:
    """Plays random actions; returns what every step gave, and the action that led to it."""
    env.action_space.seed(seed)
    return [(*env.step(env.action_space.sample()),) for _ in range(steps)]


def lives_of(first_obs: np.ndarray, steps: list[tuple[Any, ...]]) -> list[list[list[Item]]]:
    """Returns, for each environment, for each of its tapes, the items that `replay` must yield."""
    lives = []
    for i in range(len(first_obs)):
        tapes: list[list[Item]] = [[(first_obs[i], 0.0, False, False)]]
        for obs, reward, terminated, truncated, info in steps:
            ended = bool(terminated[i] or truncated[i])
            reached = info["final_obs"][i] if ended else obs[i]
            tapes[-1].append((reached, float(reward[i]), bool(terminated[i]), bool(truncated[i])))
            if ended:
                first: Item = (obs[i], 0.0, False, False)
                tapes.append([first]) if "_tape" in info and info["_tape"][i] else tapes[-1].append(
                    first
                )
        lives.append(tapes)
    return lives


def assert_replays(tape: envs.Tape, life: list[Item]) -> None:
    ended_last = len(life) > 1 and (life[-2][2] or life[-2][3])
    expected = life[:-1] if ended_last else life
    replayed = list(envs.replay(tape))
    assert len(replayed) == len(expected)
    for step, (now, then) in enumerate(zip(replayed, expected, strict=True)):
        assert now[1:] == then[1:], f"item {step}"
        assert now[0].dtype == then[0].dtype
        np.testing.assert_array_equal(now[0], then[0], err_msg=f"item {step}")


@pytest.mark.parametrize(
    ("name", "frames", "steps", "terminations"),
    [
        ("Pong", 400, 210, 0),
        ("Breakout", 108_000, 400, 2),
        ("Seaquest", 900, 460, 0),
        ("SpaceInvaders", 600, 320, 0),
        ("BreakoutNoFrameskip-v4", 108_000, 250, 1),
    ],
)
def test_tapes_of_a_pool_of_atari_games_replay_bit_exactly_in_a_pool_of_one(
    name: str, frames: int, steps: int, terminations: int
) -> None:
    env = envs.make(short(name, frames), num_envs=2, seed=7, num_threads=1)
    first_obs, _ = env.reset()
    played = play(env, steps)
    ends = sum(int((terminated | truncated).sum()) for _, _, terminated, truncated, _ in played)
    assert ends >= 2
    assert sum(int(terminated.sum()) for _, _, terminated, _, _ in played) >= terminations
    assert any(reward.any() for _, reward, *_ in played)
    for tape, (life,) in zip(env.tapes(), lives_of(first_obs, played), strict=True):
        assert tape.actions.dtype == np.uint8 and len(tape.actions) == steps
        assert_replays(tape, life)
    env.close()


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("CartPole-v1", 200),
        ("LunarLander-v3", 400),
        ("Pendulum-v1", 450),
        ("FrozenLake-v1", 100),
        ("MinAtar/Breakout-v1", 300),
        ("toy/Catch-v0", 40),
        ("toy/Identity-v0", 40),
        ("toy/Truncated-v0", 40),
        ("toy/Target-v0", 40),
        ("toy/Pair-v0", 40),
        ("toy/Recall-v0", 60),
        ("toy/CartPolePositions-v0", 200),
    ],
)
def test_tapes_of_gymnasium_environments_replay_bit_exactly(name: str, steps: int) -> None:
    if name.startswith("LunarLander"):
        pytest.importorskip("Box2D")
    if name.startswith("MinAtar"):
        pytest.importorskip("minatar")
    env = envs.make(name, num_envs=3, seed=3, tape_steps=steps // 3)
    first_obs, _ = env.reset()
    played = play(env, steps)
    closed: list[list[envs.Tape]] = [[], [], []]
    for *_, info in played:
        for i in np.flatnonzero(info.get("_tape", [])):
            closed[i].append(info["tape"][i])
    assert sum(int(info["_episode"].sum()) for *_, info in played if "_episode" in info) >= 3
    assert any(closed), "no tape was ever closed"
    for i, lives in enumerate(lives_of(first_obs, played)):
        for tape, life in zip([*closed[i], env.tapes()[i]], lives, strict=True):
            assert_replays(tape, life)


def test_an_episodes_end_begins_a_new_tape_once_tape_steps_are_reached() -> None:
    env = envs.make(short("Breakout", 160), num_envs=2, seed=5, tape_steps=60, num_threads=1)
    first_obs, _ = env.reset()
    first = env.tapes()
    played = play(env, 100)
    closings = {
        step: info["_tape"].tolist() for step, (*_, info) in enumerate(played) if "_tape" in info
    }
    # Episodes end every 40 steps: the first is too short to close the tape, the second is not.
    assert closings == {79: [True, True]}
    closed = played[79][4]["tape"].tolist()
    assert [len(tape.actions) for tape in closed] == [80, 80]
    assert [tape.seed for tape in closed] == [tape.seed for tape in first]
    assert [len(tape.actions) for tape in env.tapes()] == [20, 20]
    assert [tape.seed for tape in env.tapes()] == [tape_seed(5, 0, 1), tape_seed(5, 1, 1)]
    for i, lives in enumerate(lives_of(first_obs, played)):
        for tape, life in zip([closed[i], env.tapes()[i]], lives, strict=True):
            assert_replays(tape, life)
    env.close()


def test_a_new_tape_leaves_the_other_environments_alone() -> None:
    # Breakout ends by itself, at different times in the two environments.
    plain = envs.make("Breakout", num_envs=2, seed=2, num_threads=1)
    taped = envs.make("Breakout", num_envs=2, seed=2, tape_steps=1, num_threads=1)
    plain.reset(), taped.reset()
    for then, now in zip(play(plain, 250), play(taped, 250), strict=True):
        np.testing.assert_array_equal(now[1], then[1])
        if "_tape" in now[4]:
            (other,) = np.flatnonzero(~now[4]["_tape"])
            np.testing.assert_array_equal(now[0][other], then[0][other])
            break
        np.testing.assert_array_equal(now[0], then[0])
    else:
        pytest.fail("no episode ended")
    plain.close(), taped.close()


@pytest.mark.parametrize(
    ("name", "frames", "tape_steps", "steps"),
    [
        pytest.param("Breakout", 108_000, 100, 260, marks=pytest.mark.full),
        ("PongNoFrameskip-v4", 240, 16_384, 100),
        ("CartPole-v1", 0, 40, 130),
        ("LunarLander-v3", 0, 100, 333),
        ("Pendulum-v1", 0, 100, 270),
        ("toy/Catch-v0", 0, 6, 6),
        ("Breakout", 108_000, 100, 0),
    ],
)
def test_a_loaded_state_goes_on_as_the_saved_one(
    name: str, frames: int, tape_steps: int, steps: int
) -> None:
    if name.startswith("LunarLander"):
        pytest.importorskip("Box2D")
    spec = short(name, frames)
    env = envs.make(spec, num_envs=3, seed=11, tape_steps=tape_steps, num_threads=1)
    obs, _ = env.reset()
    if played := play(env, steps):
        obs = played[-1][0]
    state = env.state_dict()
    if steps and name in ("Breakout", "CartPole-v1", "LunarLander-v3"):
        assert len(set(state["tape_lengths"])) == 3, "the tapes were to have different lengths"
        assert all(state["episode_length"]), "all were to be in mid-episode"
    actions = state.pop("actions")
    state = json.loads(json.dumps(state)) | {"actions": actions.copy()}

    resumed = envs.make(spec, num_envs=3, seed=0, num_threads=1)
    resumed.reset()
    play(resumed, 3)
    loaded, info = resumed.load_state_dict(state)
    np.testing.assert_array_equal(loaded, obs)
    assert not info["life_lost"].any()
    again = resumed.state_dict()
    np.testing.assert_array_equal(again.pop("actions"), state.pop("actions"))
    assert again == state
    for now, then in zip(play(resumed, 120, seed=1), play(env, 120, seed=1), strict=True):
        for a, b in zip(now[:4], then[:4], strict=True):
            np.testing.assert_array_equal(a, b)
        assert now[4].keys() == then[4].keys()
        np.testing.assert_array_equal(now[4]["life_lost"], then[4]["life_lost"])
        if "episode" in now[4]:
            np.testing.assert_array_equal(now[4]["episode"]["r"], then[4]["episode"]["r"])
            np.testing.assert_array_equal(now[4]["episode"]["l"], then[4]["episode"]["l"])
    for now, then in zip(resumed.tapes(), env.tapes(), strict=True):
        assert now.seed == then.seed
        np.testing.assert_array_equal(now.actions, then.actions)
    env.close(), resumed.close()


def test_a_state_is_refused_where_it_does_not_belong() -> None:
    env = envs.make("CartPole-v1", num_envs=2)
    env.reset()
    play(env, 30)
    state = env.state_dict()
    with pytest.raises(envs.UserError, match="2 tapes were saved, but num_envs is 3"):
        envs.make("CartPole-v1", num_envs=3).load_state_dict(state)
    with pytest.raises(envs.UserError, match="env_id is 'CartPole-v1' there"):
        envs.make("Acrobot-v1", num_envs=2).load_state_dict(state)
    with pytest.raises(envs.UserError, match="not reproducible here: .* episode_return"):
        state["actions"] = 1 - state["actions"]
        envs.make("CartPole-v1", num_envs=2).load_state_dict(state)
    with pytest.raises(envs.UserError, match="there is no action 9, allowed are 0 to 1"):
        state["actions"][5] = 9
        envs.make("CartPole-v1", num_envs=2).load_state_dict(state)


def test_seeds_differ_by_run_environment_and_tape() -> None:
    seeds = {tape_seed(run, env, tape) for run in range(9) for env in range(9) for tape in range(9)}
    assert len(seeds) == 9**3
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert tape_seed(2**32, 0, 0) != tape_seed(0, 1, 0)


def test_reset_goes_on_with_the_next_tapes_or_restarts_the_run() -> None:
    env = envs.make("toy/Catch-v0", num_envs=2, seed=4)
    seeds = []
    for seed in (None, None, 4, 5):
        env.reset(seed=seed)
        seeds.append([tape.seed for tape in env.tapes()])
    assert seeds[0] == [tape_seed(4, 0, 0), tape_seed(4, 1, 0)]
    assert seeds[1] == [tape_seed(4, 0, 1), tape_seed(4, 1, 1)]
    assert seeds[2] == seeds[0]
    assert seeds[3] == [tape_seed(5, 0, 0), tape_seed(5, 1, 0)]


SHARED = [("CartPole-v1", 60), ("toy/Recall-v0", 40), ("SpaceInvaders", 60)]


def shares_of(name: str, sizes: list[int]) -> list[TapedVectorEnv]:
    """The environments of a run, shared out over several vector environments."""
    firsts = np.cumsum([0, *sizes[:-1]]).tolist()
    return [
        envs.make(short(name, 30), n, seed=6, tape_steps=15, num_threads=1, first_env=first)
        for n, first in zip(sizes, firsts, strict=True)
    ]


def play_shares(shares: list[TapedVectorEnv], steps: int, seed: int) -> list[list[list[Any]]]:
    """What each environment of the run saw, was paid and came to an end in, step by step."""
    rng, total = np.random.default_rng(seed), sum(env.num_envs for env in shares)
    seen: list[list[list[Any]]] = []
    for _ in range(steps):
        actions, first = rng.integers(2, size=total), 0
        seen.append([])
        for env in shares:
            obs, *rest, _ = env.step(actions[first : first + env.num_envs])
            seen[-1] += [
                [obs[row].tobytes(), *(column[row].item() for column in rest)]
                for row in range(env.num_envs)
            ]
            first += env.num_envs
    return seen


@pytest.mark.full
@pytest.mark.parametrize(("name", "steps"), SHARED)
def test_several_vector_environments_lead_the_lives_that_one_would(name: str, steps: int) -> None:
    (whole,), parts = shares_of(name, [3]), shares_of(name, [1, 2])
    first = [env.reset()[0] for env in parts]
    np.testing.assert_array_equal(np.concatenate(first), whole.reset()[0])
    expected = play_shares([whole], steps, seed=0)
    assert any(step[row][2] or step[row][3] for step in expected for row in range(3))
    assert play_shares(parts, steps, seed=0) == expected
    tapes = [tape for env in parts for tape in env.tapes()]
    for tape, same in zip(tapes, whole.tapes(), strict=True):
        assert tape.seed == same.seed
        np.testing.assert_array_equal(tape.actions, same.actions)
    for env in (whole, *parts):
        env.close()


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "steps", "sizes"),
    [(*SHARED[0], [3]), (*SHARED[0], [2, 1]), (*SHARED[1], [1, 1, 1]), (*SHARED[2], [2, 1])],
)
def test_a_run_saved_by_some_vector_environments_goes_on_in_others(
    name: str, steps: int, sizes: list[int]
) -> None:
    saved, restored = shares_of(name, [1, 2]), shares_of(name, sizes)
    for env in (*saved, *restored):
        env.reset()
    # The tapes are of different lengths, and the restored environments are elsewhere.
    play_shares(saved, steps, seed=0)
    play_shares(restored, 7, seed=1)
    state = join_states([env.state_dict() for env in saved])
    begin = 0
    for env in restored:
        rows = slice(begin, begin := begin + env.num_envs)
        env.load_state_dict(rows_of_state(state, rows))
    assert play_shares(restored, steps, seed=2) == play_shares(saved, steps, seed=2)
    for env in (*saved, *restored):
        env.close()


def test_states_are_joined_and_cut_by_environment() -> None:
    states = []
    for env in shares_of("toy/Recall-v0", [1, 2]):
        env.reset()
        play(env, 23)
        states.append(env.state_dict())
    joined = join_states(states)
    assert joined["tape_seeds"] == states[0]["tape_seeds"] + states[1]["tape_seeds"]
    assert len(set(joined["tape_lengths"])) > 1, "all tapes are equally long"
    for state, rows in zip(states, (slice(0, 1), slice(1, 3)), strict=True):
        cut = rows_of_state(joined, rows)
        assert cut.keys() == state.keys()
        np.testing.assert_array_equal(cut.pop("actions"), state.pop("actions"))
        assert cut == state


def test_long_tapes_outgrow_their_first_array() -> None:
    env = envs.make("toy/Truncated-v0", num_envs=2, tape_steps=10_000)
    env.reset()
    rng = np.random.default_rng(0)
    sent = rng.integers(0, 2, (2_500, 2))
    for actions in sent:
        env.step(actions)
    for i, tape in enumerate(env.tapes()):
        np.testing.assert_array_equal(tape.actions, sent[:, i])


def test_a_tape_is_not_replayed_by_another_emulator() -> None:
    spec = dataclasses.replace(envs.spec("Pong"), ale_py_version="0.0.1")
    tape = envs.Tape(spec, seed=0, actions=np.zeros(3, np.uint8))
    with pytest.raises(envs.UserError, match="ale_py_version is .* but '0.0.1' in the spec"):
        next(iter(envs.replay(tape)))
    with pytest.raises(envs.UserError, match="ale_py_version"):
        next(iter(envs.render(tape)))


@pytest.mark.parametrize("name", ["Breakout", "SpaceInvadersNoFrameskip-v4", "CartPole-v1"])
def test_render_shows_the_reset_and_what_each_step_led_to(name: str) -> None:
    if name.startswith("CartPole"):
        pytest.importorskip("pygame")
    env = envs.make(short(name, 120), num_envs=1, num_threads=1)
    env.reset()
    play(env, 100)
    (tape,) = env.tapes()
    frames = list(envs.render(tape))
    assert len(frames) == 100 + 1
    shape = (210, 160, 3) if tape.spec.game else (400, 600, 3)
    assert {frame.shape for frame in frames} == {shape}
    assert {frame.dtype for frame in frames} == {np.dtype(np.uint8)}
    assert len({frame.tobytes() for frame in frames}) > 5
    assert any((frame[..., 0] != frame[..., 2]).any() for frame in frames), "no colors"
    env.close()


@pytest.mark.parametrize("name", ["Breakout", "SpaceInvaders", "LunarLander-v3", "toy/Catch-v0"])
def test_what_is_rendered_is_the_same_life(name: str) -> None:
    if name.startswith("LunarLander"):
        pytest.importorskip("Box2D")
        pytest.importorskip("pygame")
    env = envs.make(name, num_envs=1, num_threads=1)
    env.reset()
    play(env, 250)
    (tape,) = env.tapes()
    seen, drawn = (list(_replayed(tape, rgb=rgb)) for rgb in (False, True))
    assert [item[1:] for item in drawn] == [item[1:] for item in seen]
    assert any(item[1] for item in seen)
    env.close()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have a display")
def test_pictures_are_drawn_in_silence_where_there_is_no_display() -> None:
    pytest.importorskip("pygame")
    code = (
        "import envs\n"
        "env = envs.make('CartPole-v1', 1)\n"
        "env.reset()\n"
        "env.step(env.action_space.sample())\n"
        "print(len(list(envs.render(env.tapes()[0]))))\n"
    )
    blind = {"XDG_RUNTIME_DIR", "DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"}
    environment = {name: value for name, value in os.environ.items() if name not in blind}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("2\n", "")
