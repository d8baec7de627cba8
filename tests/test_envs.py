"""Names, specs and what a step of the vector environment reports."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import av
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

import envs
from envs import video
from envs.action_names import action_meanings, action_name, keys_to_action
from envs.atari import atari_vector_env
from envs.scores import human_normalized, reference_scores


def short(name: str, frames: int) -> envs.EnvSpec:
    return dataclasses.replace(envs.spec(name), max_episode_frames=frames)


@pytest.mark.parametrize(
    ("name", "env_id", "game"),
    [
        ("Pong", "ALE/Pong-v5", "pong"),
        ("pong", "ALE/Pong-v5", "pong"),
        ("ALE/Pong-v5", "ALE/Pong-v5", "pong"),
        ("SpaceInvaders", "ALE/SpaceInvaders-v5", "space_invaders"),
        ("space_invaders", "ALE/SpaceInvaders-v5", "space_invaders"),
        ("TicTacToe3D", "ALE/TicTacToe3D-v5", "tic_tac_toe_3d"),
    ],
)
def test_a_games_name_means_the_modern_protocol(name: str, env_id: str, game: str) -> None:
    spec = envs.spec(name)
    assert (spec.env_id, spec.game, spec.family) == (env_id, game, "atari")
    assert (spec.repeat_action_probability, spec.frameskip, spec.noop_max) == (0.25, 4, 0)
    assert (spec.fire_reset, spec.full_action_space, spec.frame_stack) == (False, False, 4)
    assert (spec.screen_size, spec.grayscale, spec.max_episode_frames) == (84, True, 108_000)
    assert spec.protocol == f"{env_id}, sticky 0.25, frameskip 4"


def test_no_frameskip_v4_means_the_classic_protocol() -> None:
    spec = envs.spec("MsPacmanNoFrameskip-v4")
    assert (spec.env_id, spec.game) == ("MsPacmanNoFrameskip-v4", "ms_pacman")
    assert (spec.repeat_action_probability, spec.frameskip) == (0.0, 4)
    assert (spec.noop_max, spec.fire_reset) == (30, True)
    assert spec.protocol == "MsPacmanNoFrameskip-v4, sticky 0, frameskip 4"


def test_other_names_are_gymnasium_ids() -> None:
    spec = envs.spec("CartPole-v1")
    assert (spec.family, spec.game, spec.protocol) == ("gymnasium", None, "CartPole-v1")
    assert spec.gymnasium_version == gymnasium.__version__ and spec.ale_py_version == ""
    assert envs.spec("gymnasium.envs.classic_control:CartPole-v1").family == "gymnasium"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Pnog", "unknown environment 'Pnog'.*did you mean 'Pong'"),
        ("breakuot", "did you mean 'Breakout'"),
        ("ALE/Pogn-v5", "did you mean 'ALE/Pong-v5'"),
        ("CartPole", "did you mean 'CartPole-v1'"),
        ("LunarLander-v2", "did you mean 'LunarLander-v3'"),
        ("PongNoFrameskip-v5", "did you mean 'PongNoFrameskip-v4'"),
        ("Pong-v4", "use 'Pong' .sticky 0.25. or 'PongNoFrameskip-v4'"),
        ("no_such_module:Env-v0", "cannot be imported: No module named 'no_such_module'"),
        ("qqqqqqqqqqqq", "unknown environment 'qqqqqqqqqqqq'.*Gymnasium$"),
        ("", "unknown environment ''"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(envs.UserError, match=message) as caught:
        envs.make(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["Breakout", "BreakoutNoFrameskip-v4", "CartPole-v1"])
def test_a_spec_survives_json(name: str) -> None:
    spec = envs.spec(name)
    assert envs.EnvSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    whole_number = spec.to_json() | {"repeat_action_probability": 0}
    assert envs.EnvSpec.from_json(whole_number).repeat_action_probability == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"color": 1}, "unknown field 'color'"),
        ({"frameskip": "4"}, "frameskip is '4', but must be of type int"),
        ({"noop_max": True}, "noop_max is True, but must be of type int"),
        ({"frameskip": 0}, "frameskip is 0, at least 1 is allowed"),
        ({"repeat_action_probability": 1.5}, "repeat_action_probability is 1.5"),
        ({"family": "procgen"}, "family is 'procgen', allowed are 'atari' and 'gymnasium'"),
        ({"family": "gymnasium"}, "repeat_action_probability is 0.25, but .* not an Atari game"),
    ],
)
def test_a_damaged_spec_is_refused_with_its_field(change: dict, message: str) -> None:
    with pytest.raises(envs.UserError, match=message):
        envs.EnvSpec.from_json(envs.spec("Pong").to_json() | change)


def test_a_spec_with_a_missing_field_is_refused() -> None:
    fields = envs.spec("Pong").to_json()
    del fields["rom_md5"]
    with pytest.raises(envs.UserError, match="'rom_md5' is missing"):
        envs.EnvSpec.from_json(fields)


@pytest.mark.parametrize(
    ("name", "field"),
    [("Pong", "ale_py_version"), ("Pong", "rom_md5"), ("CartPole-v1", "gymnasium_version")],
)
def test_a_machine_that_differs_is_refused_with_the_field(name: str, field: str) -> None:
    spec = envs.spec(name)
    spec.check_reproducible()
    other = dataclasses.replace(spec, **{field: "other"})
    assert spec.differing_fields(other) == [field]
    with pytest.raises(envs.UserError, match=f"{field} is '.+' on this machine, but 'other'"):
        other.check_reproducible()
    with pytest.raises(envs.UserError, match=field):
        envs.make(other)


def test_a_spec_of_a_game_that_is_not_there_is_refused() -> None:
    with pytest.raises(envs.UserError, match="unknown environment 'ALE/Pogn-v5'"):
        envs.make(dataclasses.replace(envs.spec("Pong"), env_id="ALE/Pogn-v5"))


def test_spaces_and_metadata_are_gymnasiums() -> None:
    env = envs.make("Pong", num_envs=2, num_threads=1)
    assert env.single_observation_space == spaces.Box(0, 255, (4, 84, 84), np.uint8)
    assert env.single_action_space == spaces.Discrete(6)
    assert env.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    obs, info = env.reset()
    assert env.observation_space.contains(obs)
    assert info["life_lost"].tolist() == [False, False]
    # A reset's stack is black except for its newest frame.
    assert not obs[:, :3].any() and obs[:, 3].any()
    obs, reward, terminated, truncated, info = env.step(np.zeros(2, np.int32))
    assert (obs.dtype, reward.dtype) == (np.uint8, np.float32)
    assert terminated.dtype == truncated.dtype == info["life_lost"].dtype == bool
    assert info.keys() == {"life_lost"}
    env.close()


@pytest.mark.parametrize(
    ("name", "space"),
    [
        ("FrozenLake-v1", spaces.Box(0, 1, (16,), np.float32)),
        ("Blackjack-v1", spaces.Box(0, 1, (45,), np.float32)),
        ("toy/Catch-v0", spaces.Box(0, 255, (1, 42, 42), np.uint8)),
    ],
)
def test_observations_are_arrays_fit_for_a_network(name: str, space: spaces.Box) -> None:
    env = envs.make(name, num_envs=2)
    assert env.single_observation_space == space
    obs, _ = env.reset()
    assert env.observation_space.contains(obs)


class _Screen(gymnasium.Env):
    """An image with channels last, as Gymnasium's own have it, of one random step."""

    def __init__(self, dtype: type = np.uint8) -> None:
        self.observation_space = spaces.Box(0, 255 if dtype == np.uint8 else 1, (9, 8, 3), dtype)
        self.action_space = spaces.Discrete(2, start=3)

    def _screen(self) -> np.ndarray:
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        return self.observation_space.sample()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._screen(), {"text": "ignored"}

    def step(self, action):
        return self._screen(), float(action), True, False, {}


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_])
def test_images_with_channels_last_are_turned(dtype: type) -> None:
    name = f"test/Screen-{np.dtype(dtype).name}-v0"
    gymnasium.register(name, _Screen, kwargs={"dtype": dtype})
    env = envs.make(name, num_envs=2, seed=1)
    kept = np.uint8 if dtype == np.uint8 else np.float32
    high = 255 if dtype == np.uint8 else 1
    assert env.single_observation_space == spaces.Box(0, high, (3, 9, 8), kept)
    obs, _ = env.reset()
    bare = _Screen(dtype)
    screen, _ = bare.reset(seed=env.tapes()[0].seed)
    np.testing.assert_array_equal(obs[0], screen.transpose(2, 0, 1))
    with pytest.raises(envs.UserError, match="no action 2, allowed are 3 to 4"):
        env.step(np.array([3, 2]))
    _, reward, *_, info = env.step(np.array([3, 4]))
    assert reward.tolist() == [3.0, 4.0]
    np.testing.assert_array_equal(info["final_obs"][0], bare.step(3)[0].transpose(2, 0, 1))
    del gymnasium.registry[name]


def test_life_lost_says_where_a_life_went_and_the_game_goes_on() -> None:
    env = envs.make("Breakout", num_envs=2, seed=3, num_threads=1)
    env.reset()
    bare = atari_vector_env(env.env_spec, num_envs=2, num_threads=1)
    _, bare_info = bare.reset(seed=np.array([tape.seed for tape in env.tapes()], np.int32))
    lives = bare_info["lives"]
    assert lives.tolist() == [5, 5]
    lost = np.zeros(2, int)
    ends = 0
    rng = np.random.default_rng(0)
    for _ in range(500):
        actions = rng.integers(0, 4, 2)
        _, _, terminated, _, info = env.step(actions)
        *_, bare_info = bare.step(actions)
        now = bare_info["lives"]
        expected = (now == lives - 1) & ~terminated
        np.testing.assert_array_equal(info["life_lost"], expected)
        assert not info["life_lost"][terminated].any()
        lives = now
        lost += info["life_lost"]
        for i in np.flatnonzero(terminated):
            # Five lives: four are lost on the way, the fifth is the end.
            assert lost[i] == 4
            lost[i] = 0
            ends += 1
    assert ends >= 2
    env.close(), bare.close()


def test_games_without_lives_never_lose_one() -> None:
    env = envs.make(short("Pong", 200), num_envs=2, num_threads=1)
    env.reset()
    lost = [env.step(env.action_space.sample())[4]["life_lost"].any() for _ in range(120)]
    assert not any(lost)
    env.close()


def test_the_frame_cap_truncates_and_the_games_end_terminates() -> None:
    env = envs.make(short("Breakout", 400), num_envs=2, num_threads=1)
    env.reset()
    flags = [env.step(np.zeros(2, np.int64))[2:4] for _ in range(200)]
    capped = [k for k, (_, truncated) in enumerate(flags, 1) if truncated.any()]
    assert capped == [100, 200]
    assert not any(terminated.any() for terminated, _ in flags)
    env.close()

    env = envs.make("Breakout", num_envs=1, num_threads=1)
    env.reset()
    for _ in range(1000):
        _, _, terminated, truncated, _ = env.step(np.array([1]))
        assert not truncated.any()
        if terminated.any():
            break
    else:
        pytest.fail("the game did not end")
    env.close()


def test_a_cap_on_gymnasium_environments_counts_steps() -> None:
    env = envs.make(short("Pendulum-v1", 7), num_envs=1)
    env.reset()
    ends = [bool(env.step(np.zeros((1, 1), np.float32))[3][0]) for _ in range(14)]
    assert ends == [k in (7, 14) for k in range(1, 15)]


def test_final_obs_is_the_last_of_the_old_episode_and_obs_the_first_of_the_new() -> None:
    env = envs.make(short("Pong", 80), num_envs=2, num_threads=1)
    env.reset()
    before = np.zeros(0)
    for step in range(1, 21):
        before_last, (before, _, _, _, info) = before, env.step(np.full(2, 3))
        assert ("final_obs" in info) == (step == 20)
    assert info["_final_obs"].all() and info["_final_obs"].dtype == bool
    np.testing.assert_array_equal(info["final_obs"][:, :3], before_last[:, 1:])
    assert not before[:, :3].any() and before[:, 3].any()
    env.close()


def test_rewards_are_raw_and_the_episodes_return_is_their_sum() -> None:
    env = envs.make(short("SpaceInvaders", 800), num_envs=2, seed=1, num_threads=1)
    env.reset()
    env.action_space.seed(0)
    total, length, largest, ends = np.zeros(2), np.zeros(2, int), 0.0, 0
    for _ in range(410):
        _, reward, terminated, truncated, info = env.step(env.action_space.sample())
        total, length, largest = total + reward, length + 1, max(largest, reward.max())
        ended = terminated | truncated
        assert ("episode" in info) == ended.any()
        if ended.any():
            np.testing.assert_array_equal(info["_episode"], ended)
            np.testing.assert_array_equal(info["episode"]["r"], np.where(ended, total, 0))
            np.testing.assert_array_equal(info["episode"]["l"], np.where(ended, length, 0))
            total[ended], length[ended] = 0, 0
            ends += int(ended.sum())
    assert ends >= 4
    assert largest >= 5, "rewards look clipped"
    env.close()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_envs": 0}, "num_envs is 0, at least 1 is allowed"),
        ({"seed": -1}, "seed is -1, at least 0 is allowed"),
        ({"tape_steps": 0}, "tape_steps is 0, at least 1 is allowed"),
        ({"num_threads": -1}, "num_threads is -1, at least 1 is allowed"),
        ({"first_env": -1}, "first_env is -1, at least 0 is allowed"),
    ],
)
def test_numbers_out_of_range_are_refused(kwargs: dict, message: str) -> None:
    with pytest.raises(envs.UserError, match=message):
        envs.make("toy/Bandit-v0", **kwargs)


@pytest.mark.parametrize("name", ["Pong", "toy/Identity-v0"])
def test_actions_that_do_not_exist_are_refused_and_leave_no_trace(name: str) -> None:
    env = envs.make(name, num_envs=2, num_threads=1)
    env.reset()
    for wrong, message in (
        (np.array([0, 99]), "there is no action 99"),
        (np.array([-1, 0]), "there is no action -1"),
        (np.array([0.0, 1.0]), "must be integers"),
        (np.array([0, 1, 0]), "3 actions were sent to 2 environments"),
        (np.array([[0], [1]]), "each action has shape"),
    ):
        with pytest.raises(envs.UserError, match=message):
            env.step(wrong)
    assert [len(tape.actions) for tape in env.tapes()] == [0, 0]
    env.step(np.array([0, 1]))
    env.close()


@pytest.mark.parametrize("name", ["Pong", "toy/Identity-v0"])
def test_send_and_recv_come_in_turns(name: str) -> None:
    env = envs.make(name, num_envs=2, num_threads=1)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.array([0, 1]))
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.state_dict()
    env.reset()
    with pytest.raises(gymnasium.error.NoAsyncCallError):
        env.recv()
    actions = np.array([0, 1])
    env.send(actions)
    actions[:] = 3
    for pending in (env.tapes, env.state_dict, env.reset, lambda: env.send(actions)):
        with pytest.raises(gymnasium.error.AlreadyPendingCallError):
            pending()
    env.recv()
    assert [tape.actions.tolist() for tape in env.tapes()] == [[0], [1]]
    env.close()


def test_reset_options_are_refused_because_no_tape_holds_them() -> None:
    with pytest.raises(envs.UserError, match="'low'"):
        envs.make("CartPole-v1", num_envs=1).reset(options={"low": 0.0})


def test_an_environment_that_cannot_be_built_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: object, **kwargs: object) -> None:
        raise gymnasium.error.DependencyNotInstalled('Box2D is missing: pip install "box2d"')

    monkeypatch.setattr(gymnasium, "make", missing)
    with pytest.raises(envs.UserError, match="CartPole-v1 cannot be built here: Box2D is missing"):
        envs.make("CartPole-v1")


def test_the_actions_of_a_game_have_the_emulators_names() -> None:
    seaquest = envs.spec("Seaquest")
    gymnasiums = gymnasium.make("ALE/Seaquest-v5").get_wrapper_attr("get_action_meanings")()
    assert list(action_meanings(seaquest)) == gymnasiums and len(gymnasiums) == 18
    everything = dataclasses.replace(envs.spec("Pong"), full_action_space=True)
    assert len(action_meanings(everything)) == 18
    names = [action_name(envs.spec("Pong"), action) for action in (np.uint8(4), 17)]
    assert names == ["RIGHTFIRE", "17"]
    assert action_meanings(envs.spec("CartPole-v1")) == ()
    assert action_name(envs.spec("Pendulum-v1"), np.array([0.5], np.float32)) == "0.50"


def test_the_keys_of_a_game_are_those_of_ale_py() -> None:
    env = gymnasium.make("ALE/Seaquest-v5")
    theirs = env.get_wrapper_attr("get_keys_to_action")()
    type(env.unwrapped).get_keys_to_action.cache_clear()  # pyright: ignore
    ours = keys_to_action(envs.spec("Seaquest"))
    assert {frozenset(keys): action for keys, action in ours.items()} == {
        frozenset(keys): action for keys, action in theirs.items()
    }


def test_scores_are_normalized_between_chance_and_people() -> None:
    assert [human_normalized("pong", score) for score in (-20.7, 14.6)] == [0.0, 1.0]
    assert human_normalized("breakout", 400.0) == pytest.approx((400 - 1.7) / (30.5 - 1.7))
    assert human_normalized("adventure", 1.0) is None is human_normalized(None, 1.0)
    assert reference_scores("pong") == {"random": -20.7, "human": 14.6}
    assert reference_scores(None) == {}


def test_a_film_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(envs.UserError, match=r"x.avi: a film's name must end in .mp4 or .gif"):
        video.write(tmp_path / "x.avi", [], fps=15)


@pytest.mark.parametrize("ending", [".mp4", ".gif"])
@pytest.mark.parametrize(
    ("frameskip", "seconds"),
    [(1, 1 / 60), (4, 4 / 60), (7, 7 / 60), (45, 45 / 60), (60, 1), (61, 1), (1000, 1)],
)
def test_a_film_takes_as_long_as_the_game_and_at_most_a_second_a_step(
    frameskip: int, seconds: float, ending: str, tmp_path: Path
) -> None:
    fps = video.fps_of(envs.spec("Pong", frameskip=frameskip))
    assert 1 / fps == pytest.approx(seconds)
    frames = [np.full((16, 16, 3), 20 * i, np.uint8) for i in range(10)]
    path = video.write(tmp_path / f"film{ending}", frames, fps)
    with av.open(str(path)) as film:
        times = [frame.time for frame in film.decode(video=0)]
    shown = max(seconds, 1 / video.MAX_GIF_FPS) if ending == ".gif" else seconds
    assert np.diff(np.array(times, float)) == pytest.approx(shown, abs=0.011)
